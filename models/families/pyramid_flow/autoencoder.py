"""The causal VAE between pixels and the latents that the networks read, piece by piece."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import torch

from ...bridge.weights import load_weights, without_weights
from ...contract.family import Variant
from ...contract.grid import Grid, Shape
from ...streaming.passes import CodingPass, pieces
from ...weights.checkpoint import Component
from ...weights.key_names import blocks_of
from ...weights.scaled_fp8 import dequantised
from .causal_vae import CausalVideoVAE, LatentStatistics, denormalised, normalised

# Two halvings and a patch of 2: sides are multiples of 8 latent pixels.
GRID = Grid(channels=16, temporal=8, spatial=8, patch=(1, 8))
# The pieces of the authors' own scripts for little memory. The result is the same.
DECODE_WINDOW, ENCODE_WINDOW = (2, 1), (17, 16)  # frames of the first piece and of each that follows


class PyramidAutoencoder(torch.nn.Module):
    """The causal VAE between pixels and the normalised latents that one variant's network reads."""

    grid = replace(GRID, patch=(1, 1))
    decode_values = 13110.0  # counted, see tools/benchmarks/decode.py

    def __init__(self, vae: CausalVideoVAE, statistics: LatentStatistics) -> None:
        super().__init__()
        self.vae, self.statistics = vae, statistics

    def encode_values(self, frames: int) -> float:
        return 15160.0  # counted, too

    def encoding(self, frames: int) -> CodingPass:
        """Pixels -> mean of the posterior."""
        step, (first, following) = self.vae.encoder_step(), ENCODE_WINDOW
        return CodingPass(pieces(first, following, frames), lambda piece, last: step(piece, last).chunk(2, dim=1)[0])

    def decoding(self, frames: int) -> CodingPass:
        """Raw latents -> pixels."""
        return CodingPass(pieces(*DECODE_WINDOW, frames), self.vae.decoder_step())

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        return normalised(latents, self.statistics)

    def denormalise(self, latents: torch.Tensor) -> torch.Tensor:
        return denormalised(latents, self.statistics)


def build_autoencoder(
    statistics: LatentStatistics, component: Component, variant: Variant
) -> PyramidAutoencoder | None:
    """The VAE of a published folder or file, with its weights; None if it is another family's."""
    if component.config and component.config.get("_class_name") != CausalVideoVAE.__name__:
        return None
    if "decoder.up_blocks.0.temporal_upsamplers.0.conv.conv.weight" not in component.shapes:
        return None
    config, known = component.config or _vae_config(component.shapes), inspect.signature(CausalVideoVAE).parameters
    with without_weights():
        vae = CausalVideoVAE(**{key: value for key, value in config.items() if key in known})
    load_weights(vae, dequantised(component.state_dict()), torch.float32, torch.float32)
    return PyramidAutoencoder(vae, statistics)


def _vae_config(shapes: dict[str, Shape]) -> dict[str, Any]:
    """An autoencoder's arguments, read from the shapes of its weights; the rest is as published."""
    config = {}
    for half, stem, outwards in (("encoder", "encoder.down_blocks", 1), ("decoder", "decoder.up_blocks", -1)):
        levels = [f"{stem}.{n}.resnets" for n in range(blocks_of(shapes, stem))]
        widths = [shapes[f"{level}.0.conv1.conv.weight"][0] for level in levels]
        config[f"{half}_block_out_channels"] = widths[::outwards]
        config[f"{half}_layers_per_block"] = [blocks_of(shapes, level) for level in levels]
    return config
