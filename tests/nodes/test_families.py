"""Every family in a real ComfyUI: the saved graphs run it when its model is chosen in the loader."""

from __future__ import annotations

import re
from functools import cache

import graphs
import pytest
import tiny_cogvideox
import tiny_ltx2
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
    "ltx2": (lambda path: tiny_ltx2.folder(path, "2.3"), 17, 64),
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
@pytest.mark.parametrize(
    "family", ["mochi", "cogvideox-1.5-5b-i2v", "pyramid-miniflux", pytest.param("ltx2", marks=pytest.mark.slow)]
)
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
    assert "scheduler and denoise are not used" in server.log.read_text()


def test_the_sound_of_a_clip_is_in_its_file(server, choice):
    graph = graphs.text_to_video(model=choice("ltx2"), width=64, height=64, frames=33, steps=1, batch_size=2)
    graph["preview"] = graphs.node("PreviewAudio", audio=["decode", 2])
    outputs = server.client.run(graph)
    picture, seconds, sound = graphs.sound(server.client, outputs)
    assert abs(picture - 2 * 33 / 24) < 0.01 and abs(seconds - picture) < 1 / 24  # both clips, one after the other
    assert sound.std() > 1e-4 and outputs["preview"]["audio"]


def test_cores_ksampler_makes_picture_and_sound(server, choice):
    """Every node after Load Video Model and Empty Video Latent is ComfyUI's, but for the one that decodes."""
    graph = graphs.text_to_video(model=choice("ltx2"), width=64, height=64, frames=17, steps=1)
    graph["text"] = graphs.node("CLIPTextEncode", clip=["load", 1], text="footsteps")
    inputs = dict(model=["load", 0], positive=["text", 0], negative=["text", 0], latent_image=["empty", 0])
    settings = dict(seed=3, steps=2, cfg=3.0, sampler_name="euler", scheduler="simple", denoise=1.0)
    graph["sample"] = graphs.node("KSampler", **inputs, **settings)
    picture, seconds, sound = graphs.sound(server.client, server.client.run(graph))
    assert abs(picture - 17 / 24) < 0.01 and abs(seconds - picture) < 1 / 24 and sound.std() > 1e-4


def test_placed_sound_is_kept_and_footage_keeps_its_own(server, choice, tmp_path):
    """A spoken line is placed, decoded, encoded again with its picture, and is still there."""
    graph = graphs.text_to_video(model=choice("ltx2"), width=64, height=64, frames=33, steps=1)
    graph["silence"] = graphs.node("EmptyAudio", duration=5.0, sample_rate=8000, channels=1)
    graph["place"] = graphs.node(
        "AtelierPlaceSound", vae=["load", 2], latent=["empty", 0], audio=["silence", 0], time=0.5, strength=1.0
    )
    graph["sample"]["inputs"]["latent"] = ["place", 0]
    graph["encode"] = graphs.node(
        "AtelierEncodeVideo",
        vae=["load", 2],
        video=["decode", 0],
        width=0,
        height=0,
        fit="crop",
        fps=0,
        start=0,
        length=0,
    )
    graph["again"] = graphs.node("AtelierDecodeVideo", vae=["load", 2], latent=["encode", 0], fps=0)
    graph["save"]["inputs"]["video"] = ["again", 0]
    picture, seconds, _ = graphs.sound(server.client, server.client.run(graph))
    assert abs(seconds - picture) < 1 / 24
    log = " ".join(server.log.read_text().split())
    assert "sound from 0.52 to 1.36 s is given" in log or "sound from 0.48 to 1.36 s is given" in log
    assert "its last 4.12 s are cut off" in log


def test_a_storyboard_has_sound(server, choice):
    """Three cards, the last after a cut: the clip's sound goes through all windows, in step with its picture."""
    graph = graphs.text_to_video(model=choice("ltx2"), width=64, height=64, frames=33, steps=1)
    board = dict(board="0s: a red circle\n0.4s: a blue square\n0.9s cut: footsteps", negative_prompt="", style="none")
    graph["text"] = graphs.node("AtelierStoryboard", clip=["load", 1], vae=["load", 2], latent=["empty", 0], **board)
    graph["sample"]["inputs"]["latent"] = ["text", 2]
    picture, seconds, heard = graphs.sound(server.client, server.client.run(graph))
    assert abs(picture - 33 / 24) < 0.01 and abs(seconds - picture) < 1 / 24 and heard.std() > 1e-4


@pytest.mark.parametrize(
    "change, said",
    [
        ({"fps": 120}, "was trained at 23.9 to 30 and 59.9 to 60 frames a second, not 120"),
        ({"picture alone": True}, "but this latent has only a picture"),
        ({"sound for a silent model": True}, "This latent has no sound: its model makes none"),
        ({"audio of a silent clip": True}, "AUDIO of Decode Video is connected, but this latent has no sound"),
    ],
)
def test_what_sound_cannot_do_is_said(server, choice, change, said):
    model = "pocket (built in)" if any("silent" in name for name in change) else choice("ltx2")
    graph = graphs.text_to_video(model=model, width=64, height=64, frames=9, steps=1)
    if "fps" in change:
        graph["empty"]["inputs"]["fps"] = 120
    if "picture alone" in change:
        graph["images"] = graphs.node("EmptyImage", width=64, height=64, batch_size=9, color=0)
        graph["sample"]["inputs"]["latent"] = ["encode", 0]
        graph["encode"] = graphs.node("VAEEncode", pixels=["images", 0], vae=["load", 2])
    if "sound for a silent model" in change:
        graph["silence"] = graphs.node("EmptyAudio", duration=1.0, sample_rate=8000, channels=2)
        given = dict(vae=["load", 2], latent=["empty", 0], audio=["silence", 0], time=0.0, strength=1.0)
        graph["sample"]["inputs"]["latent"] = ["place", 0]
        graph["place"] = graphs.node("AtelierPlaceSound", **given)
    if "audio of a silent clip" in change:
        graph["preview"] = graphs.node("PreviewAudio", audio=["decode", 2])
    before = len(server.log.read_text())
    if "fps" in change:
        server.client.run(graph)
    else:
        with pytest.raises(Exception, match=said):
            server.client.run(graph)
    assert said in " ".join(server.log.read_text()[before:].split())
