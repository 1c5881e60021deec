"""Two thousand frames from a latent to a file and back, in a ComfyUI without the memory for all of them at once."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import av
import graphs
import pytest
import tiny_cogvideox
import tiny_mochi
import tiny_pyramid
import torch
from client import Client, JobFailed
from comfy_server import running
from graphs import node
from safetensors.torch import save_file
from shipped_pocket import CHANNELS, SPATIAL

FRAMES = 2000
"""At least; every family's next length."""
ROOM = 192 * 2**20
"""Bytes of address space beyond what the server holds after a short clip of the same picture."""

EXACT_MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(2**20)}
"""Else glibc takes addresses 128 MiB at a time, and keeps them: the limit would not be one of memory."""

# diffusers' own way: the whole clip through the autoencoder at once.
ONE_GO = """
import torch

PIECES = ("num_latent_frames_batch_size", "num_sample_frames_batch_size")

class OneGo:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"vae": ("VAE",), "latent": ("LATENT",), "half": ("STRING",)}})
    RETURN_TYPES, FUNCTION, OUTPUT_NODE, CATEGORY = (), "run", True, "test"

    def run(self, vae, latent, half):
        vae = vae.first_stage_model.autoencoder
        pieces = {name: getattr(vae.vae, name) for name in PIECES if hasattr(vae.vae, name)}
        try:
            for name in pieces:  # CogVideoX's own always goes by the piece
                setattr(vae.vae, name, 10**6)
            getattr(self, half)(vae, latent["samples"], vae.grid.frames(latent["samples"].shape[2]))
        finally:
            for name, length in pieces.items():
                setattr(vae.vae, name, length)
        return ()

    def decoder(self, vae, samples, frames):
        raw, whole = vae.denormalise(samples), getattr(vae.vae, "decode", None)
        pixels = whole(raw).sample if whole else vae.vae.decoder_step()(raw, True)
        assert pixels.shape[2:] == (frames, *(side * vae.grid.spatial for side in samples.shape[3:]))

    def encoder(self, vae, samples, frames):
        pixels = torch.zeros(1, 3, frames, *(side * vae.grid.spatial for side in samples.shape[3:]))
        vae.vae.encode(pixels) if hasattr(vae.vae, "encode") else vae.vae.encoder_step()(pixels, True)

NODE_CLASS_MAPPINGS = {"OneGo": OneGo}
"""
MODELS = {
    "LTX Video": ("pocket (built in)", (CHANNELS, 4, 4 * SPATIAL)),
    "CogVideoX": ("diffusers/cogvideox", (16, 4, 16)),
    "Mochi": ("diffusers/mochi", (12, 6, 16)),
    "Pyramid Flow": ("diffusers/pyramid/diffusion_transformer_384p", (16, 8, 16)),
}
"""The loader's choices, their latent channels, frames per latent frame, and the side of the picture."""


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    base = tmp_path_factory.mktemp("long")
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "one_go.py").write_text(ONE_GO)
    (base / "input").mkdir()
    tiny_cogvideox.folder(base / "models" / "diffusers" / "cogvideox", "5B")
    tiny_mochi.folder(base / "models" / "diffusers" / "mochi")
    tiny_pyramid.folder(base / "models" / "diffusers" / "pyramid", "miniflux")
    for channels, temporal, side in {sizes for _, sizes in MODELS.values()}:
        small = side // (SPATIAL if channels == CHANNELS else 8)
        for length, frames in {"short": 9, "long": latent_frames(temporal)}.items():
            latent = torch.randn((1, channels, frames, small, small), generator=torch.manual_seed(0))
            tensors = {"latent_tensor": latent, "latent_format_version_0": torch.tensor([])}
            save_file(tensors, base / "input" / f"{channels}-{temporal}-{length}.latent")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in EXACT_MALLOC.items():
            patch.setenv(name, value)
        with running(base, "comfyui") as process, Client(process.url) as client:
            yield process, client


def latent_frames(temporal: int) -> int:
    return -(-(FRAMES - 1) // temporal) + 1


def through_the_nodes(model: str, latent: str) -> dict:
    """Decode a latent to a file, encode the file to a latent, and keep both."""
    sizes = dict(width=0, height=0, fit="crop", fps=0, start=0, length=0)
    return {
        "load": graphs.text_to_video(model=model)["load"],
        "latent": node("LoadLatent", latent=latent),
        "decode": node("AtelierDecodeVideo", vae=["load", 2], latent=["latent", 0], fps=24, crf=30),
        "save": node("SaveVideo", video=["decode", 0], filename_prefix="long", format="auto", codec="auto"),
        "encode": node("AtelierEncodeVideo", vae=["load", 2], video=["decode", 0], **sizes),
        "keep": node("SaveLatent", samples=["encode", 0], filename_prefix="long"),
    }


def one_go(model: str, latent: str, half: str) -> dict:
    graph = through_the_nodes(model, latent)
    graph = {name: graph[name] for name in ("load", "latent")}
    return graph | {"go": node("OneGo", vae=["load", 2], latent=["latent", 0], half=half)}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process that runs already")
@pytest.mark.parametrize("family", MODELS)
def test_any_length_where_one_go_has_no_room(limited, family):
    import resource

    process, client = limited
    model, (channels, temporal, side) = MODELS[family]
    short, long = (f"{channels}-{temporal}-{length}.latent" for length in ("short", "long"))
    for graph in (through_the_nodes(model, short), one_go(model, short, "decoder"), one_go(model, short, "encoder")):
        client.run(graph)
    pid = process.process.pid
    held = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmSize"))
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (int(held.split()[1]) * 1024 + ROOM, before[1]))
    try:
        for half in ("decoder", "encoder"):
            with pytest.raises(JobFailed, match="allocate memory|MemoryError"):
                client.run(one_go(model, long, half))
        outputs = client.run(through_the_nodes(model, long))
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, before)
    with av.open(io.BytesIO(client.view(outputs["save"]["images"][0]))) as container:
        assert container.streams.video[0].frames == (latent_frames(temporal) - 1) * temporal + 1 >= FRAMES
        assert container.streams.video[0].width == side
    assert outputs["keep"]["latents"]
