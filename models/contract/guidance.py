"""Guidance that a model's authors publish per noise level, or per stream, instead of as one number."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GuidanceLevel:
    """The guidance of steps whose sigma is at least `sigma` and below that of the next higher level.

    cfg: the scale of classifier-free guidance; 1 is off. stg: the scale of spatio-temporal guidance; 0 is off. It needs
    another prediction, without the self-attention of the blocks `skipped`. rescale: how far the result is scaled back
    to the standard deviation of the prediction with the prompt, 0 to 1.
    """

    sigma: float
    cfg: float
    stg: float = 0.0
    rescale: float = 1.0
    skipped: tuple[int, ...] = ()


@dataclass(frozen=True)
class Guidance:
    """The guidance that a variant's authors publish, as levels from the highest sigma down.

    zero_star: first scale the prediction without the prompt to the projection of the other onto it (CFG-Zero*).

    Sampling applies only the `cfg` of a level. No node reads `stg`, `rescale` and `skipped` yet: they need to switch
    off the attention of single blocks.
    """

    levels: tuple[GuidanceLevel, ...]
    zero_star: bool = False

    def at(self, sigma: float) -> GuidanceLevel:
        """The highest level that the sigma reaches, or the lowest level if it reaches none."""
        return next((level for level in self.levels if level.sigma <= sigma + 1e-6), self.levels[-1])


ISOLATED = "atelier_isolated_streams"
"""Key of ComfyUI's transformer_options for a network with sound: picture and sound do not attend to each other."""


@dataclass(frozen=True)
class StreamScale:
    """How one stream of picture and sound is guided.

    text: the scale of classifier-free guidance; 1 is off. stg: of spatio-temporal guidance, away from a prediction in
    which some blocks have no self-attention; 0 is off. modality: of guidance away from a prediction in which picture
    and sound do not attend to each other; 1 is off. rescale: how far the result is scaled back to the standard
    deviation of the prediction with the prompt, 0 to 1.
    """

    text: float
    stg: float = 0.0
    modality: float = 1.0
    rescale: float = 0.0


@dataclass(frozen=True)
class StreamGuidance:
    """The guidance that a variant's authors publish for picture and sound. skipped: the blocks of `StreamScale.stg`."""

    video: StreamScale
    sound: StreamScale
    skipped: tuple[int, ...] = ()
