"""Graphs in a real ComfyUI: the saved ones, every way of loading a model, and core's own nodes on our sockets."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import published_graphs
import pytest
import tiny
import torch
from atelier.api.graphs import saved_graph
from safetensors.torch import load, save_file
from shipped_pocket import SIDE

ROOT = Path(__file__).resolve().parents[2]
SAVED = {
    "text_to_video": 17,
    "image_to_video": 17,
    "video_to_video": 17,
    "storyboard": 25,
    "extend": 25,
    "loop": 16,
    "blend": 21,
    "remix": 17,
    "keyframes": 17,
    "recut": 17,
    "inpaint": 17,
    "variations": 17,
}
"""Every saved graph but expand_prompt, which test_expand.py runs, and those of published files; frames of its video."""


def node(class_type: str, **inputs) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def latents(server, prompt: dict, source: str = "sample") -> torch.Tensor:
    """The output of node `source` of a graph, saved by core's Save Latent."""
    prompt = {k: v for k, v in prompt.items() if k not in ("decode", "save")}
    prompt["keep"] = node("SaveLatent", samples=[source, 0], filename_prefix="kept")
    (item,) = server.client.run(prompt)["keep"]["latents"]
    return load(server.client.view(item))["latent_tensor"]


def test_every_saved_graph_is_run():
    assert {path.stem for path in (ROOT / "workflows").glob("*.json")} == {
        "expand_prompt",
        *SAVED,
        *published_graphs.GRAPHS,
    }


@pytest.mark.parametrize("name,frames", SAVED.items())
def test_saved_graph_runs_as_it_is(server, workflow, name, frames):
    graph = workflow(name)
    prompt = saved_graph.to_api(graph, server.client.object_info(saved_graph.node_types(graph)))
    for each in prompt.values():
        if each["class_type"] == "AtelierSampleVideo":
            each["inputs"]["steps"] = 4
    assert graphs.frames(server.client, server.client.run(prompt)).shape == (frames, SIDE, SIDE, 3)


@pytest.mark.parametrize("name", published_graphs.GRAPHS)
def test_saved_graph_for_published_files_runs(server, models, workflow, name):
    """Tiny files have the names in the graph. Only the recommended sizes and steps are replaced by smaller ones."""
    graph = workflow(name)
    (frames, height, width), side = published_graphs.GRAPHS[name]
    published_graphs.put_files(models)
    prompt = saved_graph.to_api(graph, server.client.object_info(saved_graph.node_types(graph)))
    for each in prompt.values():
        if each["class_type"] == "AtelierEmptyVideoLatent":
            each["inputs"] |= dict(width=width, height=height, frames=frames)
        elif each["class_type"] == "AtelierSampleVideo" and side == 1:
            each["inputs"]["steps"] = 2
    saves = {key for key, each in prompt.items() if each["class_type"] == "SaveVideo"}
    outputs = {key: made for key, made in server.client.run(prompt).items() if key in saves}
    assert graphs.frames(server.client, outputs).shape == (frames, height * side, width * side, 3)
    if name.startswith("sound"):
        picture, seconds, heard = graphs.sound(server.client, outputs)
        assert abs(seconds - picture) < 1024 / 16_000 and heard.std() > 1e-4  # AAC's last block is whole
        loudest = np.abs(np.fft.rfft(heard[0])).argmax() / seconds
        assert name != "sound_to_video" or abs(loudest - published_graphs.TONE) < 3


@pytest.mark.parametrize(
    "name,layout", [("text_to_video", "single file"), ("image_to_video", "folder"), ("video_to_video", "folder")]
)
def test_saved_graph_runs_another_model_by_changing_only_the_loader(server, models, workflow, name, layout):
    graph = workflow(name)
    if layout == "folder":
        tiny.folder(models / "diffusers" / "tiny-ltx", "0.9.5")
        choice = "diffusers/tiny-ltx"
    else:
        for folder in ("checkpoints", "text_encoders"):
            (models / folder).mkdir(parents=True, exist_ok=True)
        tiny.single_file(models / "checkpoints" / "tiny-ltx-distilled.safetensors", "0.9.5")
        tiny.t5_file(models / "text_encoders" / "t5xxl_tiny.safetensors")
        choice = "checkpoints/tiny-ltx-distilled.safetensors"
    prompt = saved_graph.to_api(graph, server.client.object_info(saved_graph.node_types(graph)))
    (loader,) = [n for n in prompt.values() if n["class_type"] == "AtelierLoadVideoModel"]
    (empty,) = [n for n in prompt.values() if n["class_type"] == "AtelierEmptyVideoLatent"]
    loader["inputs"]["model"] = choice
    empty["inputs"] |= dict(width=96, height=64, frames=9)  # the recommended size would take an hour here
    for sampler in (n for n in prompt.values() if n["class_type"] == "AtelierSampleVideo"):
        sampler["inputs"]["steps"] = 2
    assert graphs.frames(server.client, server.client.run(prompt)).shape == (9, 64, 96, 3)


def test_sampler_custom_advanced_equals_sample_video(server):
    ours = graphs.text_to_video(steps=4, guidance=3.0, seed=9)
    theirs = graphs.text_to_video(steps=4)
    theirs["frame rate"] = node("LTXVConditioning", positive=["text", 0], negative=["text", 1], frame_rate=8.0)
    guided = dict(positive=["frame rate", 0], negative=["frame rate", 1])
    theirs |= {
        "noise": node("RandomNoise", noise_seed=9),
        "guider": node("CFGGuider", model=["load", 0], cfg=3.0, **guided),
        "sampler": node("KSamplerSelect", sampler_name="euler"),
        "sigmas": node("AtelierVideoSchedule", model=["load", 0], latent=["empty", 0], steps=4, denoise=1.0),
    }
    parts = dict(noise=["noise", 0], guider=["guider", 0], sampler=["sampler", 0], sigmas=["sigmas", 0])
    theirs["sample"] = node("SamplerCustomAdvanced", **parts, latent_image=["empty", 0])
    assert torch.allclose(latents(server, ours), latents(server, theirs), atol=1e-5)


def test_ksampler_and_vae_decode(server):
    graph = graphs.text_to_video()
    inputs = dict(model=["load", 0], positive=["text", 0], negative=["text", 1], latent_image=["empty", 0])
    settings = dict(seed=3, steps=3, cfg=3.0, sampler_name="dpmpp_2m", scheduler="beta", denoise=1.0)
    graph["sample"] = node("KSampler", **inputs, **settings)
    graph["frames"] = node("VAEDecode", vae=["load", 2], samples=["sample", 0])
    graph["decode"] = node("CreateVideo", images=["frames", 0], fps=8.0)
    assert graphs.frames(server.client, server.client.run(graph)).shape == (17, SIDE, SIDE, 3)


def test_tiled_decode_is_close_to_whole(server):
    whole = graphs.text_to_video(width=192, height=128, steps=1)
    tiled = graphs.text_to_video(width=192, height=128, steps=1)
    tiles = dict(tile_size=128, overlap=64, temporal_size=16, temporal_overlap=8)
    tiled["frames"] = node("VAEDecodeTiled", vae=["load", 2], samples=["sample", 0], **tiles)
    tiled["decode"] = node("CreateVideo", images=["frames", 0], fps=8.0)
    one, other = (graphs.frames(server.client, server.client.run(graph)) for graph in (whole, tiled))
    assert one.shape == other.shape == (17, 128, 192, 3)
    assert (one - other).abs().mean() < 0.05


def test_encoding_and_denoising_a_little_keeps_the_clip(server):
    """After VAE Encode of our own clip, denoise 0.3 stays closer to it than denoise 1."""

    def again(denoise: float) -> torch.Tensor:
        graph = graphs.text_to_video(steps=6, seed=2)
        graph["encoded"] = node("VAEEncode", pixels=["decode", 1], vae=["load", 2])
        settings = dict(seed=5, steps=6, guidance=0, denoise=denoise)
        inputs = dict(model=["load", 0], positive=["text", 0], negative=["text", 1], latent=["encoded", 0])
        graph["again"] = node("AtelierSampleVideo", **inputs, **settings)
        graph["second"] = node("AtelierDecodeVideo", vae=["load", 2], latent=["again", 0], fps=8)
        graph["save"]["inputs"]["video"] = ["second", 0]
        return graphs.frames(server.client, server.client.run(graph))

    first = graphs.frames(server.client, server.client.run(graphs.text_to_video(steps=6, seed=2)))
    little, whole = ((again(denoise) - first).abs().mean() for denoise in (0.3, 1.0))
    assert little < 0.6 * whole


@pytest.mark.parametrize("position,where", [("first", 0), ("last", -1)])
def test_placed_image_is_there_at_its_time(server, models, position, where):
    """In the latents of an early LTX Video; later ones read it beside the shot, as the pocket does."""
    tiny.folder(models / "diffusers" / "early", "0.9.0")
    graph = graphs.text_to_video(model="diffusers/early", width=64, height=64, frames=33, steps=4)
    graph["image"] = node("EmptyImage", width=100, height=80, batch_size=1, color=0xF5F5F5)
    inputs = dict(vae=["load", 2], latent=["empty", 0], images=["image", 0])
    graph["place"] = node("AtelierPlaceFrames", **inputs, position=position, time=0.0, strength=1.0)
    graph["sample"]["inputs"]["latent"] = ["place", 0]
    placed, made = latents(server, graph, "place"), latents(server, graph)
    assert placed[:, :, where].abs().mean() > 0.1
    assert torch.allclose(made[:, :, where], placed[:, :, where], atol=1e-5)
    assert not torch.allclose(made[:, :, 2], placed[:, :, 2], atol=1e-1)


def test_a_file_replaced_under_its_name_is_loaded_again(server, models):
    tiny.folder(models / "diffusers" / "changing", "0.9.0")
    graph = graphs.text_to_video(model="diffusers/changing", width=64, height=64, frames=9)
    first = latents(server, graph)
    (file,) = (models / "diffusers" / "changing" / "transformer").glob("*00001-of*")
    state = load(file.read_bytes())
    save_file({key: weight * 1.5 for key, weight in state.items()}, file)
    assert not torch.allclose(first, latents(server, graph))


def test_batch_gives_different_clips_one_after_the_other(server):
    made = graphs.frames(server.client, server.client.run(graphs.text_to_video(batch_size=2, frames=9)))
    assert made.shape == (18, SIDE, SIDE, 3) and not torch.equal(made[:9], made[9:])


def test_frame_rate_travels_from_the_empty_latent_to_the_video(server):
    import io

    import av

    outputs = server.client.run(graphs.text_to_video(seconds=2.0) | {})
    (item,) = outputs["save"]["images"]
    with av.open(io.BytesIO(server.client.view(item))) as container:
        assert container.streams.video[0].average_rate == 8
