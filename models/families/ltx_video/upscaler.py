"""LTX Video's latent upscalers, 0.9.7 and 0.9.8: twice the width and height, or twice the frames."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel

from ...bridge.weights import without_weights
from ...contract.grid import Shape
from ...weights.checkpoint import Component
from ...weights.errors import CheckpointError
from ...weights.key_names import blocks_of

OF_LTX2 = ("rational_resampler", "spatial_scale")
"""Entries that only the upscalers of LTX-2 have in their config: they read other latents."""


class LatentUpscaler(torch.nn.Module):
    """diffusers' upscaler under the names that ComfyUI's LTXVLatentUpsampler and its patcher read."""

    def __init__(self, network: LTXLatentUpsamplerModel) -> None:
        super().__init__()
        self.network = network
        self.in_channels = network.config.in_channels
        self.spatial_upsample = network.config.spatial_upsample
        self.temporal_upsample = network.config.temporal_upsample

    def get_dtype(self) -> torch.dtype:
        return self.network.initial_conv.weight.dtype

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Raw latents [B, C, T, h, w] -> [B, C, T or 2T - 1, h or 2h, w or 2w]."""
        return self.network(latents)


def build_upscaler(component: Component) -> LatentUpscaler | None:
    """The upscaler of a file or folder, without weights; None if it is another family's.

    Raises CheckpointError for an upscaler of LTX-2.
    """
    shapes, config = component.shapes, component.config
    if "post_upsample_res_blocks.0.conv2.bias" not in shapes or "initial_conv.weight" not in shapes:
        return None
    if "LTX2" in str(config.get("_class_name")) or any(name in config for name in OF_LTX2):
        raise CheckpointError(
            f"{component.name} is an upscaler of LTX-2, whose latents are not LTX Video's. Use "
            "ltxv-spatial-upscaler-0.9.8 or ltxv-temporal-upscaler-0.9.8 (or 0.9.7), or ComfyUI's own nodes for LTX-2."
        )
    arguments = _arguments(shapes)
    if arguments is None:
        raise CheckpointError(
            f"{component.name} upscales in a way that LTX Video's upscalers do not: {shapes.get('upsampler.0.weight')} "
            "is the shape of its 'upsampler.0.weight'. Use an upscaler of LTX Video 0.9.7 or 0.9.8."
        )
    with without_weights():
        return LatentUpscaler(LTXLatentUpsamplerModel(**arguments))


def _arguments(shapes: dict[str, Shape]) -> dict[str, Any] | None:
    """The network's arguments, read from the weights' shapes; None if these are not an upscaler's."""
    middle, channels, *kernel = shapes["initial_conv.weight"]
    widened = shapes.get("upsampler.0.weight", ())
    # Channels that the pixel shuffle unfolds, and whether its convolution is over space alone.
    kinds = {(4, 4): (True, False), (2, 5): (False, True), (8, 5): (True, True)}
    kind = kinds.get((widened[0] // middle, len(widened))) if widened else None
    if kind is None:
        return None
    return {
        "in_channels": channels,
        "mid_channels": middle,
        "num_blocks_per_stage": blocks_of(shapes, "res_blocks"),
        "dims": len(kernel),
        "spatial_upsample": kind[0],
        "temporal_upsample": kind[1],
    }
