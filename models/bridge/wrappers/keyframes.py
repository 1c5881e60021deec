"""Gives a network that reads keyframes beside the shot those of a LATENT, in every sampler node."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch

from ...contract.guides import Guide
from ...timeline.keyframes import Keyframe, apart, keyframes_like, keyframes_of
from ...timeline.latent import KEYFRAMES
from ..video_model import GUIDES
from .calls import SamplerRun, around_run
from .streams import track_of

WINDOWS = "context_handler"
"""The model option of core's Context Windows, which would cut off what is beside a shot."""


def reaches_behind(options: Mapping[str, Any]) -> bool:
    """Whether a network gets what is appended to a shot, with these model options."""
    return WINDOWS not in options


@around_run
def with_keyframes_beside(run: SamplerRun) -> torch.Tensor:
    """Sample a shot without its keyframes in it, and with guides instead.

    A run that stops before the last level leaves them in the shot: the sampler that continues it gets another tensor,
    whose keyframes are not known.
    """
    keyframes, variant = _keyframes_of(run), run.model.variant
    if not keyframes or not variant.known_frames.keyframes:
        return run.proceed()
    if not reaches_behind(run.guider.model_options) or run.sigmas[-1] > 0:
        logging.warning(
            "Atelier: with Context Windows, or a sampler that stops before the last step, frames placed in the shot "
            "are latent frames of it, not keyframes, which %s was trained on.",
            variant.name,
        )
        return run.proceed()
    mask = {} if run.mask is None else {"noise_mask": run.mask}
    shot, beside = apart({"samples": run.latent, KEYFRAMES: keyframes, **mask}, variant.grid)
    guides = tuple(Guide(each.latents, each.frame, each.strength, held=True) for each in beside if each.strength)

    def guided(entry: dict[str, Any]) -> dict[str, Any]:
        return {**entry, GUIDES: (*entry.get(GUIDES, ()), *guides)}

    run.guider.conds = {name: list(map(guided, entries)) for name, entries in run.guider.conds.items()}
    return run.proceed(latent=shot["samples"], mask=shot.get("noise_mask"))


def _keyframes_of(run: SamplerRun) -> tuple[Keyframe, ...]:
    """The keyframes of a run's shot. ComfyUI copies a shot with sound into one row, so it is known by its numbers."""
    if track_of(run) is None:
        return keyframes_of(run.latent)
    return keyframes_like({"samples": run.latent, **({} if run.mask is None else {"noise_mask": run.mask})})
