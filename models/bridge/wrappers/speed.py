"""Speed Up Video: the steps of a run share what their blocks add, as `hooks.step_cache` says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
import torch

from ..hooks.step_cache import STEP_CACHE, StepCache
from ..video_model import video_model
from .calls import SamplerRun, around_run

THRESHOLDS = {"careful": 0.05, "normal": 0.16, "fast": 0.35}
"""How large a change of what the first block adds may be, relative to it, where the other blocks are left out."""
KEY = "atelier_speed"


def with_step_cache(patcher: comfy.model_patcher.ModelPatcher, speed: str) -> comfy.model_patcher.ModelPatcher:
    """The MODEL with a step cache in each run. speed: of THRESHOLDS, or "off". One that is there is replaced."""
    video_model(patcher)
    patcher, kinds = patcher.clone(), comfy.patcher_extension.WrappersMP
    for kind in (kinds.OUTER_SAMPLE, kinds.PREDICT_NOISE):
        patcher.remove_wrappers_with_key(kind, KEY)
    if speed in THRESHOLDS:
        around = around_run(partial(_with_cache, speed))
        patcher.add_wrapper_with_key(kinds.OUTER_SAMPLE, KEY, around)
        patcher.add_wrapper_with_key(kinds.PREDICT_NOISE, KEY, _counted)
    return patcher


def _with_cache(speed: str, run: SamplerRun) -> torch.Tensor:
    """Sample with a new cache, which is dropped behind the run, however that ends."""
    guider, cache = run.guider, StepCache(THRESHOLDS[speed])
    before = guider.model_options
    options = {**before.get("transformer_options", {}), STEP_CACHE: cache}
    guider.model_options = {**before, "transformer_options": options}
    try:
        sampled = run.proceed()
    finally:
        guider.model_options = before
    logging.info(
        "Atelier: Speed Up Video (%s) left out %d%% of the network's block evaluations.", speed, 100 * cache.saved
    )
    return sampled


def _counted(
    predict: Callable, x: torch.Tensor, sigma: torch.Tensor, options: dict[str, Any], seed: int | None = None
) -> torch.Tensor:
    cache = options.get("transformer_options", {}).get(STEP_CACHE)
    if cache is not None:
        cache.next_evaluation()
    return predict(x, sigma, options, seed)
