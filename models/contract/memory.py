"""How much memory a step of sampling takes, by ComfyUI's own rule, from a variant and a latent's shape."""

from __future__ import annotations

import math

from .family import Variant
from .grid import Shape

PER_TOKEN = 5.5
"""ComfyUI's figure for its own LTXV network, which is 2048 wide and has one token per latent pixel."""


def usage_factor(variant: Variant) -> float:
    """ComfyUI's memory_usage_factor of a network: in proportion to its width and its tokens per latent pixel."""
    width = variant.network.get("num_attention_heads", 32) * variant.network.get("attention_head_dim", 64)
    return PER_TOKEN * width / 2048 / (variant.grid.patch[0] * variant.grid.patch[1] ** 2)


def step_bytes(variant: Variant, latent_shape: Shape, itemsize: int = 2) -> int:
    """Bytes of one step for latents [B, C, T, h, w], as ComfyUI reserves them for attention in constant memory."""
    area = latent_shape[0] * math.prod(latent_shape[2:])
    return round(area * itemsize * 0.01 * usage_factor(variant) * 1024**2)
