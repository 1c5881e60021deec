"""Every family with ComfyUI's own tools, in a real server: samplers, step caches, windows, latent tools, VAE nodes.

A tool that cannot work on a family says why.
"""

from __future__ import annotations

import re
import shutil

import graphs
import pytest
import tiny
import tiny_cogvideox
import tiny_mochi
import tiny_pyramid
import torch
from client import JobFailed
from graphs import node
from reference import relative
from safetensors.torch import load

# A function that writes the folder and returns the loader's choice; width, height and frames of a small clip.
FAMILIES = {
    "ltx": (lambda path: tiny.folder(path, "0.9.5"), (96, 64, 17)),
    "cogvideox": (lambda path: tiny_cogvideox.folder(path, "5B"), (64, 48, 17)),
    "cogvideox-1.5": (lambda path: tiny_cogvideox.folder(path, "1.5 5B"), (64, 48, 17)),
    "cogvideox-inp": (lambda path: tiny_cogvideox.folder(path, "Fun 5B InP"), (64, 48, 17)),
    "mochi": (tiny_mochi.folder, (64, 48, 19)),
    "pyramid": (lambda path: tiny_pyramid.folder(path, "miniflux"), (128, 64, 9)),
}
FLOW, DISCRETE = ("ltx", "mochi", "pyramid"), ("cogvideox", "cogvideox-1.5", "cogvideox-inp")


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request, server):
    diffusers = server.base / "models" / "diffusers"
    write, size = FAMILIES[request.param]
    folder = diffusers / f"chain-{request.param}"
    choice = write(folder).relative_to(diffusers).as_posix()
    yield request.param, f"diffusers/{choice}", dict(zip(("width", "height", "frames"), size, strict=True))
    shutil.rmtree(folder)


def base(family) -> dict:
    """Load, prompt, empty latent and a KSampler."""
    _, choice, size = family
    graph = graphs.text_to_video(model=choice, **size)
    inputs = dict(model=["load", 0], positive=["text", 0], negative=["text", 1], latent_image=["empty", 0])
    settings = dict(seed=3, steps=2, cfg=3.0, sampler_name="euler", scheduler="simple", denoise=1.0)
    graph["sample"] = node("KSampler", **inputs, **settings)
    del graph["decode"], graph["save"]
    return graph


def on_model(class_type: str, **inputs):
    """A tool between the loader and the sampler."""

    def graph(family) -> dict:
        made = base(family)
        made["tool"] = node(class_type, model=["load", 0], **inputs)
        made["sample"]["inputs"]["model"] = ["tool", 0]
        return made

    return graph


def advanced(family) -> dict:
    graph = base(family)
    inputs = {k: v for k, v in graph["sample"]["inputs"].items() if k not in ("seed", "denoise")}
    stages = dict(add_noise="enable", noise_seed=3, start_at_step=0, end_at_step=1, return_with_leftover_noise="enable")
    graph["first"] = node("KSamplerAdvanced", **inputs, **stages)
    stages |= dict(add_noise="disable", start_at_step=1, end_at_step=2, return_with_leftover_noise="disable")
    graph["sample"] = node("KSamplerAdvanced", **inputs | {"latent_image": ["first", 0]}, **stages)
    return graph


def custom(family) -> dict:
    graph = base(family)
    texts = dict(positive=["text", 0], negative=["text", 1])
    graph |= {
        "noise": node("RandomNoise", noise_seed=3),
        "guider": node("CFGGuider", model=["load", 0], cfg=3.0, **texts),
        "sampler": node("KSamplerSelect", sampler_name="euler"),
        "sigmas": node("BasicScheduler", model=["load", 0], scheduler="simple", steps=2, denoise=1.0),
    }
    parts = dict(noise=["noise", 0], guider=["guider", 0], sampler=["sampler", 0], sigmas=["sigmas", 0])
    graph["sample"] = node("SamplerCustomAdvanced", **parts, latent_image=["empty", 0])
    return graph


def masked(family) -> dict:
    """A clip whose left half is kept."""
    graph = base(family)
    width, height, frames = (family[2][name] for name in ("width", "height", "frames"))
    graph |= {
        "image": node("EmptyImage", width=width, height=height, batch_size=frames, color=0xC04020),
        "known": node("VAEEncode", pixels=["image", 0], vae=["load", 2]),
        "whole": node("SolidMask", value=1.0, width=width, height=height),
        "half": node("SolidMask", value=0.0, width=width // 2, height=height),
        "mask": node("MaskComposite", destination=["whole", 0], source=["half", 0], x=0, y=0, operation="multiply"),
        "masked": node("SetLatentNoiseMask", samples=["known", 0], mask=["mask", 0]),
    }
    graph["sample"]["inputs"]["latent_image"] = ["masked", 0]
    return graph


def composite(family) -> dict:
    """Core reads a latent as a picture: in a video's latent, y / 8 counts latent frames and x / 8 rows."""
    graph = base(family)
    graph["other"] = node("KSampler", **graph["sample"]["inputs"] | {"seed": 4})
    graph["first"] = graph.pop("sample")
    inputs = dict(samples_to=["first", 0], samples_from=["other", 0], x=0, y=8, feather=0)
    graph["sample"] = node("LatentComposite", **inputs)
    return graph


def cached(class_type: str):
    """Steps enough to skip some."""

    def graph(family) -> dict:
        settings = dict(reuse_threshold=3.0, start_percent=0.0, end_percent=1.0, verbose=False)
        made = on_model(class_type, **settings)(family)
        made["sample"]["inputs"]["steps"] = 6
        return made

    return graph


def sped_up(family) -> dict:
    graph = on_model("AtelierSpeedUpVideo", speed="fast")(family)
    graph["sample"]["inputs"]["steps"] = 6
    return graph


def video_guidance(**changes):
    values = dict(recipe="own values", guidance="", stg_scale="8", stg_blocks="0", rescale="0")
    return on_model("AtelierVideoGuidance", **values | dict(cfg_zero_star=False, zero_init_steps=0) | changes)


def windows(length: int):
    settings = dict(context_overlap=0, context_schedule="standard_static", context_stride=1, closed_loop=False)
    settings["causal_window_fix"] = False  # newer ComfyUI: one latent frame more in each window
    return on_model("ContextWindowsManual", context_length=length, **settings, fuse_method="pyramid", dim=2)


def windows_over_known_frames(family) -> dict:
    """Known frames and their mask must be cut to the window too."""
    graph = windows(2)(family)
    graph["image"] = node("EmptyImage", width=64, height=64, batch_size=1, color=0xC04020)
    place = dict(vae=["load", 2], latent=["empty", 0], images=["image", 0], position="first", time=0.0, strength=1.0)
    graph["place"] = node("AtelierPlaceFrames", **place)
    graph["sample"]["inputs"]["latent_image"] = ["place", 0]
    return graph


def storyboard(text: str, sampler):
    """Two cards; the second begins with the second or a later latent frame of every family."""

    def graph(family) -> dict:
        made = sampler(family)
        inputs = dict(clip=["load", 1], vae=["load", 2], latent=["empty", 0], negative_prompt="", style="none")
        made["empty"]["inputs"]["fps"] = 4
        made["text"] = node("AtelierStoryboard", **inputs, board=text)
        made["sample"]["inputs"]["latent_image"] = ["text", 2]
        return made

    return graph


ROUNDING = 1e-5


def same(server, graph, made) -> None:
    assert relative(made["sample"], made["plain"]) <= ROUNDING


def another(server, graph, made) -> None:
    """The difference is small: in tiny random networks, other frames and the prompt have little effect."""
    assert relative(made["sample"], made["plain"]) > 2 * ROUNDING


def some_skipped(server, graph, made) -> None:
    *_, skipped = re.findall(r"Cache - skipped (\d+)/\d+ steps", server.log.read_text())
    assert int(skipped) > 0


def some_left_out(server, graph, made) -> None:
    *_, share = re.findall(r"Speed Up Video \(fast\) left out (\d+)%", server.log.read_text())
    assert int(share) > 0


def told(server, words: str) -> None:
    assert words in server.log.read_text()


def half_is_kept(server, graph, made) -> None:
    half = made["known"].shape[4] // 2
    kept = relative(made["sample"][..., :half], made["known"][..., :half])
    assert kept <= 1e-4 and relative(made["sample"][..., half:], made["known"][..., half:]) > 1e-2


def first_frame_is_of_the_first(server, graph, made) -> None:
    assert torch.equal(made["sample"][:, :, :1], made["first"][:, :, :1])
    assert torch.equal(made["sample"][:, :, 1:], made["other"][:, :, :-1])


# How a tool changes the graph, and how its result must compare with that of a KSampler alone.
TOOLS = {
    "KSampler (Advanced)": (advanced, same),
    "SamplerCustomAdvanced": (custom, same),
    "EasyCache": (cached("EasyCache"), some_skipped),
    "LazyCache": (cached("LazyCache"), some_skipped),
    "Speed Up Video": (sped_up, some_left_out),
    "Context Windows": (windows(2), another),
    "Context Windows, known frames": (windows_over_known_frames, another),
    "Set Latent Noise Mask": (masked, half_is_kept),
    "Latent Composite": (composite, first_frame_is_of_the_first),
    "ModelSamplingSD3": (on_model("ModelSamplingSD3", shift=2.5), another),
    "ModelSamplingLTXV": (on_model("ModelSamplingLTXV", max_shift=2.05, base_shift=1.5), another),
    "ModelSamplingDiscrete": (on_model("ModelSamplingDiscrete", sampling="v_prediction", zsnr=True), same),
    "Rescale CFG": (on_model("RescaleCFG", multiplier=0.7), another),
    "Video Guidance": (video_guidance(), another),
    "Video Guidance, as published": (video_guidance(recipe="as published"), same),
    "Storyboard, flow": (storyboard("0s: a red circle\n1s: a blue square", base), another),
    "Storyboard, cut": (storyboard("0s: a red circle\n1s cut: a blue square", custom), another),
    "Storyboard, EasyCache": (storyboard("0s: a red circle\n1s: a blue square", cached("EasyCache")), another),
}
# Families on which a tool cannot work, and the word by which the error names the reason.
REFUSED = {
    "KSampler (Advanced)": (("pyramid",), "half-way"),
    "ModelSamplingSD3": (DISCRETE, "v-prediction"),
    "ModelSamplingLTXV": (DISCRETE, "v-prediction"),
    "ModelSamplingDiscrete": (FLOW, "flow matching"),
}
# Families on which a tool cannot work exactly so, and what its result must be there.
OTHERWISE = {
    # The frame in front of the clip, which a LATENT does not contain, starts from the beginning again.
    ("KSampler (Advanced)", "cogvideox-1.5"): lambda server, graph, made: told(
        server, "it is a copy of the clip's first"
    ),
    # The network keeps known frames itself, if it was trained to.
    ("Set Latent Noise Mask", "cogvideox-inp"): another,
    ("Set Latent Noise Mask", "pyramid"): lambda server, graph, made: told(server, "makes whole frames"),
    # They restart at each size, and core counts none of these: families/pyramid_flow/test_comfy.py does.
    ("EasyCache", "pyramid"): another,
    ("LazyCache", "pyramid"): another,
}
# Tools that change nothing in a family, and the words by which the log says so.
IDLE = {
    "Context Windows": (("pyramid",), "Context Windows has no effect"),
    "ModelSamplingSD3": (("pyramid",), "ModelSampling has no effect"),
    "ModelSamplingLTXV": (("pyramid",), "ModelSampling has no effect"),
}


def complete(server, graph: dict) -> None:
    """Give a tool the inputs that only newer ComfyUI asks of it, at their defaults."""
    for step in graph.values():
        if not step["class_type"].startswith("Atelier"):
            required = server.client.object_info([step["class_type"]])[step["class_type"]]["input"].get("required", {})
            for name, (_, *options) in required.items():
                if options and "default" in options[0]:
                    step["inputs"].setdefault(name, options[0]["default"])


def latents(server, graph: dict, *sources: str) -> dict[str, torch.Tensor]:
    """The outputs of these nodes of a graph (and of "sample")."""
    complete(server, graph)
    kept = {
        f"keep {name}": node("SaveLatent", samples=[name, 0], filename_prefix="chain") for name in ("sample", *sources)
    }
    outputs = server.client.run(graph | kept)
    return {
        name.removeprefix("keep "): load(server.client.view(outputs[name]["latents"][0]))["latent_tensor"]
        for name in kept
    }


@pytest.fixture(scope="module")
def plain(server, family) -> torch.Tensor:
    """The result of a KSampler alone."""
    made = latents(server, base(family))["sample"]
    assert made.isfinite().all() and made.abs().mean() > 1e-3
    return made


@pytest.mark.parametrize("tool", list(TOOLS))
def test_tool_does_what_it_should_or_says_why_not(server, family, plain, tool):
    name, (change, check) = family[0], TOOLS[tool]
    graph = change(family)
    refused, reason = REFUSED.get(tool, ((), ""))
    if name in refused:
        with pytest.raises(JobFailed) as raised:
            latents(server, graph)
        assert reason in raised.value.details["exception_message"]
        return
    made = {"plain": plain} | latents(server, graph, *({"first", "other", "known"} & graph.keys()))
    assert made["sample"].isfinite().all() and made["sample"].shape == plain.shape
    idle, notice = IDLE.get(tool, ((), ""))
    if name in idle:
        told(server, notice)
        return same(server, graph, made)
    OTHERWISE.get((tool, name), check)(server, graph, made)


def test_tiled_decode_and_save_and_load_latent(server, family, plain):
    graph = base(family)
    graph["keep"] = node("SaveLatent", samples=["sample", 0], filename_prefix="chain")
    (item,) = server.client.run(graph)["keep"]["latents"]
    file = server.base / "input" / f"chain-{family[0]}.latent"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(server.client.view(item))
    again = {"load": graph["load"], "sample": node("LoadLatent", latent=file.name)}
    assert relative(latents(server, again)["sample"], plain) <= ROUNDING
    tiles = dict(overlap=32, temporal_size=64, temporal_overlap=8)
    whole = shown(server, again, "VAEDecode", {})
    in_one, in_several = (shown(server, again, "VAEDecodeTiled", tiles | dict(tile_size=side)) for side in (128, 64))
    size = family[2]
    assert whole.shape == in_several.shape == (size["frames"], size["height"], size["width"], 3)
    assert (whole - in_one).abs().mean() < 0.02  # tiles of a random decoder fit together badly, so of one alone


def shown(server, graph: dict, decoder: str, options: dict) -> torch.Tensor:
    """The frames that a decoder of core makes of a graph's latents."""
    added = {
        "frames": node(decoder, vae=["load", 2], samples=["sample", 0], **options),
        "decode": node("CreateVideo", images=["frames", 0], fps=8.0),
        "save": node("SaveVideo", video=["decode", 0], filename_prefix="test", format="auto", codec="auto"),
    }
    return graphs.frames(server.client, server.client.run(graph | added))


def test_windows_that_split_a_token_are_refused(server, family):
    if family[0] == "cogvideox-1.5":
        with pytest.raises(JobFailed) as raised:
            latents(server, windows(3)(family))
        assert "as one token" in raised.value.details["exception_message"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a processor")
def test_compiled_model_gives_the_same_clip(server, family, plain):
    graph = on_model("TorchCompileModel", backend="inductor")(family)
    assert relative(latents(server, graph)["sample"], plain) <= 1e-3
