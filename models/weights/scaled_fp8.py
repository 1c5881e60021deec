"""Scaled fp8 files: float8 weights with their scales as further tensors."""

from __future__ import annotations

import torch

from .errors import CheckpointError
from .quantised import BLOCK, Quantised, Scaled

UNREAD = {torch.uint8: " (nvfp4, also called fp4)", torch.int8: " (int8, perhaps convrot)"}
"""What the stored dtype says of formats that this pack does not read."""


def with_scales(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Combine the weights of a "scaled fp8" file with their scales (`x.scale_weight` or `x.weight_scale`) as Quantised.

    Plain fp8 files have no scales and stay as they are. Do not call this for text encoders: ComfyUI's own loader reads
    their scales. Raises CheckpointError for another kind of quantised file.
    """
    for key in [key for key in state if key.endswith((".scale_weight", ".weight_scale"))]:
        scale, name = state.pop(key), key.rsplit(".", 1)[0] + ".weight"
        if name in state:  # if it is missing, load_weights reports that later
            state[name] = _scaled(state[name], scale, name)
    unused = (".scale_input", ".input_scale", ".comfy_quant")
    return {key: weight for key, weight in state.items() if not key.endswith(unused) and key != "scaled_fp8"}


def _scaled(weight: torch.Tensor, scale: torch.Tensor, name: str) -> torch.Tensor:
    """A weight with its scale: Quantised if one scale serves all rows and they divide into blocks, else multiplied."""
    if weight.dtype not in (torch.float8_e4m3fn, torch.float8_e5m2) or scale.numel() not in (1, len(weight)):
        format = UNREAD.get(weight.dtype, "")
        raise CheckpointError(
            f"{name} is stored as {weight.dtype} with {scale.numel()} scales{format}, which cannot be read here. "
            "Download the model in 16 bits, as fp8, as fp8 with a scale for each matrix, or as GGUF."
        )
    if weight.ndim == 2 and scale.numel() == 1 and weight.shape[1] % BLOCK == 0:
        return Quantised.of(weight, Scaled(scale.item()))
    return (weight.float() * scale.float().reshape(-1, *[1] * (weight.ndim - 1))).to(torch.bfloat16)


def dequantised(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a file as plain numbers, multiplied by their scales if it has any."""
    return {
        key: weight.numbers() if isinstance(weight, Quantised) else weight for key, weight in with_scales(state).items()
    }
