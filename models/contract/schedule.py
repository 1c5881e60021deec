"""Noise levels of a sampler's steps: the sigmas for a number of steps, for a denoise below 1, for a sequence length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .family import Family, Variant
from .grid import Shape

LINEAR_SHARE = 0.025
"""The share of the noise that the linear half of a linear-quadratic schedule removes."""


def sigmas_for(family: Family, variant: Variant, steps: int, denoise: float, latent_shape: Shape) -> torch.Tensor:
    """The sigmas of `steps` steps (0 = the recipe's). With denoise below 1 they are the end of a longer schedule.

    If the family has fewer levels than that (distilled models), the share `denoise` of its levels is used.
    """
    steps = steps or variant.recipe.steps
    total = int(steps / max(denoise, 1e-3))
    sigmas = family.schedule(variant, total, latent_shape)
    known = len(sigmas) - 1
    return sigmas[known - (steps if known == total else max(1, round(known * denoise))) :]


def second_pass_of(family: Family, variant: Variant, latent_shape: Shape) -> tuple[int, float] | None:
    """Steps and denoise of a variant's second pass; None if it has none, or its authors run it with another model."""
    if variant.second_pass is None:
        return None
    levels = torch.tensor(variant.second_pass.sigmas)
    most = len(family.schedule(variant, 1000, latent_shape)) - 1  # of a distilled model, all levels that it knows
    steps = len(levels)
    denoise = steps / (most if most < 1000 else variant.recipe.steps)
    sigmas = sigmas_for(family, variant, steps, denoise, latent_shape)[:-1]
    return (steps, denoise) if len(sigmas) == steps and torch.allclose(sigmas, levels, atol=1e-3) else None


def denoise_for(family: Family, variant: Variant, noise: float, latent_shape: Shape) -> float:
    """The denoise value whose first step begins at about this share of noise (0..1), for any schedule.

    In a shifted schedule, the second half of the steps begins with far more than half the noise. The share of noise is
    sigma for flow matching. It is sigma / (1 + sigma) for v-prediction, which adds noise to an unscaled clip.
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
    """Sigmas [steps + 1], the last one 0: the first half of the steps falls linearly from 1 to 1 - LINEAR_SHARE.

    The second half is a parabola that starts with the same slope. This is Movie Gen's schedule (arXiv 2410.13720),
    which Mochi 1 and LTX Video use.
    """
    linear = steps // 2
    rest = steps - linear
    slope = LINEAR_SHARE / linear if linear else 0.0
    start = slope * linear
    bend = (1 - start - slope * rest) / rest**2
    removed = [slope * n for n in range(linear)] + [start + slope * n + bend * n**2 for n in range(rest + 1)]
    return 1 - torch.tensor(removed, dtype=torch.float64).float()
