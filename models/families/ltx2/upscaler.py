"""LTX-2's latent upscalers: 2 or 1.5 times the width and height, or twice the frames."""

from __future__ import annotations

from typing import Any

from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel

from ...bridge.upscaler import LatentUpscaler
from ...bridge.weights import without_weights
from ...weights.checkpoint import Component
from ...weights.errors import CheckpointError
from ...weights.key_names import blocks_of

SCALES = {2: 2.0, 3: 1.5, 4: 4.0}
"""How many times wider the resampler's first step makes a clip -> the scale of both of its steps."""


def build_upscaler(component: Component) -> LatentUpscaler:
    """The upscaler of a file or folder, without weights. Raises CheckpointError for one of an unknown kind."""
    arguments = _arguments(component)
    with without_weights():
        network = LTX2LatentUpsamplerModel(**arguments)
    return LatentUpscaler(network, arguments["rational_spatial_scale"], "LTX-2")


def _arguments(component: Component) -> dict[str, Any]:
    """The network's arguments, read from the weights' shapes."""
    shapes = component.shapes
    middle, channels, *kernel = shapes["initial_conv.weight"]
    resampler, widened = shapes.get("upsampler.conv.weight"), shapes.get("upsampler.0.weight", ())
    # Channels that the pixel shuffle unfolds, and whether its convolution is over space alone: scale, more frames.
    kinds = {(4, 4): (2.0, False), (2, 5): (1.0, True), (8, 5): (2.0, True)}
    if resampler:
        kind = SCALES.get(round((resampler[0] / middle) ** 0.5), 0.0), False
    else:
        kind = kinds.get((widened[0] // middle, len(widened)) if widened else (), (0.0, False))
    scale, longer = kind
    if not scale:
        raise CheckpointError(
            f"{component.name} upscales in a way that LTX-2's upscalers do not: {resampler or widened} is the shape of "
            "its upsampler's weight. Use ltx-2-spatial-upscaler-x2-1.0 or another one of LTX-2."
        )
    return {
        "in_channels": channels,
        "mid_channels": middle,
        "num_blocks_per_stage": blocks_of(shapes, "res_blocks"),
        "dims": len(kernel),
        "spatial_upsample": scale > 1,
        "temporal_upsample": longer,
        "rational_spatial_scale": scale,
        "use_rational_resampler": resampler is not None,
    }
