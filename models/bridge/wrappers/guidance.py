"""Guidance that changes over the steps, as a family's authors publish it (Dynamic Guidance)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.lora
import comfy.model_patcher
import comfy.patcher_extension
import comfy.sd
import torch

from ..video_model import video_model


def with_dynamic_guidance(patcher: comfy.model_patcher.ModelPatcher) -> comfy.model_patcher.ModelPatcher:
    """The MODEL with its authors' changing guidance. Raises ValueError where they have none."""
    model = video_model(patcher)
    if model.family.dynamic_guidance is None:
        raise ValueError(
            f"{model.variant.name} has no dynamic guidance: its authors keep the guidance as it is. Leave Dynamic "
            "Guidance out."
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
