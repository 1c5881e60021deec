"""Guidance that changes over the steps, as a model's authors publish it: per noise level, and Dynamic Guidance."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
import comfy.samplers
import comfy.utils
import torch

from ...contract.guidance import ISOLATED, Guidance, StreamGuidance
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
    """The MODEL with its authors' guidance per level or stream, which overrides the guider's; unchanged if it is one
    number.
    """
    guidance = patcher.model.variant.guidance
    if guidance is None:
        return patcher
    patcher = patcher.clone()
    if isinstance(guidance, StreamGuidance):
        patcher.set_model_sampler_post_cfg_function(partial(_streams_guided, guidance), disable_cfg1_optimization=True)
        return patcher
    patcher.add_wrapper(comfy.patcher_extension.WrappersMP.PREDICT_NOISE, partial(_with_scale_of_level, guidance))
    if guidance.zero_star:
        patcher.set_model_sampler_post_cfg_function(_zero_star)
    return patcher


def _streams_guided(guidance: StreamGuidance, step: dict[str, Any]) -> torch.Tensor:
    """Denoised x, guided stream by stream: away from the negative prompt, and from predictions that lack something.

    Each of these is one more call of the network; one that no stream asks for is left out.
    """
    conds, scales = step["cond"], (guidance.video, guidance.sound)
    shapes = conds[0]["model_conds"]["latent_shapes"].cond

    def predicted(**lacking: Any) -> list[torch.Tensor]:
        options = step["model_options"]
        options = {**options, "transformer_options": {**options.get("transformer_options", {}), **lacking}}
        calls = comfy.samplers.calc_cond_batch(step["model"], [conds], step["input"], step["sigma"], options)
        return comfy.utils.unpack_latents(calls[0], shapes)

    positive, negative = (comfy.utils.unpack_latents(step[f"{name}_denoised"], shapes) for name in ("cond", "uncond"))
    skipped = predicted(stg_self_attn_blocks=list(guidance.skipped)) if any(s.stg for s in scales) else positive
    isolated = predicted(**{ISOLATED: True}) if any(s.modality != 1 for s in scales) else positive
    streams = []
    for cond, uncond, lame, alone, scale in zip(positive, negative, skipped, isolated, scales, strict=True):
        total = cond + (scale.text - 1) * (cond - uncond) + scale.stg * (cond - lame)
        total = total + (scale.modality - 1) * (cond - alone)
        deviations = (x.flatten(1).std(dim=1).view(-1, *[1] * (x.ndim - 1)) for x in (cond, total))
        ratio = next(deviations) / next(deviations)
        streams.append(total * (scale.rescale * ratio + 1 - scale.rescale))
    return comfy.utils.pack_latents(streams)[0]


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
