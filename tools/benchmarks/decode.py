"""Measures piecewise decoding: memory over length and diffusers' ways, time over decoding at once and those ways.

Memory is counted on the meta device, for autoencoders of published size at their recipe's picture size. Time is
measured on one thread with a small picture, and against tiles with a high strip. Weights are random.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING
from unittest.mock import patch

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.allocated import Allocated
from benchmarks.figure import Figure, interleaved, ratios, seconds_of

if TYPE_CHECKING:
    from torch import nn

# Lengths of the short clip; the long one has eight times as many. LTX looks ahead: its decoder is full only after 20
# latent frames. CogVideoX's 5 is the length of a legal clip.
LATENT_FRAMES = {"LTX Video": 20, "LTX-2": 20, "CogVideoX": 5, "Mochi": 4, "Pyramid Flow": 4}
LATENT_FRAMES_ENCODED = LATENT_FRAMES | {"Mochi": 28}  # its encoder works piecewise from 163 frames on
TIMED = {"LTX Video": (6, 8, 8), "CogVideoX": (5, 16, 2), "Mochi": (3, 32, 2), "Pyramid Flow": (4, 16, 2)}
"""Latent frames, rows and columns to decode at published widths: LTX's is square, the others are high and narrow. On a
CPU, PyTorch's convolution is several times slower if channels x frames x rows are less than 20,480, so a small picture
makes pieces slower than decoding at once."""
STRIPS = {"LTX Video": (6, 22, 2), "CogVideoX": (5, 60, 2), "Mochi": (3, 60, 2)}
"""The same for tiles: as high as the recipe's picture; LTX's as high as it is wide, because diffusers' tiles are."""
ROUNDS = 2
TARGETS = {"one go": 1.05, "framewise": 1.0, "tiled": 1.0}
LTX = {  # Lightricks/LTX-Video 0.9.5
    "block_out_channels": (128, 256, 512, 1024, 2048),
    "decoder_block_out_channels": (256, 512, 1024),
    "down_block_types": ("LTXVideo095DownBlock3D",) * 4,
    "layers_per_block": (4, 6, 6, 2, 2),
    "decoder_layers_per_block": (5, 5, 5, 5),
    "spatio_temporal_scaling": (True,) * 4,
    "decoder_spatio_temporal_scaling": (True,) * 3,
    "decoder_inject_noise": (False,) * 4,
    "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
    "upsample_residual": (True,) * 3,
    "upsample_factor": (2,) * 3,
    "timestep_conditioning": True,
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}
LTX2 = {  # Lightricks/LTX-2, 19B. Without decoder_causal, diffusers' decoder does not look ahead, and takes a fifth
    "block_out_channels": (256, 512, 1024, 2048),
    "decoder_block_out_channels": (256, 512, 1024),
    "layers_per_block": (4, 6, 6, 2, 2),
    "decoder_layers_per_block": (5, 5, 5, 5),
    "encoder_spatial_padding_mode": "zeros",
    "decoder_spatial_padding_mode": "reflect",
    "encoder_causal": True,
    "decoder_causal": False,
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}
SECOND_STAGE = (704, 1216), 16
"""Picture and latent frames of LTX Video's large clip, as its authors' script makes it: 121 frames."""
PICTURES = {
    "LTX Video": (480, 704),
    "LTX-2": (512, 768),
    "CogVideoX": (480, 720),
    "Mochi": (480, 848),
    "Pyramid Flow": (384, 640),
}

Way = Callable[["nn.Module", torch.Tensor], None]


def autoencoders() -> dict[str, Callable[[], nn.Module]]:
    """Each family's autoencoder with random weights."""
    from atelier.models.families.cogvideox.autoencoder import CogVideoXAutoencoder
    from atelier.models.families.ltx2.autoencoder import LTX2Autoencoder
    from atelier.models.families.ltx_video.autoencoder import LTXVideoAutoencoder
    from atelier.models.families.mochi.autoencoder import MochiAutoencoder
    from atelier.models.families.pyramid_flow.autoencoder import PyramidAutoencoder
    from atelier.models.families.pyramid_flow.causal_vae import STATISTICS, CausalVideoVAE
    from diffusers import AutoencoderKLCogVideoX, AutoencoderKLLTX2Video, AutoencoderKLLTXVideo, AutoencoderKLMochi

    return {
        "LTX Video": lambda: LTXVideoAutoencoder(AutoencoderKLLTXVideo(**LTX)),
        "LTX-2": lambda: LTX2Autoencoder(AutoencoderKLLTX2Video(**LTX2)),
        "CogVideoX": lambda: CogVideoXAutoencoder(AutoencoderKLCogVideoX()),
        "Mochi": lambda: MochiAutoencoder(AutoencoderKLMochi()),
        "Pyramid Flow": lambda: PyramidAutoencoder(CausalVideoVAE(), STATISTICS["miniflux"]),
    }


def decode() -> Iterator[Figure]:
    """Memory and time of every family."""
    for name in PICTURES:
        yield from memory_of(name)
        if name in TIMED:
            yield from time_of(name)
    yield sound_in_pieces()
    yield memory_of_second_stage()


# ------------------------------------------------------------------------------------------------ memory


def memory_of(name: str) -> Iterator[Figure]:
    """Peak memory at eight times the frames over that at one time, decoding and encoding; and over other ways."""
    with torch.device("meta"):
        autoencoder = autoencoders()[name]().eval().requires_grad_(False)
    picture, frames = PICTURES[name], LATENT_FRAMES[name]
    short, long = (peak_of(autoencoder, picture, times * frames) for times in (1, 8))
    yield grown(f"decode {name}, memory", short, long, picture)
    short, long = (peak_to_encode(autoencoder, picture, times * LATENT_FRAMES_ENCODED[name]) for times in (1, 8))
    yield grown(f"encode {name}, memory", short, long, picture)
    for way, function in reference_ways(name).items():
        theirs = peak_of(autoencoder, picture, frames, function)
        tile, ours = fitting(autoencoder, picture, frames, theirs)
        note = f"{ours / 2**30:.2f} GiB {in_words(tile)}, {theirs / 2**30:.2f} GiB; {frames} latent frames"
        yield Figure(f"decode {name}, memory over {way}", (ours / theirs,), 1.0, note=note)
        ours, theirs = (work_of(autoencoder, picture, frames, run) for run in (partial(piecewise, tile=tile), function))
        note = f"{ours / 1e12:.2f} million million operations {in_words(tile)}, {theirs / 1e12:.2f}"
        yield Figure(f"decode {name}, work over {way}", (ours / theirs,), TARGETS[way], note=note)


def memory_of_second_stage() -> Figure:
    """Peak memory a pixel of decoding an upscaled clip of LTX Video, over that of a clip as long at the usual size."""
    with torch.device("meta"):
        autoencoder = autoencoders()["LTX Video"]().eval().requires_grad_(False)
    picture, frames = SECOND_STAGE
    large, usual = (peak_of(autoencoder, size, frames) for size in (picture, PICTURES["LTX Video"]))
    at_once = peak_of(autoencoder, picture, frames, one_go)
    share = large / usual * math.prod(PICTURES["LTX Video"]) / math.prod(picture)
    height, width = picture
    note = f"{large / 2**30:.2f} GiB at {width} x {height}, 121 frames, 16 bit; {at_once / 2**30:.2f} GiB at once"
    return Figure("decode LTX Video, memory of a second stage", (share,), 1.05, note=note)


def grown(name: str, short: int, long: int, picture: tuple[int, int]) -> Figure:
    height, width = picture
    numbers = f"{long / 2 / height / width:.0f} numbers a pixel"
    return Figure(name, (long / short,), 1.1, note=f"{long / 2**30:.2f} GiB at {width} x {height}, 16 bit ({numbers})")


def piecewise(autoencoder: nn.Module, latents: torch.Tensor, tile: int | None = None) -> None:
    from atelier.models.streaming import passes

    for _ in passes.decode(autoencoder, latents, tile):
        pass


def peak_of(autoencoder: nn.Module, picture: tuple[int, int], latent_frames: int, way: Way = piecewise) -> int:
    """Peak bytes of decoding a picture (height, width) in 16 bit, without weights and latents."""
    height, width = (side // autoencoder.grid.spatial for side in picture)
    latents = torch.empty(
        1, autoencoder.grid.channels, latent_frames, height, width, dtype=torch.bfloat16, device="meta"
    )
    with counted(autoencoder, latents) as (half, allocated):
        way(half, latents)
    return allocated.peak


def work_of(autoencoder: nn.Module, picture: tuple[int, int], latent_frames: int, way: Way) -> int:
    """Number of operations in a decode's convolutions and matrix products."""
    height, width = (side // autoencoder.grid.spatial for side in picture)
    latents = torch.empty(1, autoencoder.grid.channels, latent_frames, height, width, device="meta")
    with without_numbers(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        way(autoencoder, latents)
    return counter.get_total_flops()


def peak_to_encode(autoencoder: nn.Module, picture: tuple[int, int], latent_frames: int) -> int:
    """Peak bytes of encoding in 16 bit, without weights and pixels."""
    from atelier.models.streaming import passes

    size = tuple(side // autoencoder.grid.spatial * autoencoder.grid.spatial for side in picture)
    pixels = torch.empty(1, 3, 1, *size, dtype=torch.bfloat16, device="meta")
    frames = autoencoder.grid.frames(latent_frames)
    with counted(autoencoder, pixels) as (half, allocated):
        passes.encode(half, (pixels for _ in range(frames)), frames, size)
    return allocated.peak


@contextmanager
def counted(autoencoder: nn.Module, given: torch.Tensor) -> Iterator[tuple[nn.Module, Allocated]]:
    """The autoencoder in 16 bit, and a count of all tensors other than its weights and `given`."""
    half = copy.deepcopy(autoencoder).bfloat16()
    with without_numbers(), torch.no_grad(), Allocated([*half.parameters(), *half.buffers(), given]) as allocated:
        yield half, allocated


def without_numbers() -> AbstractContextManager:
    """Let the spool files of `passes` take tensors on the meta device."""
    from atelier.models.streaming import passes

    return patch.object(passes, "Spool", Shapes)


class Shapes:
    """Replaces a Spool for meta tensors: written ones take no memory, read ones do."""

    def __init__(self, folder: str | None) -> None:
        self.entries: list[tuple[torch.Size, torch.dtype]] = []

    def __enter__(self) -> Shapes:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def add(self, tensor: torch.Tensor) -> None:
        self.entries.append((tensor.shape, tensor.dtype))

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (torch.empty(shape, dtype=dtype, device="meta") for shape, dtype in self.entries)


def fitting(autoencoder: nn.Module, picture: tuple[int, int], frames: int, most: int) -> tuple[int | None, int]:
    """Our largest tiles (None: the whole picture) with a peak of no more than `most` bytes, and that peak."""
    step, tile, peak = 4 * autoencoder.grid.spatial, None, peak_of(autoencoder, picture, frames)
    side = math.sqrt(math.prod(picture) * most / peak)  # an estimate: memory is proportional to the area
    while peak > most and side >= step:
        tile = int(side // step) * step
        peak, side = peak_of(autoencoder, picture, frames, partial(piecewise, tile=tile)), tile - step
    return tile, peak


def in_words(tile: int | None) -> str:
    return f"in tiles of {tile}" if tile else "piecewise"


# ------------------------------------------------------------------------------------------------ other ways


def one_go(autoencoder: nn.Module, latents: torch.Tensor) -> None:
    """Decode everything at once."""
    vae = autoencoder.vae
    if hasattr(vae, "decoder_step"):
        vae.decoder_step()(autoencoder.denormalise(latents), True)
        return
    at_once = vae.num_latent_frames_batch_size
    vae.num_latent_frames_batch_size = latents.shape[2]  # CogVideoX's own decode works piecewise
    _diffusers(autoencoder, latents)
    vae.num_latent_frames_batch_size = at_once


def _diffusers(autoencoder: nn.Module, latents: torch.Tensor) -> None:
    timestep = ()
    if getattr(autoencoder.vae.config, "timestep_conditioning", False):
        timestep = (latents.new_full((1,), 0.05),)
    autoencoder.vae.decode(autoencoder.denormalise(latents), *timestep)


def framewise(autoencoder: nn.Module, latents: torch.Tensor) -> None:
    """diffusers' framewise decoding: LTX in overlapping windows, the others piece by piece."""
    autoencoder.vae.use_framewise_decoding = True
    _diffusers(autoencoder, latents)
    autoencoder.vae.use_framewise_decoding = False


def tiled(autoencoder: nn.Module, latents: torch.Tensor) -> None:
    """diffusers' tiled decoding."""
    autoencoder.vae.use_tiling = True
    _diffusers(autoencoder, latents)
    autoencoder.vae.use_tiling = False


def reference_ways(name: str) -> dict[str, Way]:
    """The ways to compare with. diffusers has no Pyramid Flow. LTX-2's decoder is LTX Video's, with other norms."""
    return {
        "LTX-2": {},
        "LTX Video": {"one go": one_go, "framewise": framewise, "tiled": tiled},
        "CogVideoX": {"one go": one_go, "framewise": framewise, "tiled": tiled},
        "Mochi": {"one go": one_go, "framewise": framewise, "tiled": tiled},
        "Pyramid Flow": {"one go": one_go},
    }[name]


# ------------------------------------------------------------------------------------------------ sound


def sound_in_pieces() -> Figure:
    """LTX-2's sound of 12 seconds in pieces, with narrow networks, against one go: the largest difference."""
    from atelier.models.families.ltx2 import sound
    from atelier.models.families.ltx2.family import SOUND
    from diffusers import AutoencoderKLLTX2Audio
    from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder

    torch.manual_seed(0)
    coder = sound.Sound(
        AutoencoderKLLTX2Audio(base_channels=128, ch_mult=(1, 1, 1)), LTX2Vocoder(hidden_channels=256), SOUND
    )
    coder.eval().requires_grad_(False)
    latents = torch.randn(SOUND.latent_shape(12 * 25, 25.0))
    with torch.no_grad():
        pieces = coder.decode(latents)
        with patch.object(sound, "PIECE", 10**6):
            whole = coder.decode(latents)
    note = (
        f"{pieces.shape[-1] / coder.rate:.2f} s in pieces of {sound.PIECE / 100:g} s; loudest {whole.abs().max():.2g}"
    )
    return Figure("decode LTX-2, sound", ((pieces - whole).abs().max().item(),), 1e-5, note=note)


# ------------------------------------------------------------------------------------------------ time


def time_of(name: str) -> Iterator[Figure]:
    """CPU time of piecewise decoding over that of the other ways."""
    ways = reference_ways(name)
    autoencoder, (frames, *size) = with_weights(autoencoders()[name]), TIMED[name]
    latents = torch.randn(1, autoencoder.grid.channels, frames, *size)
    whole = {way: function for way, function in ways.items() if way != "tiled"}
    yield from times_over(whole, autoencoder, latents, piecewise, name)
    if "tiled" in ways:
        yield from time_over_tiles(name, autoencoder)


def time_over_tiles(name: str, autoencoder: nn.Module) -> list[Figure]:
    """Our tiles that take no more memory over diffusers' tiles, on a strip."""
    with torch.device("meta"):
        counting = autoencoders()[name]().eval().requires_grad_(False)
    picture, frames = PICTURES[name], LATENT_FRAMES[name]
    tile, _ = fitting(counting, picture, frames, peak_of(counting, picture, frames, tiled))
    latents = torch.randn(1, autoencoder.grid.channels, *STRIPS[name])
    return times_over({"tiled": tiled}, autoencoder, latents, partial(piecewise, tile=tile), name, in_words(tile))


def with_weights(make: Callable[[], nn.Module]) -> nn.Module:
    """An autoencoder with random weights in its decoder, and no encoder."""
    with torch.device("meta"):
        autoencoder = make().eval().requires_grad_(False)
    autoencoder.vae.encoder = None
    autoencoder = autoencoder.to_empty(device="cpu")
    for tensor in (*autoencoder.parameters(), *autoencoder.buffers()):
        tensor.normal_(std=0.02)
    return autoencoder


def times_over(
    ways: dict[str, Way], autoencoder: nn.Module, latents: torch.Tensor, ours: Way, name: str, note: str = ""
) -> list[Figure]:
    """Time ours and the other ways in alternation."""
    contenders = {way: partial(function, autoencoder, latents) for way, function in {"ours": ours, **ways}.items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            seconds = interleaved(ROUNDS, contenders, time.process_time)
    finally:
        torch.set_num_threads(threads)
    figures = []
    for way in ways:
        spent = seconds_of({"ours": seconds["ours"], way: seconds[way]})
        words = "; ".join(filter(None, (spent, note)))
        over = ratios(seconds["ours"], seconds[way])
        figures.append(Figure(f"decode {name}, time over {way}", over, TARGETS[way], note=words))
    return figures
