"""Guidance that its authors publish level by level, instead of as one number."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GuidanceLevel:
    """What holds at steps whose sigma is at least `sigma`, until a level above it does.

    cfg: the scale of classifier-free guidance; 1 is off. stg: the scale of spatio-temporal guidance, a second
    prediction made without the self-attention of the blocks `skipped`; 0 is off. rescale: how far the result is brought
    back to the standard deviation of the prediction with the prompt, 0 to 1.
    """

    sigma: float
    cfg: float
    stg: float = 0.0
    rescale: float = 1.0
    skipped: tuple[int, ...] = ()


@dataclass(frozen=True)
class Guidance:
    """The guidance that a variant's authors publish, as levels from the highest sigma down.

    zero_star: the prediction without the prompt is first scaled to the projection of the other onto it (CFG-Zero*).

    Of a level, sampling applies `cfg`. `stg`, `rescale` and `skipped` are facts that no node reads yet: they need the
    attention of single blocks.
    """

    levels: tuple[GuidanceLevel, ...]
    zero_star: bool = False

    def at(self, sigma: float) -> GuidanceLevel:
        """The first level that the sigma reaches; below all of them the last one."""
        return next((level for level in self.levels if level.sigma <= sigma + 1e-6), self.levels[-1])
