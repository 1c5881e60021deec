"""Reads clips: from files or images, resampled to a frame rate, scaled to a size, one chunk of frames at a time."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from . import MediaError, animation
from .film import Film, Source
from .sound import Sound, cut

BYTES_AT_ONCE = 2**27
"""Memory for the frames of one chunk."""
MOST_PIXELS = 2**28
"""Most pixels of a frame: 16384 x 16384. A damaged or hostile file may claim any number."""
FITS = ("crop", "pad", "stretch")


@dataclass(frozen=True)
class Clip:
    """A clip that can be read any number of times, from any frame.

    rate: frames per second, the average if it varies. times: when each frame begins, in seconds, ascending from 0.
    length: when the last frame ends. pictures(first, last): frames [H, W, 3] in 0..1, one after the other.
    sound(start, end): the sound of these seconds, None if there is none. notes: remarks for the artist.
    reduced(first, last, by): frames with their sides divided by `by` while they are decoded, so that no full-size
    frame is in memory; None for clips that are in memory anyway.
    """

    width: int
    height: int
    rate: Fraction
    times: Sequence[float]
    length: float
    pictures: Callable[[int, int], Iterator[torch.Tensor]]
    sound: Callable[[float, float], Sound | None] = lambda start, end: None
    notes: tuple[str, ...] = ()
    reduced: Callable[[int, int, int], Iterator[torch.Tensor]] | None = None


def of_images(images: torch.Tensor, rate: Fraction, sound: Sound | None = None) -> Clip:
    """A clip of images [N, H, W, C] in memory. Raises MediaError if there are none."""
    if not len(images):
        raise MediaError("There are no frames in this clip.")

    def pictures(first: int, last: int) -> Iterator[torch.Tensor]:
        for image in images[first : last + 1]:
            yield image[..., :3].float().cpu()

    times = [float(n / rate) for n in range(len(images))]
    height, width = images.shape[1:3]
    sound_of = (lambda start, end: cut(sound, start, end)) if sound else Clip.sound
    return Clip(width, height, rate, times, float(len(images) / rate), pictures, sound_of)


# ------------------------------------------------------------------------------------------------ which frames


def frames_at(clip: Clip, rate: Fraction, start: float = 0.0, end: float | None = None) -> list[int]:
    """The number of the frame at each 1/rate second from `start` to `end` (None: the end of the clip).

    It is the nearest frame, or the one on screen if that lasts longer than usual. Raises MediaError if the clip ends
    before `start`.
    """
    stop = min(clip.length, clip.length if end is None else end)
    if start >= stop:
        raise MediaError(f"The clip is {clip.length:.2f} s long: there is nothing from {start:g} s to {stop:g} s.")
    steps = np.diff(clip.times)
    slack = min(1 / rate, Fraction(float(np.median(steps))) if len(steps) else 1 / rate) / 2
    count = max(1, round((stop - start) * rate + Fraction(-1, 1000)))
    return [max(0, bisect_right(clip.times, start + float(n / rate + slack)) - 1) for n in range(count)]


def read(
    clip: Clip, wanted: Sequence[int], size: tuple[int, int] | None = None, fit: str = "stretch"
) -> Iterator[torch.Tensor]:
    """Frames of a clip in chunks [f, H, W, 3] in 0..1, scaled to `size` (width, height) if given.

    wanted: frame numbers in ascending order, repeats allowed. In descending order, the clip is read in pieces from its
    end.
    """
    size = size or (clip.width, clip.height)
    by = _reduction(clip, *size, fit)
    at_once = max(1, min(32, BYTES_AT_ONCE // (clip.width // by * (clip.height // by) * 12)))
    if wanted[0] <= wanted[-1]:
        for chunk in _chunks(_rising(clip, wanted, by), at_once):
            yield fitted(chunk, *size, fit)
        return
    for start in range(0, len(wanted), at_once):
        piece = list(_rising(clip, wanted[start : start + at_once][::-1], by))
        yield fitted(torch.stack(piece[::-1]), *size, fit)


def _reduction(clip: Clip, width: int, height: int, fit: str) -> int:
    """By how much to divide a clip's sides while it is decoded: 1 unless a single frame exceeds BYTES_AT_ONCE.

    The frame stays at least as large as the output. At full size, a frame of 64 million pixels takes 4 GB as floats.
    """
    by, (inner_width, inner_height) = 1, _inner(clip.width, clip.height, width, height, fit)
    while clip.reduced and clip.width * clip.height * 12 > BYTES_AT_ONCE * by * by:
        if clip.width // (2 * by) < inner_width or clip.height // (2 * by) < inner_height:
            break
        by *= 2
    return by


def _rising(clip: Clip, wanted: Sequence[int], by: int) -> Iterator[torch.Tensor]:
    pictures = clip.pictures(wanted[0], wanted[-1]) if by == 1 else clip.reduced(wanted[0], wanted[-1], by)
    at, picture = wanted[0] - 1, None
    for number in wanted:
        while at < number:
            picture, at = next(pictures), at + 1
        yield picture


def _chunks(pictures: Iterator[torch.Tensor], at_once: int) -> Iterator[torch.Tensor]:
    waiting: list[torch.Tensor] = []
    for picture in pictures:
        waiting.append(picture)
        if len(waiting) == at_once:
            yield torch.stack(waiting)
            waiting.clear()
    if waiting:
        yield torch.stack(waiting)


def fitted(images: torch.Tensor, width: int, height: int, fit: str) -> torch.Tensor:
    """Images [f, H, W, 3] in another size. "crop" cuts the excess, "pad" adds black, "stretch" distorts."""
    was_height, was_width = images.shape[1:3]
    if (was_width, was_height) == (width, height):
        return images
    pixels = images.movedim(-1, 1)
    inner = _inner(was_width, was_height, width, height, fit)
    pixels = torch.nn.functional.interpolate(pixels, inner[::-1], mode="bicubic", antialias=True).clamp_(0, 1)
    return _centred(pixels, width, height).movedim(1, -1).contiguous()


def _inner(was_width: int, was_height: int, width: int, height: int, fit: str) -> tuple[int, int]:
    """(width, height) to scale a picture to before it is cropped or padded."""
    if fit == "stretch":
        return width, height
    scale = (max if fit == "crop" else min)(width / was_width, height / was_height)
    return max(1, round(was_width * scale)), max(1, round(was_height * scale))


def _centred(pixels: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Pixels [f, 3, H, W] cropped, or padded with black, to height x width around their centre."""
    above, left = (height - pixels.shape[2]) // 2, (width - pixels.shape[3]) // 2
    edges = (left, width - pixels.shape[3] - left, above, height - pixels.shape[2] - above)
    return torch.nn.functional.pad(pixels, edges)


# ------------------------------------------------------------------------------------------------ files


def of_file(source: Source, name: str = "", most_pixels: int = MOST_PIXELS) -> Clip:
    """The clip in a file. All packets are read for their times; only the first frame is decoded.

    Raises MediaError if the file is not a video, is empty or damaged, has sound only, or exceeds `most_pixels`.
    """
    name = name or (Path(source).name if not isinstance(source, io.BytesIO) else "The clip")
    if animation.is_one(source):
        return _of_animation(animation.Animation(source, name, most_pixels))
    film = Film(source, name, most_pixels)
    film.scan()
    times = [film.seconds(pts) for pts in film.pts]
    rate = _rate(times, *film.rates)
    length = max(film.seconds(film.end), times[-1] + 0.5 / float(rate))
    notes = (*film.notes, *_variable_rate(times, rate))
    sound = film.sound if film.has_sound else Clip.sound
    return Clip(film.width, film.height, rate, times, length, film.pictures, sound, notes, film.pictures)


def _of_animation(webp: animation.Animation) -> Clip:
    rate = _rate(webp.times, None, Fraction(1 / webp.length).limit_denominator(1001))
    notes = (*webp.notes, *_variable_rate(webp.times, rate))
    return Clip(webp.width, webp.height, rate, webp.times, webp.length, webp.pictures, notes=notes)


def _rate(times: Sequence[float], guessed: Fraction | None, average: Fraction | None) -> Fraction:
    """The nominal frame rate if it agrees with the times within 1 %, else their average."""
    if len(times) < 2:
        return Fraction(guessed or average or 25)
    measured = (len(times) - 1) / times[-1]
    for nominal in (guessed, average):
        if nominal and abs(nominal / measured - 1) < 0.01:
            return Fraction(nominal)
    return Fraction(measured).limit_denominator(1001) or Fraction(1, round(1 / measured))  # frames minutes apart


def _variable_rate(times: Sequence[float], rate: Fraction) -> tuple[str, ...]:
    """A note if a frame is more than 0.6 frames away from its place at a constant rate."""
    off = max(abs(time - n / rate) for n, time in enumerate(times))
    return (f"its frame rate changes ({float(rate):.4g} on average)",) if off > 0.6 / rate else ()
