"""What a clip is, and single frames of it, as it is seen: turned upright, with square pixels, in BT.709."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import read

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Facts:
    """Sides in pixels, frames, frames per second.

    `frames` counts those at an even `fps`: of a clip whose frame rate changes, what a model is given.
    """

    width: int
    height: int
    frames: int
    fps: float

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


def probe(source: read.Source, name: str = "", most_pixels: int = read.MOST_PIXELS) -> Facts:
    """What a clip is. It is looked through once, and its first frame is decoded.

    name: what messages call it. Raises MediaError when it cannot be read, or has more than `most_pixels` a frame.
    """
    clip = read.of_file(source, name, most_pixels)
    return Facts(clip.width, clip.height, len(read.frames_at(clip, clip.rate)), float(clip.rate))


def pictures(source: read.Source, numbers: Iterable[int]) -> list[Image]:
    """These frames of a clip as Pillow's images, each decoded from the key frame before it."""
    return pictures_of(read.of_file(source), numbers)


def pictures_of(clip: read.Clip, numbers: Iterable[int]) -> list[Image]:
    from PIL import Image

    found = (next(clip.pictures(number, number)) for number in numbers)
    return [Image.fromarray((pixels * 255).round().byte().numpy()) for pixels in found]
