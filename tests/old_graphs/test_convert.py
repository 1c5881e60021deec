"""Old graphs, in the shape that people saved them, and what they become."""

from __future__ import annotations

import copy
import itertools
import json

import pytest
import saved
from atelier.old_graphs import Installed, convert
from atelier.old_graphs.graph import read_editor
from atelier.old_graphs.wrappers import RULES
from saved import by_id, of_type, source

INSTALLED = Installed(
    models=("pocket (built in)", "diffusers/CogVideoX-5b", "diffusion_models/CogVideoX_1_5_5b_I2V_fp8.safetensors",
            "diffusers/pyramid-flow-miniflux/diffusion_transformer_384p",
            "diffusers/pyramid-flow-miniflux/diffusion_transformer_768p",
            "checkpoints/mochi_preview_fp8_scaled.safetensors"),
    text_encoders=("t5/t5xxl_fp16.safetensors",),
    vaes=("mochi_vae.safetensors", "cogvideox_vae.safetensors"),
    loras=("sub/orbit.safetensors",),
)  # fmt: skip
VAE = "MOCHIVAE"


def mochi():
    text = ["CONDITIONING", "CLIP"]
    return saved.graph(
        {
            2: ("CLIPLoader", [], ["CLIP"], ["t5xxl_fp16.safetensors", "sd3"]),
            1: ("MochiTextEncode", [("clip", "CLIP", 2, 0)], text, ["a panda", 1, False]),
            8: ("MochiTextEncode", [("clip", "CLIP", 1, 1)], text, ["", 1, True]),
            4: ("DownloadAndLoadMochiModel", [("trigger", "CONDITIONING", 8, 0)], ["MOCHIMODEL", VAE],
                ["mochi_preview_dit_GGUF_Q8_0.safetensors", "mochi_vae.safetensors", "fp8_e4m3fn", "sdpa", False]),
            14: ("MochiSampler", [("model", "MOCHIMODEL", 4, 0), ("positive", "CONDITIONING", 1, 0),
                                  ("negative", "CONDITIONING", 8, 0)], ["LATENT"],
                 [848, 480, 49, 30, 4.5, 5, "fixed", 0]),
            15: ("MochiDecodeSpatialTiling", [("vae", VAE, 4, 1), ("samples", "LATENT", 14, 0)], ["IMAGE"],
                 [True, 4, 4, 16, 1, 6]),
            9: ("VHS_VideoCombine", [("images", "IMAGE", 15, 0)], [], {"frame_rate": 24}),
        }
    )  # fmt: skip


def pyramid(**nodes):
    known = [("input_latent", "LATENT", 54, 0)] if "n54" in nodes else []
    return saved.graph(
        {
            37: ("DualCLIPLoader", [], ["CLIP"], ["clip_l.safetensors", "t5\\t5xxl_fp16.safetensors", "flux"]),
            43: ("PyramidFlowVAELoader", [], ["PYRAMIDFLOWVAE"], ["pyramid_flow_vae_bf16.safetensors", "bf16"]),
            40: ("PyramidFlowTransformerLoader", [], ["PYRAMIDFLOWMODEL"],
                 ["pyramidflow\\pyramid_flow_miniflux_768_bf16.safetensors", "bf16", False]),
            53: ("PyramidFlowTextEncode", [("clip", "CLIP", 37, 0)], ["PYRAMIDFLOWPROMPT"],
                 ["cliffs", "cartoon", True]),
            **{int(name[1:]): node for name, node in nodes.items()},
            50: ("PyramidFlowSampler", [("model", "PYRAMIDFLOWMODEL", 40, 0),
                                        ("prompt_embeds", "PYRAMIDFLOWPROMPT", 53, 0), *known], ["LATENT"],
                 [1280, 768, "20, 20, 20", "10, 10, 10", 16, 7, 5, 44, "randomize", False]),
            48: ("PyramidFlowVAEDecode", [("vae", "PYRAMIDFLOWVAE", 43, 0), ("samples", "LATENT", 50, 0)], ["IMAGE"],
                 [256, 0.25, True, True]),
            51: ("VHS_VideoCombine", [("images", "IMAGE", 48, 0)], [], {"frame_rate": 24}),
        }
    )  # fmt: skip


def image_to_video(
    model="THUDM/CogVideoX-5b-I2V", encode="CogVideoImageEncode", values=(False, 0), last=False, **sampler
):
    end = [("end_image", "IMAGE", 36, 0)] if last else [("end_image", "IMAGE")]
    old = saved.cogvideox(n36=[model, "bf16", "disabled", False, "sdpa", "main_device"], **sampler)
    nodes = {
        70: ("LoadImage", [], ["IMAGE", "MASK"], ["stag.png", "image"]),
        71: ("ImageResizeKJ", [("image", "IMAGE", 70, 0)], ["IMAGE", "width", "height"], [720, 480]),
        62: (encode, [("vae", "VAE", 36, 1), ("start_image", "IMAGE", 71, 0), *end], ["LATENT"], list(values)),
    }
    extra = saved.graph({36: ("x", [], ["IMAGE", "VAE"], []), **nodes})
    for key in nodes:
        node = by_id(extra)[key]
        old["nodes"].append(node)
    names = {"width": "INT", "height": "INT"}
    for output in by_id(old)[71]["outputs"]:
        output["type"] = names.get(output["name"], output["type"])
    for link in extra["links"]:
        number, target = 100 + link[0], by_id(old)[link[3]]
        origin = [70, 0] if last and link[5] == "IMAGE" and link[1] == 36 else link[1:3]
        old["links"].append([number, *origin, *link[3:]])
        target["inputs"][link[4]]["link"] = number
    old["links"].append([200, 62, 0, 63, 4, "LATENT"])
    sampler_node = by_id(old)[63]
    sampler_node["inputs"][4]["link"], sampler_node["inputs"][3]["link"] = 200, None
    return old


CASES = {
    "text to video": saved.cogvideox(),
    "image to video": image_to_video(),
    "first and last": image_to_video(last=True),
    "pose": image_to_video("alibaba-pai/CogVideoX-Fun-V1.1-5b-Pose"),
    "inpaint": image_to_video("alibaba-pai/CogVideoX-Fun-V1.1-5b-InP", "CogVideoImageEncodeFunInP", (49, True, 0)),
    "mochi": mochi(),
    "pyramid": pyramid(),
    "pyramid from a picture": pyramid(
        n55=("LoadImage", [], ["IMAGE", "MASK"], ["a.png", "image"]),
        n54=("PyramidFlowVAEEncode", [("vae", "PYRAMIDFLOWVAE", 43, 0), ("image", "IMAGE", 55, 0)], ["LATENT"],
             [False, 0.25]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("old", CASES.values(), ids=CASES)
def test_nothing_old_is_left_no_new_node_covers_another_and_twice_is_once(old):
    before = copy.deepcopy(old)
    converted = convert(old, INSTALLED)
    assert old == before, "the original is untouched"
    assert converted.changed and not {node["type"] for node in converted.graph["nodes"]} & RULES.keys()
    again = convert(converted.graph, INSTALLED)
    assert again.graph is converted.graph and not again.changed and not again.lost
    nodes = list(read_editor(converted.graph).nodes.values())
    new = {node.id for node in nodes if node.type.startswith("Atelier") or node.type == "Note"}
    for one, other in itertools.combinations(nodes, 2):
        if {one.id, other.id} & new:
            (a, b, c, d), (e, f, g, h) = one.box, other.box
            assert c <= e or g <= a or d <= f or h <= b, f"{one.type} covers {other.type}"
    consistent(converted.graph)


def consistent(graph):
    """Sockets, links and outputs name each other."""
    nodes, links = by_id(graph), {link[0]: link for link in graph["links"]}
    assert len(links) == len(graph["links"]) and len(nodes) == len(graph["nodes"])
    for number, origin, slot, target, place, kind in links.values():
        assert number in nodes[origin]["outputs"][slot]["links"] and nodes[origin]["outputs"][slot]["type"] == kind
        assert nodes[target]["inputs"][place]["link"] == number
    assert max(nodes) <= graph["last_node_id"] and max(links) <= graph["last_link_id"]


def test_text_to_video():
    old = saved.cogvideox()
    old["nodes"][0]["title"], old["nodes"][0]["color"] = "the model", "#123456"
    converted = convert(old, INSTALLED)
    new = converted.graph
    assert sorted(node["type"] for node in new["nodes"]) == sorted(
        ["AtelierLoadVideoModel", "AtelierEncodeVideoPrompt", "AtelierEmptyVideoLatent", "AtelierSampleVideo",
         "AtelierDecodeVideo", "VHS_VideoCombine"]
    )  # fmt: skip
    nodes = by_id(new)
    assert (nodes[36]["type"], nodes[36]["title"], nodes[36]["color"]) == (
        "AtelierLoadVideoModel",
        "the model",
        "#123456",
    )
    assert nodes[36]["pos"] == old["nodes"][0]["pos"]
    expected = ["diffusers/CogVideoX-5b", "bfloat16", "t5/t5xxl_fp16.safetensors", "automatic"]
    assert nodes[36]["widgets_values"] == expected
    assert nodes[30]["widgets_values"] == ["a dog on a roof", "blurry", "none"]
    assert nodes[63]["widgets_values"] == [7, "increment", 40, 6, 1]
    assert of_type(new, "AtelierEmptyVideoLatent")["widgets_values"] == [720, 480, 0.0, 49, 0.0, 1]
    assert source(new, nodes[63], "positive") == ("AtelierEncodeVideoPrompt", 0)
    assert source(new, nodes[63], "negative") == ("AtelierEncodeVideoPrompt", 1)
    assert source(new, nodes[60], "vae") == ("AtelierLoadVideoModel", 2)
    assert source(new, nodes[44], "images") == ("AtelierDecodeVideo", 1)
    assert nodes[44] == {**by_id(old)[44], "inputs": nodes[44]["inputs"]}
    assert converted.made_for == ["CogVideoXWrapper"] and converted.lost == [] and converted.remarks == []


def test_pictures_first_last_and_the_size_of_the_picture():
    new = convert(image_to_video(last=True), INSTALLED).graph
    first, last = (node for node in new["nodes"] if node["type"] == "AtelierPlaceFrames")
    assert {node["widgets_values"][0] for node in (first, last)} == {"first", "last"}
    empty = of_type(new, "AtelierEmptyVideoLatent")
    assert (source(new, empty, "width"), source(new, empty, "height")) == (("ImageResizeKJ", 1), ("ImageResizeKJ", 2))
    assert source(new, of_type(new, "AtelierSampleVideo"), "latent") == ("AtelierPlaceFrames", 0)


def test_a_pose_models_pictures_are_its_control_clip():
    new = convert(image_to_video("alibaba-pai/CogVideoX-Fun-V1.1-5b-Pose"), INSTALLED).graph
    assert source(new, of_type(new, "AtelierControlVideo"), "images") == ("ImageResizeKJ", 0)
    sampler = of_type(new, "AtelierSampleVideo")
    assert source(new, sampler, "positive") == ("AtelierControlVideo", 0)
    assert source(new, sampler, "latent") == ("AtelierEmptyVideoLatent", 0)


def test_footage_is_encoded_at_the_rate_of_the_video():
    old = image_to_video("THUDM/CogVideoX-5b", n63=[49, 40, 6, 7, "fixed", "CogVideoXDDIM", 0.8])
    sampler = by_id(old)[63]
    sampler["inputs"][3]["link"], sampler["inputs"][4]["link"] = 200, None
    old["links"] = [[*link[:4], 3, link[5]] if link[0] == 200 else link for link in old["links"]]
    new = convert(old, INSTALLED).graph
    assert of_type(new, "AtelierEncodeVideo")["widgets_values"][3] == 8.0
    sampler = of_type(new, "AtelierSampleVideo")
    assert source(new, sampler, "latent") == ("AtelierEncodeVideo", 0) and sampler["widgets_values"][-1] == 0.8


def test_mochi_takes_its_schedule_and_core_takes_foreign_sigmas():
    old = saved.graph({**_nodes(mochi()), 19: ("MochiSigmaSchedule", [], ["SIGMAS"], [12, 0.025, 6, 0.7])})
    _link(old, 19, 0, 14, "opt_sigmas", "SIGMAS")
    converted = convert(old, INSTALLED)
    assert of_type(converted.graph, "AtelierSampleVideo")["widgets_values"] == [5, "fixed", 12, 4.5, 0.7]
    assert any("linear_steps" in line for line in converted.lost)
    assert of_type(converted.graph, "AtelierLoadVideoModel")["widgets_values"] == [
        "checkpoints/mochi_preview_fp8_scaled.safetensors", "default", "t5/t5xxl_fp16.safetensors",
        "mochi_vae.safetensors",
    ]  # fmt: skip
    foreign = saved.graph({**_nodes(mochi()), 19: ("BasicScheduler", [], ["SIGMAS"], ["simple", 12, 1])})
    _link(foreign, 19, 0, 14, "opt_sigmas", "SIGMAS")
    new = convert(foreign, INSTALLED).graph
    assert source(new, of_type(new, "SamplerCustom"), "sigmas") == ("BasicScheduler", 0)


def _nodes(old):
    """The nodes of a saved graph as `saved.graph` takes them."""
    links = {link[0]: link for link in old["links"]}
    return {
        node["id"]: (
            node["type"],
            [(s["name"], s["type"], *(links[s["link"]][1:3] if s["link"] else ())) for s in node["inputs"]],
            [output["name"] for output in node["outputs"]],
            node["widgets_values"],
        )
        for node in old["nodes"]
    }


def _link(old, origin, slot, target, name, kind):
    number = old["last_link_id"] = old["last_link_id"] + 1
    node = by_id(old)[target]
    node["inputs"] = [s for s in node["inputs"] if s["name"] != name]
    node["inputs"].append({"name": name, "type": kind, "link": number})
    old["links"].append([number, origin, slot, target, len(node["inputs"]) - 1, kind])


def test_pyramids_temp_steps_guidance_and_variant():
    new = convert(CASES["pyramid"], INSTALLED)
    assert of_type(new.graph, "AtelierEmptyVideoLatent")["widgets_values"] == [1280, 768, 0.0, 121, 0.0, 1]
    assert of_type(new.graph, "AtelierSampleVideo")["widgets_values"] == [44, "randomize", 10, 5, 1.0]
    assert of_type(new.graph, "AtelierLoadVideoModel")["widgets_values"][0].endswith("diffusion_transformer_768p")
    assert new.lost == [], "7 = 1 + 1.5 (5 - 1) and 20 = 2 x 10 lose nothing"
    other = copy.deepcopy(CASES["pyramid"])
    by_id(other)[50]["widgets_values"][2:7] = ["10, 10, 10", "10, 10, 10", 16, 9, 5]
    assert [("guidance_scale 9" in line, "first_frame_steps" in line) for line in convert(other).lost] == [
        (True, False), (False, True)
    ]  # fmt: skip


def test_loras_settings_and_weights():
    old = saved.graph(
        {
            **_nodes(saved.cogvideox(n36=["THUDM/CogVideoX-5b", "bf16", "torchao_int8dq", False, "sageattn", "x"],
                                     n30=["a dog", 1.3, False])),
            80: ("CogVideoLoraSelect", [], ["COGLORA"], ["a\\orbit.safetensors", 0.7, True]),
            81: ("CogVideoLoraSelect", [("prev_lora", "COGLORA", 80, 0)], ["COGLORA"], ["other.safetensors", 1.0]),
            82: ("CogVideoXTorchCompileSettings", [], ["COMPILEARGS"], ["inductor", False, "default", False, 64]),
            83: ("CogVideoContextOptions", [], ["COGCONTEXT"], ["uniform_looped", 48, 4, 8, False]),
            84: ("CogVideoXTeaCache", [], ["TEACACHEARGS"], [0.3]),
            85: ("CogVideoEnhanceAVideo", [], ["FETAARGS"], [1.0, 0.0, 1.0]),
        }
    )  # fmt: skip
    ends = [(81, 36, "lora", "COGLORA"), (82, 36, "compile_args", "COMPILEARGS"),
            (83, 63, "context_options", "COGCONTEXT"), (84, 63, "teacache_args", "TEACACHEARGS"),
            (85, 63, "feta_args", "FETAARGS")]  # fmt: skip
    for origin, target, name, kind in ends:
        _link(old, origin, 0, target, name, kind)
    converted = convert(old, INSTALLED)
    new, nodes = converted.graph, by_id(converted.graph)
    assert nodes[36]["widgets_values"][1] == "float8_e4m3fn"
    assert nodes[80]["widgets_values"] == ["sub/orbit.safetensors", 0.7]
    chain, at = [], (63, "model")
    while at:
        node = nodes[at[0]]
        link = next(s["link"] for s in node["inputs"] if s["name"] == at[1])
        origin = next(each[1] for each in new["links"] if each[0] == link)
        chain.append(nodes[origin]["type"])
        at = (origin, "model") if nodes[origin]["type"] != "AtelierLoadVideoModel" else None
    assert chain == ["ContextWindowsManual", "EasyCache", "TorchCompileModel", *["AtelierLoadVideoLoRA"] * 2,
                     "AtelierLoadVideoModel"]  # fmt: skip
    assert nodes[83]["widgets_values"][:4] == [12, 2, "looped_uniform", 1]
    assert nodes[30]["widgets_values"][0] == "(a dog:1.3)"
    told = "\n".join(converted.lost)
    for word in ("torchao_int8dq", "sageattn", "Enhance-A-Video", "EasyCache"):
        assert word in told, word
    note = of_type(new, "Note")["widgets_values"][0]
    assert all(line in note for line in converted.lost)
    assert any("other.safetensors is not installed" in line for line in converted.remarks)


def test_what_has_no_counterpart_is_left_out_and_what_hung_on_it_is_muted():
    old = saved.graph(
        {
            **_nodes(saved.cogvideox()),
            90: ("DownloadAndLoadToraModel", [], ["TORAMODEL"], ["kijai/CogVideoX-5b-Tora"]),
            91: ("ToraEncodeTrajectory", [("tora_model", "TORAMODEL", 90, 0)], ["TORAFEATURES", "IMAGE"],
                 ["", 720, 480, 49, 1, 0, 1, True]),
            92: ("VHS_VideoCombine", [("images", "IMAGE", 91, 1)], [], {"frame_rate": 8}),
        }
    )  # fmt: skip
    _link(old, 91, 0, 63, "tora_trajectory", "TORAFEATURES")
    converted = convert(old, INSTALLED)
    nodes = by_id(converted.graph)
    assert not {90, 91} & nodes.keys() and nodes[92]["mode"] == 2 and nodes[44]["mode"] == 0
    assert sum("Tora" in line for line in converted.lost) == 3, converted.lost


def test_wires_stay_and_carry_comfyuis_types():
    nodes = _nodes(saved.cogvideox())
    nodes[50] = ("Reroute", [("", "*", 36, 0)], ["COGVIDEOMODEL"], None)
    nodes[51] = ("SetNode", [("VAE", "VAE", 36, 1)], ["*"], ["vae"])
    nodes[52] = ("GetNode", [], ["VAE"], ["vae"])
    sampler, decode = nodes[63], nodes[60]
    nodes[63] = (sampler[0], [("model", "COGVIDEOMODEL", 50, 0), *sampler[1][1:]], *sampler[2:])
    nodes[60] = (decode[0], [("vae", "VAE", 52, 0), *decode[1][1:]], *decode[2:])
    new = convert(saved.graph(nodes), INSTALLED).graph
    assert by_id(new)[50]["outputs"][0]["type"] == "MODEL"
    assert source(new, by_id(new)[50], "") == ("AtelierLoadVideoModel", 0)
    assert source(new, by_id(new)[63], "model") == ("Reroute", 0)
    assert source(new, by_id(new)[51], "VAE") == ("AtelierLoadVideoModel", 2)
    consistent(new)


def test_muted_and_bypassed():
    old = image_to_video()
    by_id(old)[62]["mode"], by_id(old)[60]["mode"] = 4, 2
    nodes = by_id(convert(old, INSTALLED).graph)
    assert (nodes[62]["type"], nodes[62]["mode"]) == ("AtelierPlaceFrames", 4)
    assert (nodes[60]["type"], nodes[60]["mode"]) == ("AtelierDecodeVideo", 2)


def prompt_of(old):
    """The graph as ComfyUI exports it: values under the names of the newest version."""
    from atelier.old_graphs.widgets import dealt

    links = {link[0]: link for link in old["links"]}
    prompt = {}
    for node in old["nodes"]:
        values = node["widgets_values"]
        rule = RULES.get(node["type"])
        named = dealt(rule.versions, values).values if rule else values if isinstance(values, dict) else {}
        if node["type"] == "EmptyLatentImage":
            named = {"width": values[0], "height": values[1]}
        if node["type"] == "CLIPLoader":
            named = {"clip_name": values[0], "type": values[1]}
        inputs = {
            **named,
            **{s["name"]: [str(links[s["link"]][1]), links[s["link"]][2]] for s in node["inputs"] if s["link"]},
        }
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


@pytest.mark.parametrize("old", CASES.values(), ids=CASES)
def test_an_api_export_becomes_the_same_nodes(old):
    converted, prompt = convert(old, INSTALLED), convert(prompt_of(old), INSTALLED)
    kinds = sorted(node["type"] for node in converted.graph["nodes"] if node["type"] not in ("Note",))
    extra = (
        ["GetImageSize"] if "GetImageSize" not in kinds and "ImageResizeKJ" in kinds else []
    )  # outputs have no names
    assert sorted(node["class_type"] for node in prompt.graph.values()) == sorted([*kinds, *extra])
    for node in prompt.graph.values():
        for value in node["inputs"].values():
            assert not isinstance(value, list) or value[0] in prompt.graph
    sampled = next(n for n in prompt.graph.values() if n["class_type"] == "AtelierSampleVideo")["inputs"]
    seed, control, steps, guidance, denoise = of_type(converted.graph, "AtelierSampleVideo")["widgets_values"]
    assert (sampled["seed"], sampled["steps"], sampled["guidance"], sampled["denoise"]) == (
        seed,
        steps,
        guidance,
        denoise,
    )
    again = convert(prompt.graph, INSTALLED)
    assert again.graph is prompt.graph


def subgraph(inner, outputs, **extra):
    """A graph with one instance (id 1) of a subgraph."""
    nodes = [n for n in inner["nodes"]]
    links = [
        dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), link, strict=True))
        for link in inner["links"]
    ]
    for slot, (_, kind, origin, at) in enumerate(outputs):
        links.append({"id": 900 + slot, "origin_id": origin, "origin_slot": at, "target_id": -20, "target_slot": slot,
                      "type": kind})  # fmt: skip
    definition = {
        **{"id": "8a1b", "name": "my shots", "version": 1, "nodes": nodes, "links": links, "groups": [], "inputs": []},
        **{"inputNode": {"id": -10}, "outputNode": {"id": -20}},
        "outputs": [{"name": name, "type": kind, "linkIds": [900 + n]} for n, (name, kind, *_) in enumerate(outputs)],
    }
    outer = saved.graph({1: ("8a1b", [], [kind for _, kind, *_ in outputs], []), **extra.pop("outer", {})})
    return {**outer, "definitions": {"subgraphs": [definition]}}


def test_a_whole_shot_in_a_subgraph_stays_in_it():
    nodes = _nodes(saved.cogvideox())
    del nodes[44]
    old = subgraph(saved.graph(nodes), [("images", "IMAGE", 60, 0)],
                   outer={2: ("PreviewImage", [("images", "IMAGE", 1, 0)], [], [])})  # fmt: skip
    converted = convert(old, INSTALLED)
    (definition,) = converted.graph["definitions"]["subgraphs"]
    assert not {node["type"] for node in definition["nodes"]} & RULES.keys() and len(definition["nodes"]) == 5
    link = next(link for link in definition["links"] if link["target_id"] == -20)
    assert (link["origin_id"], link["origin_slot"]) == (60, 1) and definition["outputs"][0]["linkIds"] == [link["id"]]
    assert convert(converted.graph, INSTALLED).graph is converted.graph


def test_a_subgraph_that_a_models_wire_leaves_is_unpacked_into_a_group():
    loader = ["THUDM/CogVideoX-5b", "bf16", "disabled", False, "sdpa", "main_device"]
    inner = saved.graph({36: ("DownloadAndLoadCogVideoModel", [], ["COGVIDEOMODEL", "VAE"], loader)})
    nodes = {(1 if key == 36 else key): node for key, node in _nodes(saved.cogvideox()).items()}
    outer = {
        key: (
            kind,
            [(s[0], s[1], 1 if s[2] == 36 else s[2], s[3]) if len(s) > 2 else s for s in inputs],
            outputs,
            values,
        )
        for key, (kind, inputs, outputs, values) in nodes.items()
        if key != 1
    }
    old = subgraph(inner, [("model", "COGVIDEOMODEL", 36, 0), ("vae", "VAE", 36, 1)], outer=outer)
    converted = convert(old, INSTALLED)
    new = converted.graph
    assert "8a1b" not in {node["type"] for node in new["nodes"]}
    assert source(new, of_type(new, "AtelierSampleVideo"), "model") == ("AtelierLoadVideoModel", 0)
    assert [group["title"] for group in new["groups"]] == ["my shots"]
    assert any("my shots" in line for line in converted.remarks)
    consistent(new)


NAMES = [
    ("kijai/CogVideoX-5b-1.5-I2V", "diffusion_models/CogVideoX_1_5_5b_I2V_fp8.safetensors", True),
    ("THUDM/CogVideoX-5b", "diffusers/CogVideoX-5b", True),
    ("THUDM/CogVideoX-5b-I2V", "diffusers/CogVideoX-5b-I2V", False),
    ("sub\\mine.safetensors", "diffusion_models/sub/mine.safetensors", False),
    ("mochi_preview_dit_fp8_e4m3fn.safetensors", "checkpoints/mochi_preview_fp8_scaled.safetensors", True),
    ("rain1011/pyramid-flow-sd3 768p", "diffusers/pyramid-flow-sd3/diffusion_transformer_768p", False),
]


@pytest.mark.parametrize("old,choice,there", NAMES)
def test_a_models_name_is_matched_to_what_is_installed(old, choice, there):
    from atelier.old_graphs import names

    assert names.model(old, INSTALLED) == (choice, there)


def test_titles_and_names_are_words_in_one_line():
    hostile = "<img src=x onerror=alert(1)>\n# a\x00heading" * 50
    old = saved.cogvideox(n36=[hostile, "bf16", "disabled", False, "flash_attn", "main_device"])
    old["nodes"][0]["title"] = hostile
    converted = convert(old)
    for line in converted.lost + converted.remarks:
        assert len(line) < 400 and line.isprintable()
    note = of_type(converted.graph, "Note")
    assert note["type"] == "Note", "plain text: a Markdown note would render it"
    json.dumps(converted.graph)
