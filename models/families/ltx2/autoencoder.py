"""LTX-2's video autoencoder: diffusers', through the streamed coder."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLLTX2Video

from ...bridge.weights import load_weights, without_weights
from ...contract.family import Variant
from ...contract.grid import Grid
from ...streaming.ltx_stream import LTXStream
from ...streaming.passes import CodingPass, pieces
from ...streaming.statistics import PerChannelStatistics
from ...weights.checkpoint import Component
from ...weights.scaled_fp8 import dequantised
from .layouts import vae_version, video_vae_config, video_vae_state

PIECE = 2  # latent frames per piece


class LTX2Autoencoder(torch.nn.Module):
    """diffusers' LTX-2 autoencoder between pixels and the normalised latents that the network reads."""

    latents_of = "LTX-2"
    keyframes = True
    decode_values = 2800.0  # counted, see tools/benchmarks/decode.py: 2.0 keeps 2283, 2.3 2702

    def __init__(self, vae: AutoencoderKLLTX2Video) -> None:
        super().__init__()
        self.vae = vae
        config = vae.config
        self.grid = Grid(config.latent_channels, vae.temporal_compression_ratio, vae.spatial_compression_ratio)
        self.per_channel_statistics = PerChannelStatistics(vae)

    def encode_values(self, frames: int) -> float:
        return 1330.0  # counted, too: 2.0 keeps 1277, 2.3 1203

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
        return CodingPass(
            pieces(PIECE, PIECE, frames),
            lambda piece, last: stream.decode(self.vae.decoder, piece, None, PIECE, last),
        )

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        return self.per_channel_statistics.normalize(latents)

    def denormalise(self, latents: torch.Tensor) -> torch.Tensor:
        """Raw latents for the decoder. Raises ValueError for a picture smaller than what 2.0's decoder mirrors."""
        if self.vae.config.decoder_spatial_padding_mode == "reflect" and min(latents.shape[3:]) < 2:
            side = 2 * self.grid.spatial
            raise ValueError(f"LTX-2.0 decodes pictures of at least {side} x {side} pixels. Sample a larger one.")
        return self.per_channel_statistics.un_normalize(latents)


def build_autoencoder(component: Component, variant: Variant) -> LTX2Autoencoder | None:
    """A video VAE of LTX-2 in diffusers' or the original layout, with its weights; None if it is another's."""
    version = vae_version(component)
    if not version:
        return None
    config, state = component.arguments, component.state_dict
    if not config:
        config, state = video_vae_config(component, version), lambda: video_vae_state(component)
    with without_weights():
        vae = AutoencoderKLLTX2Video(**config)
    load_weights(vae, dequantised(state()), torch.float32, torch.float32)
    return LTX2Autoencoder(vae)
