"""Picks one clip out of several variations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..models.timeline.keyframes import with_keyframes
from ..models.timeline.latent import AROUND, KEYFRAMES, PLACED, each_stream, video_of


def pick(latents: list[dict], number: int) -> dict:
    """Clip `number` of several LATENTs, counted from 1 over all their batches. Raises ValueError for other numbers."""
    places = [(latent, place) for latent in latents for place in range(len(video_of(latent["samples"])))]
    if not 1 <= number <= len(places):
        raise ValueError(f"There is no variation {number}. Choose a number from 1 to {len(places)}.")
    latent, place = places[number - 1]
    parts = {key: _one(latent[key], place) for key in ("samples", "noise_mask") if key in latent}
    if AROUND in latent:
        parts[AROUND] = latent[AROUND].of_clip(place)
    if PLACED in latent:
        parts[PLACED] = tuple(each.of_clip(place) for each in latent[PLACED])
    if KEYFRAMES not in latent:
        return {**latent, **parts}
    batches = ("latents", "samples", "mask")
    return with_keyframes(
        {**latent, **parts},
        [replace(each, **{name: _one(getattr(each, name), place) for name in batches}) for each in latent[KEYFRAMES]],
    )


def _one(batch: Any, place: int) -> Any:
    """That of one clip, of samples or a mask."""
    return each_stream(batch, lambda one: one[place : place + 1] if len(one) > 1 else one)
