"""The part of a clip that is there while the rest is made: carried by its preview pictures, and as an animated WebP."""

from __future__ import annotations

import io
import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_FRAMES = 160
"""Frames of the animated WebP: 20 seconds as Decode Video shows them. Of more, it takes every second, third, ..."""
QUALITY = 60
CARRIED = "atelier_so_far"
"""Key in a picture's `info`: ComfyUI hands previews on as Pillow images."""
_versions = itertools.count(time.time_ns())
"""A farm's head shows clips of other processes, whose numbers must be others, too."""


@dataclass(frozen=True)
class SoFar:
    """frames: uint8 [T, h, w, 3], T > 0. seconds: how long they last. decoded: whether they are the clip's own frames;
    otherwise they are latents in colours. version: another number for each."""

    frames: np.ndarray
    seconds: float
    decoded: bool
    version: int = field(default_factory=lambda: next(_versions))

    def picture(self, index: int) -> Image:
        """A frame, which carries the clip."""
        from PIL import Image

        picture = Image.fromarray(self.frames[index])
        picture.info[CARRIED] = self
        return picture

    def webp(self) -> bytes:
        """An animated WebP that plays in a loop, as long as the clip."""
        from PIL import Image

        first, *others = (Image.fromarray(frame) for frame in self.frames[:: -(-len(self.frames) // MOST_FRAMES)])
        duration = max(1, round(1000 * self.seconds / (1 + len(others))))
        content = io.BytesIO()
        first.save(
            content, "WEBP", save_all=True, append_images=others, duration=duration, loop=0, quality=QUALITY, method=0
        )
        return content.getvalue()


@dataclass(frozen=True)
class Animation:
    """A `SoFar` as a file. content: an animated WebP, or None for a client that has this version."""

    version: int
    seconds: float
    decoded: bool
    content: bytes | None


def carried(picture: Image) -> SoFar | None:
    """The clip that a preview's picture is from, if this pack made it."""
    return picture.info.get(CARRIED)
