"""What a model cannot follow of a shot's mask: said under the node that samples, whichever that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..contract.family import Variant
from ..timeline.latent import mask_of
from .scenes import between_cuts

TOLD = "atelier_told"
"""Conditioning key: the node has said what is unmet, so the run does not say it again."""


def unmet(variant: Variant, latent: dict, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a variant cannot follow of a LATENT's mask, as sentences without line breaks; [] if it follows all of it.

    entries: conditioning, as its options. Each scene is judged by itself, because nothing leads up to a cut.
    """
    if latent.get("noise_mask") is None:
        return []
    mask = mask_of(latent)
    parts = [mask[:, :, begin:end] for begin, end in between_cuts(variant, entries, mask.shape[2])]
    found = [each for part in parts for each in variant.known_frames.unmet(part)]
    return [f"{variant.name} {each}" for each in dict.fromkeys(found)]
