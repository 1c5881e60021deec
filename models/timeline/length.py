"""The length of a shot: seconds or frames, rounded to the nearest length that a model can generate."""

from __future__ import annotations

from ..contract.family import Variant


def length_of(variant: Variant, seconds: float, frames: int, fps: float) -> tuple[int, float]:
    """The legal frame count nearest to the request, and the frame rate. 0 stands for the model's recommended value."""
    rate = fps or variant.recipe.fps
    requested = frames or (round(seconds * rate) if seconds else variant.recipe.frames)
    return variant.grid.legal_frames(requested), rate
