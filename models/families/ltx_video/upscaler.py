"""LTX Video's latent upscalers, 0.9.7 and 0.9.8: twice the width and height, or twice the frames."""

from __future__ import annotations

from typing import Any

from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel

from ...bridge.upscaler import LatentUpscaler
from ...bridge.weights import without_weights
from ...contract.grid import Shape
from ...weights.checkpoint import Component
from ...weights.errors import CheckpointError
from ...weights.key_names import blocks_of


def build_upscaler(component: Component) -> LatentUpscaler | None:
    """The upscaler of a file or folder, without weights; None if it is another family's."""
    shapes = component.shapes
    if "post_upsample_res_blocks.0.conv2.bias" not in shapes or "initial_conv.weight" not in shapes:
        return None
    arguments = _arguments(shapes)
    if arguments is None:
        raise CheckpointError(
            f"{component.name} upscales in a way that LTX Video's upscalers do not: {shapes.get('upsampler.0.weight')} "
            "is the shape of its 'upsampler.0.weight'. Use an upscaler of LTX Video 0.9.7 or 0.9.8."
        )
    with without_weights():
        network = LTXLatentUpsamplerModel(**arguments)
    return LatentUpscaler(network, 2.0, "LTX Video")


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
