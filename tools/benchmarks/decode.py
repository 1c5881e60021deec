"""Clips by the piece: memory against their length and against diffusers' ways, time against one go and those ways.

Memory is counted on the meta device, for autoencoders of published size at their recipe's picture. Time is taken on
one thread: on a small picture, and against tiles on a high strip. Weights are random.
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

# And eight times as many. LTX looks ahead: only behind 20 latent frames is its decoder full. CogVideoX's odd ones are
# those of legal clips.
LATENT_FRAMES = {"LTX Video": 20, "CogVideoX": 5, "Mochi": 4, "Pyramid Flow": 4}
LATENT_FRAMES_ENCODED = LATENT_FRAMES | {"Mochi": 28}  # its encoder goes by the piece from 163 frames on
TIMED = {"LTX Video": (6, 8, 8), "CogVideoX": (5, 16, 2), "Mochi": (3, 32, 2), "Pyramid Flow": (4, 16, 2)}
"""Latent frames, rows and columns that are decoded with the published widths: LTX's square, the others high and narrow.
Where channels x frames x rows are less than 20,480, PyTorch convolves on the processor in a way that is several times
slower, so the smaller the picture, the more its pieces take beside everything at once."""
STRIPS = {"LTX Video": (6, 22, 2), "CogVideoX": (5, 60, 2), "Mochi": (3, 60, 2)}
"""In tiles: as high as the recipe's picture; LTX's as it is wide, because diffusers' tiles of it are higher."""
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
PICTURES = {"LTX Video": (480, 704), "CogVideoX": (480, 720), "Mochi": (480, 848), "Pyramid Flow": (384, 640)}

Way = Callable[["nn.Module", torch.Tensor], None]


def autoencoders() -> dict[str, Callable[[], nn.Module]]:
    """Each family's autoencoder with random weights."""
    from atelier.models.families.cogvideox.autoencoder import CogVideoXAutoencoder
    from atelier.models.families.ltx_video.autoencoder import LTXVideoAutoencoder
    from atelier.models.families.mochi.autoencoder import MochiAutoencoder
    from atelier.models.families.pyramid_flow.autoencoder import PyramidAutoencoder
    from atelier.models.families.pyramid_flow.causal_vae import STATISTICS, CausalVideoVAE
    from diffusers import AutoencoderKLCogVideoX, AutoencoderKLLTXVideo, AutoencoderKLMochi

    return {
        "LTX Video": lambda: LTXVideoAutoencoder(AutoencoderKLLTXVideo(**LTX)),
        "CogVideoX": lambda: CogVideoXAutoencoder(AutoencoderKLCogVideoX()),
        "Mochi": lambda: MochiAutoencoder(AutoencoderKLMochi()),
        "Pyramid Flow": lambda: PyramidAutoencoder(CausalVideoVAE(), STATISTICS["miniflux"]),
    }


def decode() -> Iterator[Figure]:
    """Memory and time of every family."""
    for name in PICTURES:
        yield from memory_of(name)
        yield from time_of(name)


# ------------------------------------------------------------------------------------------------ memory


def memory_of(name: str) -> Iterator[Figure]:
    """Peaks at eight times the frames over those at one time, decoding and encoding; and over those of other ways."""
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
        ours, theirs = (
            work_of(autoencoder, picture, frames, run) for run in (partial(by_the_piece, tile=tile), function)
        )
        note = f"{ours / 1e12:.2f} million million operations {in_words(tile)}, {theirs / 1e12:.2f}"
        yield Figure(f"decode {name}, work over {way}", (ours / theirs,), TARGETS[way], note=note)


def grown(name: str, short: int, long: int, picture: tuple[int, int]) -> Figure:
    height, width = picture
    numbers = f"{long / 2 / height / width:.0f} numbers a pixel"
    return Figure(name, (long / short,), 1.1, note=f"{long / 2**30:.2f} GiB at {width} x {height}, 16 bit ({numbers})")


def by_the_piece(autoencoder: nn.Module, latents: torch.Tensor, tile: int | None = None) -> None:
    from atelier.models.streaming import passes

    for _ in passes.decode(autoencoder, latents, tile):
        pass


def peak_of(autoencoder: nn.Module, picture: tuple[int, int], latent_frames: int, way: Way = by_the_piece) -> int:
    """Bytes that decoding a picture (height, width) takes at its most, in 16 bit, beside weights and latents."""
    height, width = (side // autoencoder.grid.spatial for side in picture)
    latents = torch.empty(
        1, autoencoder.grid.channels, latent_frames, height, width, dtype=torch.bfloat16, device="meta"
    )
    with counted(autoencoder, latents) as (half, allocated):
        way(half, latents)
    return allocated.peak


def work_of(autoencoder: nn.Module, picture: tuple[int, int], latent_frames: int, way: Way) -> int:
    """Operations on numbers in the convolutions and matrices of a decode, counted."""
    height, width = (side // autoencoder.grid.spatial for side in picture)
    latents = torch.empty(1, autoencoder.grid.channels, latent_frames, height, width, device="meta")
    with without_numbers(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        way(autoencoder, latents)
    return counter.get_total_flops()


def peak_to_encode(autoencoder: nn.Module, picture: tuple[int, int], latent_frames: int) -> int:
    """The same of encoding, beside the pixels."""
    from atelier.models.streaming import passes

    size = tuple(side // autoencoder.grid.spatial * autoencoder.grid.spatial for side in picture)
    pixels = torch.empty(1, 3, 1, *size, dtype=torch.bfloat16, device="meta")
    frames = autoencoder.grid.frames(latent_frames)
    with counted(autoencoder, pixels) as (half, allocated):
        passes.encode(half, (pixels for _ in range(frames)), frames, size)
    return allocated.peak


@contextmanager
def counted(autoencoder: nn.Module, given: torch.Tensor) -> Iterator[tuple[nn.Module, Allocated]]:
    """The autoencoder in 16 bit, and what is allocated beside it and what it is given."""
    half = copy.deepcopy(autoencoder).bfloat16()
    with without_numbers(), torch.no_grad(), Allocated([*half.parameters(), *half.buffers(), given]) as allocated:
        yield half, allocated


def without_numbers() -> AbstractContextManager:
    """What waits in files may be tensors of the meta device."""
    from atelier.models.streaming import passes

    return patch.object(passes, "Spool", Shapes)


class Shapes:
    """Stands in for a Spool of tensors without numbers: on disk they take no memory, read again they do."""

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
    """The largest tiles of ours (None: the whole picture) that take no more than so many bytes, and what they take."""
    step, tile, peak = 4 * autoencoder.grid.spatial, None, peak_of(autoencoder, picture, frames)
    side = math.sqrt(math.prod(picture) * most / peak)  # about so large: memory goes with the area
    while peak > most and side >= step:
        tile = int(side // step) * step
        peak, side = peak_of(autoencoder, picture, frames, partial(by_the_piece, tile=tile)), tile - step
    return tile, peak


def in_words(tile: int | None) -> str:
    return f"in tiles of {tile}" if tile else "by the piece"


# ------------------------------------------------------------------------------------------------ other ways


def one_go(autoencoder: nn.Module, latents: torch.Tensor) -> None:
    """Everything at once."""
    vae = autoencoder.vae
    if hasattr(vae, "decoder_step"):
        vae.decoder_step()(autoencoder.denormalise(latents), True)
        return
    at_once = vae.num_latent_frames_batch_size
    vae.num_latent_frames_batch_size = latents.shape[2]  # CogVideoX's own goes by the piece
    _diffusers(autoencoder, latents)
    vae.num_latent_frames_batch_size = at_once


def _diffusers(autoencoder: nn.Module, latents: torch.Tensor) -> None:
    timestep = ()
    if getattr(autoencoder.vae.config, "timestep_conditioning", False):
        timestep = (latents.new_full((1,), 0.05),)
    autoencoder.vae.decode(autoencoder.denormalise(latents), *timestep)


def framewise(autoencoder: nn.Module, latents: torch.Tensor) -> None:
    """diffusers' own way to less memory over time: LTX in overlapping windows, the others piece by piece."""
    autoencoder.vae.use_framewise_decoding = True
    _diffusers(autoencoder, latents)
    autoencoder.vae.use_framewise_decoding = False


def tiled(autoencoder: nn.Module, latents: torch.Tensor) -> None:
    """diffusers' own way to less memory over space."""
    autoencoder.vae.use_tiling = True
    _diffusers(autoencoder, latents)
    autoencoder.vae.use_tiling = False


def reference_ways(name: str) -> dict[str, Way]:
    """Of Pyramid Flow diffusers has none."""
    return {
        "LTX Video": {"one go": one_go, "framewise": framewise, "tiled": tiled},
        "CogVideoX": {"one go": one_go, "framewise": framewise, "tiled": tiled},
        "Mochi": {"one go": one_go, "framewise": framewise, "tiled": tiled},
        "Pyramid Flow": {"one go": one_go},
    }[name]


# ------------------------------------------------------------------------------------------------ time


def time_of(name: str) -> Iterator[Figure]:
    """Processor time by the piece over that of the other ways."""
    ways = reference_ways(name)
    autoencoder, (frames, *size) = with_weights(autoencoders()[name]), TIMED[name]
    latents = torch.randn(1, autoencoder.grid.channels, frames, *size)
    whole = {way: function for way, function in ways.items() if way != "tiled"}
    yield from times_over(whole, autoencoder, latents, by_the_piece, name)
    if "tiled" in ways:
        yield from time_over_tiles(name, autoencoder)


def time_over_tiles(name: str, autoencoder: nn.Module) -> list[Figure]:
    """Against diffusers' tiles with ours that take no more memory, on a strip."""
    with torch.device("meta"):
        counting = autoencoders()[name]().eval().requires_grad_(False)
    picture, frames = PICTURES[name], LATENT_FRAMES[name]
    tile, _ = fitting(counting, picture, frames, peak_of(counting, picture, frames, tiled))
    latents = torch.randn(1, autoencoder.grid.channels, *STRIPS[name])
    return times_over({"tiled": tiled}, autoencoder, latents, partial(by_the_piece, tile=tile), name, in_words(tile))


def with_weights(make: Callable[[], nn.Module]) -> nn.Module:
    """An autoencoder whose decoder has weights; the encoder has none."""
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
    """Ours and the other ways in turn."""
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
        made = ratios(seconds["ours"], seconds[way])
        words = "; ".join(filter(None, (spent, note)))
        figures.append(Figure(f"decode {name}, time over {way}", made, TARGETS[way], note=words))
    return figures
