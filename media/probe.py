"""A clip's size, length and rate, and single frames as a player shows them: upright, square pixels, BT.709."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import read
from .film import Source

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Facts:
    """Size in pixels, number of frames, frames per second.

    `frames` counts frames at a constant `fps`. With a variable frame rate this is what a model gets.
    """

    width: int
    height: int
    frames: int
    fps: float

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


def probe(source: Source, name: str = "", most_pixels: int = read.MOST_PIXELS) -> Facts:
    """A clip's facts. All packets are read, and the first frame is decoded.

    name: the clip's name in messages. Raises MediaError if it cannot be read, or a frame exceeds `most_pixels`.
    """
    clip = read.of_file(source, name, most_pixels)
    return Facts(clip.width, clip.height, len(read.frames_at(clip, clip.rate)), float(clip.rate))


def pictures(source: Source, numbers: Iterable[int]) -> list[Image]:
    """Frames of a clip as Pillow images, each decoded from the key frame before it."""
    return pictures_of(read.of_file(source), numbers)


def pictures_of(clip: read.Clip, numbers: Iterable[int]) -> list[Image]:
    from PIL import Image

    frames = (next(clip.pictures(number, number)) for number in numbers)
    return [Image.fromarray((frame * 255).round().byte().numpy()) for frame in frames]
