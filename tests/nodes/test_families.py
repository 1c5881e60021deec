"""Every family in a real ComfyUI: the saved graphs run it when its model is chosen in the loader."""

from __future__ import annotations

import re
from functools import cache

import graphs
import pytest
import tiny_cogvideox
import tiny_mochi
import tiny_pyramid
from atelier.api.graphs import saved_graph

# A function that writes the folder and returns the loader's choice, then frames and height of a small clip.
FOLDERS = {
    "mochi": (tiny_mochi.folder, 13, 48),
    "cogvideox-2b": (lambda path: tiny_cogvideox.folder(path, "2B"), 9, 48),
    "cogvideox-5b": (lambda path: tiny_cogvideox.folder(path, "5B"), 9, 48),
    "cogvideox-5b-i2v": (lambda path: tiny_cogvideox.folder(path, "5B I2V"), 9, 48),
    "cogvideox-1.5-5b": (lambda path: tiny_cogvideox.folder(path, "1.5 5B"), 9, 48),
    "cogvideox-1.5-5b-i2v": (lambda path: tiny_cogvideox.folder(path, "1.5 5B I2V"), 9, 48),
    "cogvideox-fun-5b-inp": (lambda path: tiny_cogvideox.folder(path, "Fun 5B InP"), 9, 48),
    "cogvideox-fun-5b-control": (lambda path: tiny_cogvideox.folder(path, "Fun 5B Control"), 9, 48),
    "pyramid-miniflux": (lambda path: tiny_pyramid.folder(path, "miniflux"), 17, 64),
    "pyramid-sd3": (lambda path: tiny_pyramid.folder(path, "sd3"), 17, 64),
}


@pytest.fixture(scope="module")
def choice(server):
    """``choice("mochi")``: the loader's value for that family, whose tiny folder is written once."""
    diffusers = server.base / "models" / "diffusers"

    @cache
    def written(family: str) -> str:
        return f"diffusers/{FOLDERS[family][0](diffusers / f'tiny-{family}').relative_to(diffusers).as_posix()}"

    return written


@pytest.mark.parametrize("graph_name", ["text_to_video", "image_to_video"])
@pytest.mark.parametrize("family", list(FOLDERS))
def test_saved_graph_runs_by_changing_only_the_loader(server, workflow, choice, family, graph_name):
    _, frames, height = FOLDERS[family]
    graph = workflow(graph_name)
    prompt = saved_graph.to_api(graph, server.client.object_info(saved_graph.node_types(graph)))
    (loader,) = [n for n in prompt.values() if n["class_type"] == "AtelierLoadVideoModel"]
    (empty,) = [n for n in prompt.values() if n["class_type"] == "AtelierEmptyVideoLatent"]
    (sampler,) = [n for n in prompt.values() if n["class_type"] == "AtelierSampleVideo"]
    loader["inputs"]["model"] = choice(family)
    empty["inputs"] |= dict(width=64, height=height, frames=frames)  # the recommended size would take hours here
    sampler["inputs"]["steps"] = 2
    assert graphs.frames(server.client, server.client.run(prompt)).shape == (frames, height, 64, 3)


TEXT_ALONE = {
    "mochi": "Mochi 1",
    "cogvideox-2b": "CogVideoX 2B",
    "cogvideox-5b": "CogVideoX 5B",
    "cogvideox-1.5-5b": "CogVideoX 1.5 5B",
}


@pytest.mark.parametrize("family,name", TEXT_ALONE.items())
def test_loader_says_what_a_model_was_not_trained_for(server, choice, family, name):
    graph = graphs.text_to_video(model=choice(family), width=64, height=48, frames=1, steps=1)
    server.client.run(graph)
    assert re.search(f"Load Video Model: {name} recommends .*trained on text alone", server.log.read_text())


@pytest.mark.parametrize("graph_name", ["extend", "loop", "blend", "recut", "remix"])
@pytest.mark.parametrize("family", ["mochi", "cogvideox-1.5-5b-i2v", "pyramid-miniflux"])
def test_clips_are_edited_by_changing_only_the_loader(server, workflow, choice, family, graph_name):
    _, frames, height = FOLDERS[family]
    frames = 2 * frames - 1
    graph = workflow(graph_name)
    prompt = saved_graph.to_api(graph, server.client.object_info(saved_graph.node_types(graph)))
    small = {
        "AtelierLoadVideoModel": dict(model=choice(family)),
        "AtelierEmptyVideoLatent": dict(width=64, height=height, frames=frames, fps=8.0),
        "AtelierSampleVideo": dict(steps=2),
        "AtelierBlendShots": dict(seconds=0.75),
    }
    for each in prompt.values():
        each["inputs"] |= small.get(each["class_type"], {})
    made = graphs.frames(server.client, server.client.run(prompt))
    assert made.shape[1:] == (height, 64, 3) and made.isfinite().all()
    shown = frames - (graph_name == "loop")  # a loop has no first frame
    assert len(made) > frames if graph_name in ("extend", "blend") else len(made) == shown


def test_control_clip_and_dynamic_guidance_change_the_video(server, choice):
    def made(*tools: str):
        graph = graphs.text_to_video(model=choice("cogvideox-fun-5b-control"), width=64, height=48, frames=9, steps=5)
        if "control" in tools:
            graph["poses"] = graphs.node("EmptyImage", width=80, height=60, batch_size=5, color=0xC04020)
            inputs = dict(vae=["load", 2], latent=["empty", 0], images=["poses", 0])
            graph["control"] = graphs.node("AtelierControlVideo", positive=["text", 0], negative=["text", 1], **inputs)
            graph["sample"]["inputs"] |= dict(positive=["control", 0], negative=["control", 1])
        if "dynamic" in tools:
            graph["dynamic"] = graphs.node("AtelierDynamicGuidance", model=["load", 0])
            graph["sample"]["inputs"]["model"] = ["dynamic", 0]
        return graphs.frames(server.client, server.client.run(graph))

    plain, controlled, dynamic = made(), made("control"), made("control", "dynamic")
    assert plain.shape == controlled.shape == dynamic.shape == (9, 48, 64, 3)
    assert "no control clip" in server.log.read_text()
    assert (plain - controlled).abs().mean() > 1e-3 and (controlled - dynamic).abs().mean() > 1e-3


def test_core_nodes_run_a_family_with_a_sampler_of_its_own(server, choice):
    """The one of Pyramid Flow's two networks that test_chain.py does not run."""
    graph = graphs.text_to_video(model=choice("pyramid-sd3"), width=128, height=64, frames=9)
    graph["text"] = graphs.node("CLIPTextEncode", clip=["load", 1], text="a red circle")
    graph["no text"] = graphs.node("CLIPTextEncode", clip=["load", 1], text="")
    inputs = dict(model=["load", 0], positive=["text", 0], negative=["no text", 0], latent_image=["empty", 0])
    settings = dict(seed=3, steps=2, cfg=5.0, sampler_name="dpmpp_2m", scheduler="simple", denoise=1.0)
    graph["sample"] = graphs.node("KSampler", **inputs, **settings)
    graph["frames"] = graphs.node("VAEDecode", vae=["load", 2], samples=["sample", 0])
    graph["decode"] = graphs.node("CreateVideo", images=["frames", 0], fps=24.0)
    assert graphs.frames(server.client, server.client.run(graph)).shape == (9, 64, 128, 3)
    assert "scheduler and denoise are its own" in server.log.read_text()
