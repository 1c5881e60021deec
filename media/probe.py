"""A clip's size, length and rate, a sound's length, and single frames as a player shows them: upright, square pixels,
BT.709."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av

from . import MediaError, read
from .film import Source, as_opened

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


def sound_seconds(source: Source, name: str, most: float) -> float:
    """How long the sound in a sound file or a clip is, in seconds. All of it is decoded.

    Raises MediaError if it has no sound, cannot be decoded, or is longer than `most` seconds.
    """
    seconds = 0.0
    try:
        with av.open(as_opened(source)) as container:
            if not container.streams.audio:
                raise MediaError(f"{name} has no sound. Send a WAV, FLAC, MP3, Ogg or M4A file, or a clip with sound.")
            for frame in container.decode(audio=0):
                seconds += frame.samples / frame.sample_rate
                if seconds > most:
                    raise MediaError(f"{name} is longer than {most:g} s, which is the limit. Cut it first.")
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(
            f"{name} cannot be read: {error.strerror or error}. It is damaged or incomplete: play it to check, and "
            "convert it to WAV."
        ) from error
    if not seconds:
        raise MediaError(f"{name} is empty: it has no samples.")
    return seconds


def pictures(source: Source, numbers: Iterable[int]) -> list[Image]:
    """Frames of a clip as Pillow images, each decoded from the key frame before it."""
    return pictures_of(read.of_file(source), numbers)


def pictures_of(clip: read.Clip, numbers: Iterable[int]) -> list[Image]:
    from PIL import Image

    frames = (next(clip.pictures(number, number)) for number in numbers)
    return [Image.fromarray((frame * 255).round().byte().numpy()) for frame in frames]
