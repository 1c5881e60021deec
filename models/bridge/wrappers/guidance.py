"""Guidance that changes over the steps, as a model's authors publish it: per noise level, and Dynamic Guidance."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
import torch

from ...contract.guidance import Guidance
from ..video_model import video_model


def with_dynamic_guidance(patcher: comfy.model_patcher.ModelPatcher) -> comfy.model_patcher.ModelPatcher:
    """The MODEL with its authors' dynamic guidance. Raises ValueError if they publish none."""
    model = video_model(patcher)
    if model.family.dynamic_guidance is None:
        raise ValueError(
            f"{model.variant.name} has no dynamic guidance: its authors use a constant one. Remove Dynamic Guidance."
        )
    patcher = patcher.clone()
    patcher.add_wrapper(comfy.patcher_extension.WrappersMP.PREDICT_NOISE, _with_guidance_of_step)
    return patcher


def _with_guidance_of_step(
    predict: Callable, x: torch.Tensor, sigma: torch.Tensor, options: dict[str, Any], seed: int | None = None
) -> torch.Tensor:
    guider = predict.class_obj
    guidance = getattr(guider, "cfg", 1.0)
    if guidance <= 1:
        return predict(x, sigma, options, seed)
    model, steps = guider.inner_model, len(options["transformer_options"]["sample_sigmas"]) - 1
    timestep = int(model.model_sampling.timestep(sigma.flatten()[:1]))
    guider.cfg = model.family.dynamic_guidance(guidance, timestep, steps)
    try:
        return predict(x, sigma, options, seed)
    finally:
        guider.cfg = guidance


def with_published_guidance(patcher: comfy.model_patcher.ModelPatcher) -> comfy.model_patcher.ModelPatcher:
    """The MODEL with its authors' guidance per level, which overrides the guider's; unchanged if theirs is constant."""
    guidance = patcher.model.variant.guidance
    if guidance is None:
        return patcher
    patcher = patcher.clone()
    patcher.add_wrapper(comfy.patcher_extension.WrappersMP.PREDICT_NOISE, partial(_with_scale_of_level, guidance))
    if guidance.zero_star:
        patcher.set_model_sampler_post_cfg_function(_zero_star)
    return patcher


def _with_scale_of_level(
    guidance: Guidance,
    predict: Callable,
    x: torch.Tensor,
    sigma: torch.Tensor,
    options: dict[str, Any],
    seed: int | None = None,
) -> torch.Tensor:
    guider = predict.class_obj
    original = guider.cfg
    guider.cfg = guidance.at(float(sigma.max())).cfg
    try:
        return predict(x, sigma, options, seed)
    finally:
        guider.cfg = original


def _zero_star(step: dict[str, Any]) -> torch.Tensor:
    """Denoised x by CFG-Zero*: the velocity without prompt is first scaled to the projection of the other onto it."""
    scale, x, sigma = step["cond_scale"], step["input"], step["sigma"].view(-1, 1, 1, 1, 1)
    if scale == 1:
        return step["denoised"]
    with_prompt, without = ((x - step[name]) / sigma for name in ("cond_denoised", "uncond_denoised"))
    product = (with_prompt * without).flatten(1).sum(dim=1)
    without = without * (product / (without**2).flatten(1).sum(dim=1).clamp(min=1e-8)).view(-1, 1, 1, 1, 1)
    return x - sigma * (without + scale * (with_prompt - without))
