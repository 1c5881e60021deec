"""Decoding a clip by the piece: memory against its length and against diffusers' ways, time against one go.

Memory is counted on the meta device, for autoencoders of published size at their recipe's picture. Time is taken on
real, narrower ones: random weights, the published layers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from benchmarks.allocated import Allocated
from benchmarks.figure import Figure, interleaved, ratios, seconds_of

if TYPE_CHECKING:
    from torch import nn

# And eight times as many. LTX looks ahead: only behind 20 latent frames is its decoder full.
LATENT_FRAMES = {"LTX Video": 20, "CogVideoX": 4, "Mochi": 4, "Pyramid Flow": 4}
ROUNDS = 3
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


def autoencoders(narrower: int = 1) -> dict[str, Callable[[], nn.Module]]:
    """Each family's autoencoder with random weights, its widths divided by `narrower`."""
    from atelier.models.cogvideox import CogVideoXAutoencoder
    from atelier.models.ltx_video import LTXVideoAutoencoder
    from atelier.models.mochi import MochiAutoencoder
    from atelier.models.pyramid_flow.autoencoder import STATISTICS, CausalVideoVAE
    from atelier.models.pyramid_flow.family import PyramidAutoencoder
    from diffusers import AutoencoderKLCogVideoX, AutoencoderKLLTXVideo, AutoencoderKLMochi

    def narrow(*widths: int) -> tuple[int, ...]:
        return tuple(width // narrower for width in widths)

    ltx = LTX | {key: narrow(*LTX[key]) for key in ("block_out_channels", "decoder_block_out_channels")}
    pyramid, cogvideox = narrow(128, 256, 512, 512), narrow(128, 256, 256, 512)
    return {
        "LTX Video": lambda: LTXVideoAutoencoder(AutoencoderKLLTXVideo(**ltx)),
        "CogVideoX": lambda: CogVideoXAutoencoder(AutoencoderKLCogVideoX(block_out_channels=cogvideox)),
        "Mochi": lambda: MochiAutoencoder(
            AutoencoderKLMochi(
                encoder_block_out_channels=narrow(64, 128, 256, 384),
                decoder_block_out_channels=narrow(128, 256, 512, 768),
            )
        ),
        "Pyramid Flow": lambda: PyramidAutoencoder(
            CausalVideoVAE(encoder_block_out_channels=pyramid, decoder_block_out_channels=pyramid),
            STATISTICS["miniflux"],
        ),
    }


def decode() -> list[Figure]:
    """Memory and time of every family."""
    return [figure for name in PICTURES for figure in (*memory_of(name), *time_of(name))]


def memory_of(name: str) -> list[Figure]:
    """Peak at eight times the frames over the peak at one time; what one go and diffusers' ways would take."""
    with torch.device("meta"):
        autoencoder = autoencoders()[name]().eval().requires_grad_(False)
    height, width = PICTURES[name]
    frames, more = LATENT_FRAMES[name], 8 * LATENT_FRAMES[name]
    short, long = (peak_of(autoencoder, PICTURES[name], count, by_the_piece) for count in (frames, more))
    ways = reference_ways(name).items()
    others = {way: peak_of(autoencoder, PICTURES[name], more, function) / 2**30 for way, function in ways}
    numbers = f"{short / 2 / height / width:.0f} numbers a pixel"
    taken = [f"{long / 2**30:.2f} GiB at {width} x {height} in 16 bit ({numbers})"]
    note = ", ".join([*taken, *(f"{way} {size:.2f} GiB" for way, size in others.items())])
    figures = [Figure(f"decode {name}, memory", (long / short,), 1.1, note=note)]
    if "diffusers" in others:
        ratio = long / 2**30 / others["diffusers"]
        figures.append(Figure(f"decode {name}, memory over diffusers'", (ratio,), 1.0))
    return figures


def peak_of(autoencoder: nn.Module, picture: tuple[int, int], latent_frames: int, way: Callable) -> int:
    """Bytes that decoding a picture (height, width) takes at its most, in 16 bit, beside weights and latents."""
    height, width = (side // autoencoder.grid.spatial for side in picture)
    half = copy.deepcopy(autoencoder).bfloat16()
    latents = torch.empty(1, half.grid.channels, latent_frames, height, width, dtype=torch.bfloat16, device="meta")
    with torch.no_grad(), Allocated([*half.parameters(), *half.buffers(), latents]) as allocated:
        way(half, latents)
    return allocated.peak


def by_the_piece(autoencoder: nn.Module, latents: torch.Tensor) -> None:
    from atelier.models import streaming

    for _ in streaming.decode(autoencoder, latents):
        pass


def one_go(autoencoder: nn.Module, latents: torch.Tensor) -> None:
    """Everything at once."""
    if hasattr(autoencoder.vae, "decoder_step"):
        autoencoder.vae.decoder_step()(autoencoder.raw(latents), True)
    else:
        _diffusers(autoencoder, latents)


def _diffusers(autoencoder: nn.Module, latents: torch.Tensor) -> None:
    timestep = ()
    if getattr(autoencoder.vae.config, "timestep_conditioning", False):
        timestep = (latents.new_full((1,), 0.05),)
    autoencoder.vae.decode(autoencoder.raw(latents), *timestep)


def framewise(autoencoder: nn.Module, latents: torch.Tensor) -> None:
    """diffusers' own way to less memory, without tiles of the picture where that can be had."""
    vae = autoencoder.vae
    vae.use_framewise_decoding = True
    if hasattr(vae, "tile_sample_min_num_frames"):  # LTX: overlapping windows, and only together with tiles
        vae.use_tiling = True
    _diffusers(autoencoder, latents)


def reference_ways(name: str) -> dict[str, Callable]:
    """CogVideoX's own decoder always goes by the piece; of Pyramid Flow there is no other."""
    return {
        "LTX Video": {"one go": one_go, "diffusers": framewise},
        "CogVideoX": {"diffusers": one_go},
        "Mochi": {"one go": one_go, "diffusers": framewise},
        "Pyramid Flow": {"one go": one_go},
    }[name]


def time_of(name: str) -> list[Figure]:
    """Seconds by the piece over seconds of the other ways, on a network of half the width."""
    autoencoder = autoencoders(narrower=2)[name]().eval().requires_grad_(False)
    side = 128 // autoencoder.grid.spatial
    latents = torch.randn(1, autoencoder.grid.channels, 9, side, side)
    return [time_over(way, function, autoencoder, latents, name) for way, function in reference_ways(name).items()]


def time_over(way: str, function: Callable, autoencoder: nn.Module, latents: torch.Tensor, name: str) -> Figure:
    """By the piece against one other way, in turn."""
    other = copy.deepcopy(autoencoder)
    with torch.no_grad():
        seconds = interleaved(
            ROUNDS, {"ours": lambda: by_the_piece(autoencoder, latents), way: lambda: function(other, latents)}
        )
    made, target = ratios(seconds["ours"], seconds[way]), 1.05 if way == "one go" else 1.0
    return Figure(f"decode {name}, time over {way}", made, target, note=seconds_of(seconds))
