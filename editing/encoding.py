"""Encodes footage into a model's LATENT, at a size and length that the model can take."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

from ..media import read
from ..models.bridge.vae import encode_stream, vae_grid

if TYPE_CHECKING:
    import comfy.sd


@dataclass(frozen=True)
class Encoded:
    """The LATENT of a clip.

    asked, size: (width, height) in pixels, as requested and as encoded. given, count: frames of the clip, and how many
    of them are encoded. rate: frames per second.
    """

    latent: dict
    asked: tuple[int, int]
    size: tuple[int, int]
    given: int
    count: int
    rate: Fraction


def encode_clip(
    vae: comfy.sd.VAE,
    clip: read.Clip,
    start: float,
    end: float,
    width: int,
    height: int,
    fit: str,
    rate: Fraction,
) -> Encoded:
    """Encode the clip from `start` to `end` seconds, piece by piece.

    width, height: pixels; 0 for one keeps the aspect ratio, 0 for both the clip's size. fit: one of read.FITS. The size
    moves to the nearest that the model can take, the length to the longest.
    """
    grid, wanted = vae_grid(vae), read.frames_at(clip, rate, start, end)
    asked = _sides(clip, width, height)
    size = (grid.legal_side(asked[0]), grid.legal_side(asked[1]))
    count = grid.legal_frames(len(wanted))
    count -= grid.temporal * grid.group if count > len(wanted) else 0
    samples = encode_stream(vae, partial(read.read, clip, wanted[:count], size, fit), size[::-1], count)
    return Encoded({"samples": samples, "frame_rate": float(rate)}, asked, size, len(wanted), count, rate)


def _sides(clip: read.Clip, width: int, height: int) -> tuple[int, int]:
    """Width and height; 0 for one keeps the aspect ratio, 0 for both the clip's size."""
    wide = width or (round(height * clip.width / clip.height) if height else clip.width)
    high = height or (round(width * clip.height / clip.width) if width else clip.height)
    return wide, high
