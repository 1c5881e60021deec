"""CogVideoX's autoencoder: diffusers' layers, run on one piece of a clip at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX
from diffusers.models.upsampling import CogVideoXUpsample3D

from ...bridge.weights import load_weights, without_weights
from ...contract.family import Variant
from ...contract.grid import Grid, Shape
from ...streaming.passes import CodingPass, pieces
from ...weights.checkpoint import Component
from ...weights.key_names import blocks_of
from ...weights.scaled_fp8 import dequantised
from .layouts import CHANNELS, FUN, MARK, vae_name

# The decoder doubles the frame rate twice. It decodes a clip's first frame by itself only if the number of latent
# frames is odd, so legal lengths are 8n + 1 frames.
GRID = Grid(channels=CHANNELS, temporal=4, spatial=8, group=2, patch=(1, 2))
# The factors that normalise latents. Both VAEs have the same weights, so a VAE file does not show which one applies.
SCALE_2B, SCALE_5B = 1.15258426, 0.7


class SteadyUpsample(CogVideoXUpsample3D):
    """Doubles the frame rate of a single frame, too, unless it is a clip's first. diffusers' takes each for a first.

    CogVideoX-Fun's authors decode an even count of latent frames so: one, then two at a time, then one.
    """

    begins = False

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        out = super().forward(inputs)  # enlarges frames one by one, so a doubled one is twice the same
        alone = self.compress_time and inputs.shape[2] == 1 and not self.begins
        return out.repeat_interleave(2, dim=2) if alone else out


class CogVideoXAutoencoder(torch.nn.Module):
    """diffusers' CogVideoX autoencoder between pixels and the scaled latents that the network reads.

    first_alone: decode a clip's first latent frame by itself, as CogVideoX-Fun's authors do (`_decode` of
    autoencoder_magvit.py of github.com/aigc-apps/CogVideoX-Fun). The norms over a piece make it another picture.
    """

    decode_values = 22900.0  # counted, see tools/benchmarks/decode.py

    def __init__(self, vae: AutoencoderKLCogVideoX, first_alone: bool = False) -> None:
        super().__init__()
        config, self.vae, self.first_alone = vae.config, vae, first_alone
        if first_alone:
            for module in self._upsamplers():
                module.__class__ = SteadyUpsample
        self.grid = replace(GRID, channels=config.latent_channels, spatial=2 ** (len(config.block_out_channels) - 1))

    def encode_values(self, frames: int) -> float:
        return 9530.0  # counted, too

    def encoding(self, frames: int) -> CodingPass:
        """Pixels -> mode of the posterior. Pieces are as in diffusers: eight frames, and more in the first one."""
        size, cache = self.vae.num_sample_frames_batch_size, None

        def step(piece: torch.Tensor, last: bool) -> torch.Tensor:
            nonlocal cache
            moments, cache = self.vae.encoder(piece, conv_cache=cache)
            if self.vae.quant_conv is not None:
                moments = self.vae.quant_conv(moments)
            return moments.chunk(2, dim=1)[0]

        return CodingPass(pieces(size + frames % size, size, frames), step)

    def _upsamplers(self) -> list[CogVideoXUpsample3D]:
        return [module for module in self.vae.decoder.modules() if isinstance(module, CogVideoXUpsample3D)]

    def decoding(self, frames: int) -> CodingPass:
        """Raw latents -> pixels. Pieces are diffusers': two latent frames, or three in the first if the count is odd.

        If the count is even, the first latent frame is repeated in front, because the decoder needs an odd count to
        decode a clip's first frame by itself. The additional frames are dropped.
        """
        size, even, cache = self.vae.num_latent_frames_batch_size, frames % 2 == 0, None
        if self.first_alone:
            return CodingPass(pieces(1, size, frames), self._step_of_fun())

        def step(piece: torch.Tensor, last: bool) -> torch.Tensor:
            nonlocal cache
            begins = even and cache is None
            if begins:
                piece = torch.cat([piece[:, :, :1], piece], dim=2)
            if self.vae.post_quant_conv is not None:
                piece = self.vae.post_quant_conv(piece)
            pixels, cache = self.vae.decoder(piece, conv_cache=cache)
            return pixels[:, :, self.grid.temporal :] if begins else pixels

        return CodingPass(pieces(size + (0 if even else 1), size, frames), step)

    def _step_of_fun(self) -> Callable[[torch.Tensor, bool], torch.Tensor]:
        upsamplers, cache = self._upsamplers(), None

        def step(piece: torch.Tensor, last: bool) -> torch.Tensor:
            nonlocal cache
            for upsampler in upsamplers:
                upsampler.begins = cache is None
            if self.vae.post_quant_conv is not None:
                piece = self.vae.post_quant_conv(piece)
            pixels, cache = self.vae.decoder(piece, conv_cache=cache)
            return pixels

        return step

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        return latents * self.vae.config.scaling_factor

    def denormalise(self, latents: torch.Tensor) -> torch.Tensor:
        return latents / self.vae.config.scaling_factor


def build_autoencoder(component: Component, variant: Variant) -> CogVideoXAutoencoder | None:
    """CogVideoX's VAE in diffusers' or SAT's layout, with its weights; None if it is another family's."""
    config = component.arguments
    if component.config and component.config.get("_class_name") != "AutoencoderKLCogVideoX":
        return None
    shapes = {vae_name(key): shape for key, shape in component.shapes.items()}
    if MARK not in shapes:
        return None
    state = {vae_name(key): weight for key, weight in dequantised(component.state_dict()).items()}
    state = {key: weight for key, weight in state.items() if key.startswith(("encoder.", "decoder."))}
    with without_weights():
        vae = AutoencoderKLCogVideoX(**(config or vae_config(shapes, variant)))
    load_weights(vae, state, torch.float32, torch.float32)
    return CogVideoXAutoencoder(vae, first_alone=variant.network.get(FUN, False))


def vae_config(shapes: dict[str, Shape], variant: Variant) -> dict[str, Any]:
    """The autoencoder's arguments, from the shapes under diffusers' names and from its variant."""
    blocks = [f"encoder.down_blocks.{n}.resnets" for n in range(4)]
    return {
        "block_out_channels": tuple(shapes[f"{block}.0.conv1.conv.weight"][0] for block in blocks),
        "layers_per_block": blocks_of(shapes, blocks[0]),
        "latent_channels": shapes["decoder.conv_in.conv.weight"][1],
        "scaling_factor": SCALE_5B if variant.network.get("use_rotary_positional_embeddings") else SCALE_2B,
    }
