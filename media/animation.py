"""Animated WebP, read through Pillow, because FFmpeg writes it but cannot read it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import torch

from . import MediaError
from .film import Source

if TYPE_CHECKING:
    from PIL.Image import Image


def is_one(source: Source) -> bool:
    """Whether a file is an animated WebP (WebP container specification: VP8X with the animation flag)."""
    try:
        if isinstance(source, io.BytesIO):
            head = bytes(source.getbuffer()[:21])
        else:
            with open(source, "rb") as file:
                head = file.read(21)
    except OSError:
        return False
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & 0x02)


class Animation:
    """An animated WebP. `times`: when each frame begins, in seconds. `length`: when the last one ends."""

    def __init__(self, source: Source, name: str, most_pixels: int) -> None:
        self.source, self.name = source, name
        with self._opened() as image:
            self.width, self.height = image.size
            if self.width * self.height > most_pixels:
                raise MediaError(f"{name} has {self.width} x {self.height} pixels; the limit is {most_pixels}.")
            ends, transparent = [], False
            for number in range(image.n_frames):
                image.seek(number)
                image.load()
                ends.append(max(1, round(image.info.get("duration", 100))))
                transparent = transparent or image.mode == "RGBA" and image.getextrema()[3][0] < 255
        ends = [end / 1000 for end in accumulate(ends)]
        self.times, self.length = [0.0, *ends[:-1]], ends[-1]
        self.notes = ("its transparent parts are black",) if transparent else ()

    @contextmanager
    def _opened(self) -> Iterator[Image]:
        from PIL import Image

        source = io.BytesIO(self.source.getbuffer()) if isinstance(self.source, io.BytesIO) else self.source
        try:
            with Image.open(source, formats=("WEBP",)) as image:
                yield image
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
            if isinstance(error, MediaError):
                raise
            why = getattr(error, "strerror", None) or error
            raise MediaError(f"{self.name} cannot be read as an animated WebP: {why}. It may be damaged.") from error

    def pictures(self, first: int, last: int) -> Iterator[torch.Tensor]:
        """Frames `first` to `last`, [H, W, 3] in 0..1."""
        with self._opened() as image:
            for number in range(first, last + 1):
                image.seek(number)
                pixels = torch.from_numpy(np.asarray(image.convert("RGBA")).astype(np.float32) / 255)
                yield pixels[..., :3] * pixels[..., 3:]
