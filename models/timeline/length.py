"""How long a shot is: what an artist asks for in seconds or frames, as the nearest length that a model can make."""

from __future__ import annotations

from ..contract.family import Variant


def length_of(variant: Variant, seconds: float, frames: int, fps: float) -> tuple[int, float]:
    """The legal frame count nearest to what is asked for, and its frames per second; 0 = what the model recommends."""
    rate = fps or variant.recipe.fps
    asked = frames or (round(seconds * rate) if seconds else variant.recipe.frames)
    return variant.grid.legal_frames(asked), rate
