"""Picks one clip out of several variations."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..models.timeline.latent import AROUND, KEYFRAMES


def pick(latents: list[dict], number: int) -> dict:
    """Clip `number` of several LATENTs, counted from 1 over all their batches. Raises ValueError for other numbers."""
    places = [(latent, place) for latent in latents for place in range(len(latent["samples"]))]
    if not 1 <= number <= len(places):
        raise ValueError(f"There is no variation {number}. Choose a number from 1 to {len(places)}.")
    latent, place = places[number - 1]
    parts = {key: _one(latent[key], place) for key in ("samples", "noise_mask") if key in latent}
    if AROUND in latent:
        around = latent[AROUND]
        parts[AROUND] = replace(around, before=_one(around.before, place), after=_one(around.after, place))
    if KEYFRAMES in latent:
        batches = ("latents", "samples", "mask")
        parts[KEYFRAMES] = tuple(
            replace(each, **{name: _one(getattr(each, name), place) for name in batches}) for each in latent[KEYFRAMES]
        )
    return {**latent, **parts}


def _one(batch: torch.Tensor, place: int) -> torch.Tensor:
    return batch[place : place + 1] if len(batch) > 1 else batch
