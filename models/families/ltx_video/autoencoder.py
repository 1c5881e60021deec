"""LTX Video's autoencoder: diffusers', through the streamed coder."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKLLTXVideo

from ...bridge.weights import load_weights, without_weights
from ...contract.family import Variant
from ...contract.grid import Grid
from ...streaming.ltx_stream import LTXStream
from ...streaming.passes import CodingPass, pieces
from ...streaming.statistics import PerChannelStatistics
from ...weights.checkpoint import Component
from ...weights.scaled_fp8 import dequantised
from .layouts import LATE_BLOCK, LAYOUTS

# Decoders of 0.9.1 and later are conditioned on a timestep: model cards decode at 0.05, with 0.025 of noise added.
DECODE_TIMESTEP, DECODE_NOISE, DECODE_SEED = 0.05, 0.025, 0
PIECE = 2  # latent frames per piece


def grid_of(config: dict[str, Any]) -> Grid:
    halvings = sum(config.get("spatio_temporal_scaling", (True, True, True, False)))
    return Grid(
        channels=config.get("latent_channels", 128),
        temporal=config.get("temporal_compression_ratio") or config.get("patch_size_t", 1) * 2**halvings,
        spatial=config.get("spatial_compression_ratio") or config.get("patch_size", 4) * 2**halvings,
    )


class LTXVideoAutoencoder(torch.nn.Module):
    """diffusers' LTX autoencoder between pixels and the normalised latents that the network reads."""

    latents_of = "LTX Video"
    decode_values = 2420.0  # counted, see tools/benchmarks/decode.py

    def __init__(self, vae: AutoencoderKLLTXVideo) -> None:
        super().__init__()
        self.keyframes = LATE_BLOCK in vae.config.down_block_types
        self.vae, self.grid = vae, grid_of(vae.config)
        self.decode_timestep, self.decode_noise_scale = DECODE_TIMESTEP, DECODE_NOISE
        self.per_channel_statistics = PerChannelStatistics(vae)

    @property
    def takes_decode_noise(self) -> bool:
        return bool(self.vae.config.timestep_conditioning)

    def encode_values(self, frames: int) -> float:
        return 1420.0  # counted, too

    def encoding(self, frames: int) -> CodingPass:
        """Pixels -> mode of the posterior."""
        stream, channels = LTXStream(), self.grid.channels
        size = PIECE * self.grid.temporal
        return CodingPass(
            pieces(size + 1, size, frames),
            lambda piece, last: stream.encode(self.vae.encoder, piece, last)[:, :channels],
        )

    def decoding(self, frames: int) -> CodingPass:
        """The decoder's latents -> pixels."""
        stream = LTXStream()

        def step(piece: torch.Tensor, last: bool) -> torch.Tensor:
            timestep = piece.new_full((len(piece),), self.decode_timestep) if self.takes_decode_noise else None
            return stream.decode(self.vae.decoder, piece, timestep, PIECE, last)

        return CodingPass(pieces(PIECE, PIECE, frames), step)

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        return self.per_channel_statistics.normalize(latents)

    def denormalise(self, latents: torch.Tensor) -> torch.Tensor:
        """Raw latents for the decoder. A decoder with a timestep also gets noise, from a fixed seed, so that a latent
        always decodes to the same clip.
        """
        latents = self.per_channel_statistics.un_normalize(latents)
        if self.takes_decode_noise:
            generator = torch.Generator("cpu").manual_seed(DECODE_SEED)
            noise = torch.randn(latents.shape, generator=generator, dtype=latents.dtype).to(latents.device)
            latents = (1 - self.decode_noise_scale) * latents + self.decode_noise_scale * noise
        return latents


def build_autoencoder(component: Component, variant: Variant) -> LTXVideoAutoencoder | None:
    """A VAE of any LTX version, in diffusers' or the original layout, with its weights; None if it is another's."""
    config = component.arguments
    state = None
    if not config:
        layout = next((layout for layout in LAYOUTS if layout.recognises(component)), None)
        if layout is None:
            return None
        config, state = layout.config(component), layout.renamed(dequantised(component.state_dict()))
    elif component.config.get("_class_name") != "AutoencoderKLLTXVideo":
        return None
    with without_weights():
        vae = AutoencoderKLLTXVideo(**config)
    load_weights(vae, state or dequantised(component.state_dict()), torch.float32, torch.float32)
    return LTXVideoAutoencoder(vae)
