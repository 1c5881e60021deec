"""Mochi's autoencoder: diffusers' layers, with the decoder run piece by piece and the encoder in windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLMochi
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d

from ...bridge.weights import load_weights, without_weights
from ...contract.family import Variant
from ...contract.grid import Grid, Shape
from ...streaming.passes import CodingPass, pieces
from ...weights.checkpoint import Component, open_component
from ...weights.errors import CheckpointError
from ...weights.key_names import blocks_of
from ...weights.scaled_fp8 import dequantised
from .layouts import HALVES, MARKS, vae_name, vae_state

DECODE_WINDOW = (1, 1)  # latent frames of the first piece and of each that follows
# The encoder attends to all earlier frames. Here a clip is encoded at once up to 163 frames, as many as its authors
# sample; each later part of a longer clip attends to at least the 43 frames before it.
ENCODE_WINDOW, LOOK_BACK = (163, 120), 43


class RememberingConv(CogVideoXCausalConv3d):
    """A causal convolution of Mochi's decoder that continues from the end of the piece before.

    diffusers' own repeats the first frame in front of every piece, so its pieces do not join.
    """

    def forward(
        self, inputs: torch.Tensor, conv_cache: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features [B, C, T, H, W] of a piece and the end of the one before -> [B, C', T, H, W], the end of this."""
        before = self.time_kernel_size - 1
        if conv_cache is None:
            conv_cache = inputs[:, :, :1].expand(-1, -1, before, -1, -1)
        inputs = torch.cat([conv_cache, inputs], dim=2)
        kept = inputs[:, :, inputs.shape[2] - before :].clone()  # a view would keep the whole piece in memory
        *sides, _, _ = self.time_causal_padding
        return self.conv(torch.nn.functional.pad(inputs, (*sides, 0, 0), mode="replicate")), kept


class MochiAutoencoder(torch.nn.Module):
    """diffusers' Mochi autoencoder between pixels and the normalised latents that the network reads."""

    decode_values = 11650.0  # counted, see tools/benchmarks/decode.py

    def __init__(self, vae: AutoencoderKLMochi) -> None:
        super().__init__()
        self.vae = vae
        for layer in vae.decoder.modules() if vae.decoder else ():
            if isinstance(layer, CogVideoXCausalConv3d):
                layer.__class__ = RememberingConv
        temporal, spatial = vae.temporal_compression_ratio, vae.spatial_compression_ratio
        self.grid = Grid(vae.config.latent_channels, temporal, spatial)

    def encode_values(self, frames: int) -> float:
        return 328.0 * min(frames, ENCODE_WINDOW[0])  # counted, too

    def encoding(self, frames: int) -> CodingPass:
        """Pixels -> mode of the posterior. In one piece up to 163 frames, then in pieces that overlap.

        Carrying the attention over all earlier frames from piece to piece would save nothing: its keys and values take
        as much memory as the frames themselves.
        """
        if self.vae.encoder is None:
            raise CheckpointError(
                "This Mochi VAE is only the decoder, so images cannot be placed into a shot. Put the encoder's file "
                "beside it in models/vae."
            )
        before = None

        def step(piece: torch.Tensor, last: bool) -> torch.Tensor:
            nonlocal before
            window = piece if before is None else torch.cat([before, piece], dim=2)
            latents = self.vae.encoder(window)[0].chunk(2, dim=1)[0]
            known = 0 if before is None else LOOK_BACK // self.grid.temporal + 1
            before = None if last else window[:, :, -LOOK_BACK:].clone()  # a view would keep the whole piece in memory
            return latents[:, :, known:]

        return CodingPass(pieces(*ENCODE_WINDOW, frames), step)

    def decoding(self, frames: int) -> CodingPass:
        """Raw latents -> pixels."""
        if self.vae.decoder is None:
            raise CheckpointError(
                "This Mochi VAE is only the encoder, so it cannot decode. Put the decoder's file beside it in "
                "models/vae."
            )
        cache = None

        def step(piece: torch.Tensor, last: bool) -> torch.Tensor:
            nonlocal cache
            begins = cache is None
            pixels, cache = self.vae.decoder(piece, conv_cache=cache)
            return pixels[:, :, self.grid.temporal - 1 :] if begins else pixels

        return CodingPass(pieces(*DECODE_WINDOW, frames), step)

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        mean, std = self._statistics(latents)
        return (latents - mean) / std

    def denormalise(self, latents: torch.Tensor) -> torch.Tensor:
        mean, std = self._statistics(latents)
        return latents * std + mean

    def _statistics(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Per-channel mean and standard deviation of the latents, [1, C, 1, 1, 1] each."""
        config, shape = self.vae.config, (1, -1, 1, 1, 1)
        mean, std = (like.new_tensor(values).view(shape) for values in (config.latents_mean, config.latents_std))
        return mean, std / config.scaling_factor


def build_autoencoder(component: Component, variant: Variant) -> MochiAutoencoder | None:
    """Mochi's VAE in diffusers' or the original layout, with its weights; None if it is another family's.

    Genmo publishes the encoder and the decoder as two files. If `component` is one of them, the other is searched for
    beside it.
    """
    config = component.arguments
    if component.config and component.config.get("_class_name") != "AutoencoderKLMochi":
        return None
    shapes = _vae_shapes(component)
    halves = [half for half in HALVES if MARKS[half] in shapes]
    if not halves:
        return None
    state = vae_state(dequantised(component.state_dict()))
    for other in _other_half(component, halves):
        shapes |= _vae_shapes(other)
        state |= vae_state(dequantised(other.state_dict()))
    with without_weights():
        vae = AutoencoderKLMochi(**(config or vae_config(shapes)))
    for half in HALVES:
        if MARKS[half] not in shapes:
            setattr(vae, half, None)
    load_weights(vae, state, torch.float32, torch.float32)
    return MochiAutoencoder(vae)


def _other_half(component: Component, halves: list[str]) -> list[Component]:
    """The file beside this one with the missing half, if there is one."""
    if len(halves) == 2 or not component.files:
        return []
    (missing,) = set(HALVES) - set(halves)
    for path in sorted(Path(component.files[0]).parent.glob("*.safetensors")):
        try:
            other = open_component(path, "VAE", ("vae.", ""))
        except CheckpointError:
            continue
        if {half for half in HALVES if MARKS[half] in _vae_shapes(other)} == {missing}:
            return [other]
    return []


def _vae_shapes(component: Component) -> dict[str, Shape]:
    """Shapes under diffusers' names; {} if it is not Mochi's autoencoder."""
    shapes = component.shapes
    if not any(".stack.5." in key or key in MARKS.values() for key in shapes):
        return {}
    return {vae_name(key, shapes): shape for key, shape in shapes.items()}


def vae_config(shapes: dict[str, Shape]) -> dict[str, Any]:
    """The autoencoder's arguments, from the shapes under diffusers' names of at least one half."""
    depths, config = {}, {}
    if MARKS["encoder"] in shapes:
        groups = ["encoder.block_in", *(f"encoder.down_blocks.{n}" for n in range(3)), "encoder.block_out"]
        config["latent_channels"] = shapes["encoder.proj_out.weight"][0] // 2
        config["encoder_block_out_channels"] = _widths(shapes, groups[:4])
        depths = _depths(shapes, groups)
    if MARKS["decoder"] in shapes:
        groups = ["decoder.block_out", *(f"decoder.up_blocks.{n}" for n in (2, 1, 0)), "decoder.block_in"]
        config["latent_channels"] = shapes["decoder.conv_in.weight"][1]
        config["decoder_block_out_channels"] = _widths(shapes, groups[:4])
        depths = _depths(shapes, groups)
    return {**config, "layers_per_block": depths}


def _widths(shapes: dict[str, Shape], groups: list[str]) -> tuple[int, ...]:
    return tuple(shapes[f"{group}.resnets.0.conv1.conv.weight"][1] for group in groups)


def _depths(shapes: dict[str, Shape], groups: list[str]) -> tuple[int, ...]:
    return tuple(blocks_of(shapes, f"{group}.resnets") for group in groups)
