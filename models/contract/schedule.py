"""Noise levels of a sampler's steps: the sigmas for a number of steps, for a denoise below 1, for a sequence length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .family import Family, Variant
from .grid import Shape

LINEAR_SHARE = 0.025
"""Of the noise, what the linear half of a linear-quadratic schedule takes away."""


def sigmas_for(family: Family, variant: Variant, steps: int, denoise: float, latent_shape: Shape) -> torch.Tensor:
    """The sigmas of `steps` steps (0 = the recipe's), with denoise below 1 only the end of a longer schedule.

    A family may know fewer levels than asked for (distilled models); then that share of what it has is used.
    """
    steps = steps or variant.recipe.steps
    total = int(steps / max(denoise, 1e-3))
    sigmas = family.schedule(variant, total, latent_shape)
    known = len(sigmas) - 1
    return sigmas[known - (steps if known == total else max(1, round(known * denoise))) :]


def denoise_for(family: Family, variant: Variant, noise: float, latent_shape: Shape) -> float:
    """The share of the schedule that begins at about this share of noise (0..1), whatever the schedule's shape.

    Half the steps of a shifted schedule begin with far more noise than half. The share is sigma for flow matching and
    sigma / (1 + sigma) for v-prediction, where the clip keeps its size and noise is added.
    """
    sigmas = family.schedule(variant, 1000, latent_shape)[:-1]
    shares = sigmas / (1 + sigmas) if family.levels else sigmas
    return 1 - int((shares - noise).abs().argmin()) / len(shares)


def shift_of_tokens(scheduler: Mapping[str, Any], tokens: int) -> float:
    """Flow matching's mu for a sequence of `tokens` tokens: linear between the scheduler's two reference lengths."""
    low, high = scheduler["base_image_seq_len"], scheduler["max_image_seq_len"]
    slope = (scheduler["max_shift"] - scheduler["base_shift"]) / (high - low)
    return scheduler["base_shift"] + slope * (tokens - low)


def linear_quadratic(steps: int) -> torch.Tensor:
    """Sigmas [steps + 1], last one 0: the first half of the steps is linear, down to 1 - LINEAR_SHARE.

    The rest is a parabola that goes on with that slope. Movie Gen's schedule (arXiv 2410.13720), for which Mochi 1 and
    LTX Video were published.
    """
    linear = steps // 2
    rest = steps - linear
    slope = LINEAR_SHARE / linear if linear else 0.0
    start = slope * linear
    bend = (1 - start - slope * rest) / rest**2
    gone = [slope * n for n in range(linear)] + [start + slope * n + bend * n**2 for n in range(rest + 1)]
    return 1 - torch.tensor(gone, dtype=torch.float64).float()
