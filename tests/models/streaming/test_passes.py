"""Clips in pieces give the result of the whole clip, for every family; tiles leave no seam; running out of memory."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import comfy.model_management as memory
import published
import pytest
import tiny
import tiny_cogvideox
import tiny_mochi
import tiny_pyramid
import torch
from atelier.models.bridge.vae import decode, decode_stream, encode_stream
from atelier.models.families.cogvideox.autoencoder import CogVideoXAutoencoder
from atelier.models.families.ltx2.autoencoder import LTX2Autoencoder
from atelier.models.families.ltx_video.autoencoder import LTXVideoAutoencoder
from atelier.models.families.mochi.autoencoder import MochiAutoencoder
from atelier.models.families.pyramid_flow.autoencoder import PyramidAutoencoder
from atelier.models.families.pyramid_flow.causal_vae import STATISTICS
from atelier.models.library import folders
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from atelier.models.streaming import passes
from atelier.models.streaming.spool import Spool
from benchmarks.decode import LATENT_FRAMES, PICTURES, autoencoders, peak_of, piecewise
from diffusers import AutoencoderKLLTX2Video
from shipped_pocket import CHANNELS, SPATIAL

LTX = {f"LTX {version}": version for version in tiny.VERSIONS}


CODERS = [*LTX, "CogVideoX", "Mochi", "Pyramid Flow"]
MEASURED = [
    pytest.param(name, marks=pytest.mark.slow) if name in ("LTX 0.9.0", "LTX 0.9.1") else name for name in CODERS
]
"""For what is counted on a long clip: the normal run counts one of LTX's autoencoders, which share their code."""


@pytest.fixture(scope="module", params=CODERS)
def coder(request):
    """A family's tiny autoencoder, and diffusers' own, unchanged (None for Pyramid Flow, which diffusers lacks)."""
    if request.param in LTX:
        vae, wrap = tiny.vae(LTX[request.param]), LTXVideoAutoencoder
    elif request.param == "CogVideoX":
        vae, wrap = tiny_cogvideox.vae("5b"), CogVideoXAutoencoder
    elif request.param == "Mochi":
        vae, wrap = tiny_mochi.vae(), MochiAutoencoder
    else:
        return PyramidAutoencoder(tiny_pyramid.vae(), STATISTICS["miniflux"]).eval().requires_grad_(False), None
    vae = vae.eval().requires_grad_(False)
    return wrap(copy.deepcopy(vae)), vae


def latents_of(autoencoder, frames: int, side: int = 2) -> torch.Tensor:
    return torch.randn(1, autoencoder.grid.channels, frames, side, side + 1, generator=torch.Generator().manual_seed(1))


def decoded(autoencoder, latents: torch.Tensor, tile: int | None = None) -> torch.Tensor:
    torch.manual_seed(0)  # some of LTX's decoders add noise
    return torch.cat(list(passes.decode(autoencoder, latents, tile)), dim=2)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("frames", [1, 2, 6, 9])
def test_decoding_by_the_piece_is_decoding_in_one_go(coder, frames):
    autoencoder, reference = coder
    latents = latents_of(autoencoder, frames)
    made = decoded(autoencoder, latents)
    assert made.shape[2] == autoencoder.grid.frames(frames)
    raw = autoencoder.denormalise(latents)
    torch.manual_seed(0)
    if reference is None:
        whole = autoencoder.vae.decoder_step()(raw, True)
    elif isinstance(autoencoder, CogVideoXAutoencoder) and frames % 2 == 0:
        raw = torch.cat([raw[:, :, :1], raw], dim=2)  # diffusers' decoder takes odd numbers only
        whole = reference.decode(raw).sample[:, :, 4:]
    elif isinstance(autoencoder, LTXVideoAutoencoder) and reference.config.timestep_conditioning:
        whole = reference.decode(raw, torch.tensor([0.05])).sample
    else:
        whole = reference.decode(raw).sample
    assert relative(made, whole) <= 1e-5


@pytest.mark.parametrize("latent_frames,chunk", [(1, 1000), (3, 5), (7, 1), (7, 1000)])
def test_encoding_a_stream_is_encoding_in_one_go(coder, latent_frames, chunk):
    autoencoder, reference = coder
    frames, side = autoencoder.grid.frames(latent_frames), 2 * autoencoder.grid.spatial
    pixels = torch.rand(1, 3, frames + 3, side, side, generator=torch.Generator().manual_seed(2)) * 2 - 1
    made = passes.encode(autoencoder, pixels.split(chunk, dim=2), frames, (side, side))
    pixels = pixels[:, :, :frames]
    if reference is None:
        whole = autoencoder.vae.encoder_step()(pixels, True).chunk(2, dim=1)[0]
    else:
        whole = reference.encode(pixels).latent_dist.mode()
    assert relative(made, autoencoder.normalise(whole)) <= 1e-5


def test_mochis_encoder_looks_back_as_far_as_its_authors_clips_are_long():
    """It is exact up to 163 frames. Later frames attend to 43 or more earlier ones: two per cent off."""
    autoencoder = MochiAutoencoder(tiny_mochi.vae().eval())
    pixels = torch.rand(1, 3, 289, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1
    made = passes.encode(autoencoder, [pixels], 289, (16, 16))
    whole, later = (
        autoencoder.normalise(autoencoder.vae.encode(part).latent_dist.mode()) for part in (pixels, pixels[:, :, 120:])
    )
    assert made.shape == whole.shape and relative(made[:, :, :28], whole[:, :, :28]) <= 1e-5
    assert relative(made[:, :, 28:48], later[:, :, 8:28]) <= 1e-5
    assert relative(made, whole) < 0.04


def test_normalising_is_undone(coder):
    autoencoder, reference = coder
    latents = latents_of(autoencoder, 3)
    if getattr(getattr(reference, "config", None), "timestep_conditioning", False):
        pytest.skip("this decoder's latents get noise")
    assert relative(autoencoder.normalise(autoencoder.denormalise(latents)), latents) <= 1e-5


def test_a_stream_that_ends_early_says_so(coder):
    autoencoder, _ = coder
    frames, side = autoencoder.grid.frames(3), autoencoder.grid.spatial
    with pytest.raises(ValueError, match="ended early"):
        passes.encode(autoencoder, [torch.zeros(1, 3, frames - 1, side, side)], frames, (side, side))


@pytest.mark.parametrize("coder", MEASURED, indirect=True)
def test_what_a_pass_keeps_does_not_grow(coder):
    """The tensors that live between two pieces, after each piece in the middle of a long clip."""
    autoencoder, _ = coder
    raw = autoencoder.denormalise(latents_of(autoencoder, 61, side=1))
    begun = autoencoder.decoding(61)
    held = []
    for number, piece in enumerate(raw.split(list(begun.lengths), dim=2)):
        begun.step(piece, number == len(begun.lengths) - 1)
        held.append(sum(cell_bytes(begun.step)))
    assert len(held) >= 20 and held[-2] > 0 and len(set(held[-6:-1])) == 1


def cell_bytes(function) -> list[int]:
    """Sizes of the tensors that a closure reaches through dicts, objects and other closures, modules left out."""
    seen, found, waiting = set(), [], [function]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, torch.nn.Module):
            continue
        seen.add(id(thing))
        if isinstance(thing, torch.Tensor):
            found.append(thing.untyped_storage().nbytes())
        elif isinstance(thing, dict):
            waiting.extend(thing.values())
        elif callable(thing) and getattr(thing, "__closure__", None):
            waiting.extend(cell.cell_contents for cell in thing.__closure__)
        elif hasattr(thing, "kept"):
            waiting.append(thing.kept)
    return found


@pytest.fixture(scope="module")
def pocket():
    """The VAE that ships with the pack. It is trained, so it decodes pictures."""
    return load.load_vae(open_model(folders.model_path(folders.POCKET)))


@pytest.fixture(scope="module")
def picture(pocket):
    """Latents of a moving gradient with a disc, 512 x 512: much larger than a tile."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 512), torch.linspace(0, 1, 512), indexing="ij")
    frames = [
        torch.stack([rows, columns, ((rows - 0.5) ** 2 + (columns - 0.4 - n / 50) ** 2 < 0.04).float()], -1)
        for n in range(5)
    ]
    return pocket.encode(torch.stack(frames))


def test_tiles_leave_no_seam(pocket, picture):
    """Steps from pixel to pixel across the lines where tiles meet are no larger than beside them."""
    autoencoder = pocket.first_stage_model.autoencoder
    whole, tiled = decoded(autoencoder, picture), decoded(autoencoder, picture, tile=256)
    assert 10 * torch.log10(4 / (whole - tiled).pow(2).mean()) > 35
    for dim, at in ((3, 192), (4, 192)):
        steps = (tiled - whole).diff(dim=dim).abs().mean(dim=[n for n in range(5) if n != dim])
        assert steps[at - 1] <= 2 * steps.mean() + 1e-3


@pytest.mark.parametrize("coder", MEASURED, indirect=True)
def test_tiles_take_the_memory_of_one(coder):
    """A pass keeps the memory of one tile, however many there are, besides the frames that are put together."""
    autoencoder = copy.deepcopy(coder[0]).to("meta")
    tile, side = 4 * autoencoder.grid.spatial, 10 * autoencoder.grid.spatial
    in_tiles = partial(piecewise, tile=tile)
    of_one, of_nine = (peak_of(autoencoder, (size, size), 3, in_tiles) for size in (tile, side))
    assert of_nine <= 1.1 * of_one + 7 * passes.BLENDED * 3 * side**2 * torch.bfloat16.itemsize


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PICTURES, "LTX-2.3"])
def test_declared_memory_is_what_is_counted(name):
    """At published size: too little runs out of memory, too much makes tiles that nobody needs."""
    with torch.device("meta"):
        if name == "LTX-2.3":
            config = published.arguments(published.config("ltx2-22b-dev")["vae"])
            autoencoder = LTX2Autoencoder(AutoencoderKLLTX2Video(**config))
        else:
            autoencoder = autoencoders()[name]()
    family = name.replace("2.3", "2")
    height, width = PICTURES[family]
    autoencoder = autoencoder.eval().requires_grad_(False)
    values = peak_of(autoencoder, (height, width), LATENT_FRAMES[family]) / 2 / height / width
    assert values <= autoencoder.decode_values <= 1.3 * values


def test_tiles_tell_how_far_they_are_and_can_be_cancelled(pocket, picture, monkeypatch):
    first_stage, told = pocket.first_stage_model, []
    monkeypatch.setattr(first_stage, "tile", lambda *_: 256)
    for _ in first_stage.decoded(picture, told.append):
        pass
    assert len(told) >= 9 and told == sorted(told) and told[-1] == pytest.approx(1)

    def tell(share: float) -> None:
        told.append(share)
        if share > 0.3:
            memory.interrupt_current_processing()

    told.clear()
    with pytest.raises(memory.InterruptProcessingException):
        list(first_stage.decoded(picture, tell))
    assert 0.3 < told[-1] < 0.5


def test_what_waits_comes_back_as_it_was(tmp_path):
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(5, 4, generator=generator).to(dtype) for dtype in (torch.bfloat16, torch.half, torch.double)]
    tensors += [tensors[0].T, torch.empty(1, 0, 3)]
    with Spool(str(tmp_path)) as spool:
        for tensor in tensors:
            spool.add(tensor)
        for _ in range(2):
            assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(spool, tensors, strict=True))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_says_what_to_do(monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: open("/dev/full", "r+b"))
    with Spool() as spool, pytest.raises(OSError, match="full: the VAE stores the tiles of a clip there.*Make room"):
        spool.add(torch.zeros(9))


def limit(vae, largest: int, monkeypatch, half: str = "decoder") -> None:
    """Makes half of the VAE run out of memory on inputs wider than `largest`."""
    conv = getattr(vae.first_stage_model.autoencoder.vae, half).conv_in.conv
    forward = conv.forward

    def limited(x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] > largest:
            raise torch.cuda.OutOfMemoryError("no memory left")
        return forward(x)

    monkeypatch.setattr(conv, "forward", limited)


def test_out_of_memory_goes_on_in_tiles_and_says_so(pocket, picture, monkeypatch, caplog):
    whole = decode(pocket, picture)
    limit(pocket, 320 // SPATIAL, monkeypatch)
    made = decode(pocket, picture)
    assert "continuing in tiles of 256 x 256 pixels" in caplog.text
    assert 10 * torch.log10(1 / (whole - made).pow(2).mean()) > 35
    assert relative(pocket.decode(picture)[0], made) <= 1e-6, "core's VAE Decode as well"


def test_out_of_memory_while_encoding_begins_again_in_tiles(pocket, picture, monkeypatch, caplog):
    frames = decode(pocket, picture)
    whole = pocket.encode(frames)
    limit(pocket, 320 // pocket.first_stage_model.autoencoder.vae.config.patch_size, monkeypatch, "encoder")
    made = encode_stream(pocket, lambda: frames.split(2), (512, 512), len(frames))
    assert "continuing in tiles of 256 x 256 pixels" in caplog.text
    assert relative(made, whole) < 0.2
    assert relative(pocket.encode(frames), made) <= 1e-6, "core's VAE Encode as well"


LIMITED = """
import logging, resource, sys, conftest, torch
from pathlib import Path
from atelier.models.bridge.vae import decode, decode_stream
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
logging.basicConfig(stream=sys.stdout, format="%(message)s", force=True)
vae = load.load_vae(open_model(Path(sys.argv[1])))
channels, side = map(int, sys.argv[3:])
decode(vae, torch.zeros(1, channels, 3, 256 // side, 256 // side))
held = next(line for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (int(held.split()[1]) * 1024 + int(sys.argv[2]) * 2**20,) * 2)
print(sum(len(chunk) for chunk in decode_stream(vae, torch.zeros(1, channels, 3, 640 // side, 640 // side))), "frames")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_out_of_memory_of_the_machine_itself():
    """A picture of 640 x 640 in a process that may have so many MiB beyond what 256 x 256 took."""
    folder, support = folders.model_path(folders.POCKET), Path(__file__).parents[2]
    command = [sys.executable, "-c", LIMITED, str(folder), "256", str(CHANNELS), str(SPATIAL)]
    exact = os.environ | {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    run = subprocess.run(command, cwd=support, capture_output=True, text=True, env=exact)
    assert "continuing in tiles of" in run.stdout and "9 frames" in run.stdout, run.stdout + run.stderr


def test_out_of_memory_in_the_smallest_tiles_is_an_error(pocket, picture, monkeypatch):
    limit(pocket, 64 // SPATIAL, monkeypatch)
    with pytest.raises(memory.OOM_EXCEPTION):
        decode(pocket, picture)


def test_little_free_memory_means_tiles_from_the_start(pocket, picture, monkeypatch):
    first_stage = pocket.first_stage_model
    size, values = (512, 512), first_stage.autoencoder.decode_values
    assert first_stage.tile(values, size, torch.device("cpu"), torch.float32) is None
    monkeypatch.setattr(memory, "get_free_memory", lambda *_: values * 4 * 384 * 384)
    assert first_stage.tile(values, size, torch.device("cpu"), torch.float32) == 384


def test_stream_of_frames_is_the_decoded_clip(pocket):
    latents = torch.randn(2, CHANNELS, 20, 2, 2, generator=torch.Generator().manual_seed(3))
    chunks = list(decode_stream(pocket, latents))
    assert len(chunks) > 8 and max(len(chunk) for chunk in chunks) < 40
    frames = torch.cat(chunks)
    assert frames.shape == (2 * 77, 2 * SPATIAL, 2 * SPATIAL, 3) and 0 <= frames.min() and frames.max() <= 1
    assert relative(frames, pocket.decode(latents).flatten(0, 1)) <= 1e-6
    again = encode_stream(pocket, lambda: frames[:77].split(4), (2 * SPATIAL,) * 2, 77)
    assert relative(again, pocket.encode(frames[:77])) <= 1e-6


def test_cancel_between_two_pieces(pocket):
    stream = decode_stream(pocket, torch.zeros(1, CHANNELS, 30, 4, 4))
    next(stream)
    memory.interrupt_current_processing()
    with pytest.raises(memory.InterruptProcessingException):
        next(stream)
