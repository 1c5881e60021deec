"""One clip out of several variations."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..models.timeline.latent import AROUND


def pick(latents: list[dict], number: int) -> dict:
    """One clip of LATENTs that may hold several, counted from 1 over all. Raises ValueError when there is none."""
    places = [(latent, place) for latent in latents for place in range(len(latent["samples"]))]
    if not 1 <= number <= len(places):
        raise ValueError(f"There are {len(places)} variations; number {number} is none of them.")
    latent, place = places[number - 1]
    parts = {key: _one(latent[key], place) for key in ("samples", "noise_mask") if key in latent}
    if AROUND in latent:
        around = latent[AROUND]
        parts[AROUND] = replace(around, before=_one(around.before, place), after=_one(around.after, place))
    return {**latent, **parts}


def _one(batch: torch.Tensor, place: int) -> torch.Tensor:
    return batch[place : place + 1] if len(batch) > 1 else batch
