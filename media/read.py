"""Files to frames: what a clip is, which of its frames stand where in time, and those frames as they are needed."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from . import MediaError, animation, colour
from .convert import ToRgb
from .sound import LAYOUTS, SAMPLES, Sound, block_of, cut

Source = str | Path | io.BytesIO

BYTES_AT_ONCE = 2**27
"""Memory for the frames of one chunk."""
MOST_PIXELS = 2**28
"""Pixels that a frame may have: 16384 x 16384. A damaged or hostile file may ask for any number."""
FITS = ("crop", "pad", "stretch")
DAMAGED = "Play it to see, and convert or download it again."


@dataclass(frozen=True)
class Clip:
    """A clip that can be read any number of times, from anywhere.

    times: seconds of each frame, rising from 0; `length` is where the last one ends. `rate`: frames per second, the
    average where they change. pictures(first, last): those frames [H, W, 3] in 0..1, one after the other.
    reduced(first, last, by): the same
    with their sides divided by `by`, without ever being whole; None where they are whole already.
    sound(start, end): the sound of these seconds, None where there is none. notes: what an artist should know of it.
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
    """The clip of images [N, H, W, C] that are in memory. Raises MediaError when there are none."""
    if not len(images):
        raise MediaError("There are no frames in this clip.")

    def pictures(first: int, last: int) -> Iterator[torch.Tensor]:
        for image in images[first : last + 1]:
            yield image[..., :3].float().cpu()

    times = [float(n / rate) for n in range(len(images))]
    height, width = images.shape[1:3]
    heard = (lambda start, end: cut(sound, start, end)) if sound else Clip.sound
    return Clip(width, height, rate, times, float(len(images) / rate), pictures, heard)


# ------------------------------------------------------------------------------------------------ which frames


def frames_at(clip: Clip, rate: Fraction, start: float = 0.0, end: float | None = None) -> list[int]:
    """Which frame is seen at each 1/rate second from `start` to `end` (None: to the end of the clip).

    At each time it is the nearest frame, or the one that is on screen where it stays there long. Raises MediaError
    when the clip ends before `start`.
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
    """Those frames of a clip in chunks [f, H, W, 3], in 0..1, scaled to `size` (width, height) where it is given.

    `wanted` rises (a frame may come several times), or falls: then the clip is read in pieces from its end.
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
    """By how much a clip's sides are divided while it is decoded: 1 unless one frame alone takes BYTES_AT_ONCE.

    Then as far as it stays larger than what is asked for: a frame of 64 million pixels takes 4 GB as numbers.
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
    """Images [f, H, W, 3] in another size. "crop" cuts what is too much, "pad" adds black, "stretch" distorts."""
    was_height, was_width = images.shape[1:3]
    if (was_width, was_height) == (width, height):
        return images
    pixels = images.movedim(-1, 1)
    inner = _inner(was_width, was_height, width, height, fit)
    pixels = torch.nn.functional.interpolate(pixels, inner[::-1], mode="bicubic", antialias=True).clamp_(0, 1)
    return _centred(pixels, width, height).movedim(1, -1).contiguous()


def _inner(was_width: int, was_height: int, width: int, height: int, fit: str) -> tuple[int, int]:
    """(width, height) that a picture is scaled to before it is cut or padded."""
    if fit == "stretch":
        return width, height
    scale = (max if fit == "crop" else min)(width / was_width, height / was_height)
    return max(1, round(was_width * scale)), max(1, round(was_height * scale))


def _centred(pixels: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Pixels [f, 3, H, W] cut, or surrounded with black, to height x width about their middle."""
    above, left = (height - pixels.shape[2]) // 2, (width - pixels.shape[3]) // 2
    edges = (left, width - pixels.shape[3] - left, above, height - pixels.shape[2] - above)
    return torch.nn.functional.pad(pixels, edges)


# ------------------------------------------------------------------------------------------------ files


def of_file(source: Source, name: str = "", most_pixels: int = MOST_PIXELS) -> Clip:
    """The clip in a file: it is looked through once, without decoding it, for the time of every frame.

    Raises MediaError when the file is none, is empty or damaged, has sound only, or more pixels than `most_pixels`.
    """
    name = name or (Path(source).name if not isinstance(source, io.BytesIO) else "The clip")
    if animation.is_one(source):
        return _of_animation(animation.Animation(source, name, most_pixels))
    film = _Film(source, name, most_pixels)
    with film.opened() as (container, stream):
        film.pts, ends, film.timed = _times(container, stream)
        average = stream.average_rate
        guessed = stream.guessed_rate
        has_sound = bool(_sound_stream(container))
    if not film.pts:
        raise MediaError(f"{name} has no frames in it. {DAMAGED}")
    film.look_at_the_first()
    times = [float((pts - film.pts[0]) * film.time_base) for pts in film.pts]
    rate = _rate(times, guessed, average)
    length = max(float((ends - film.pts[0]) * film.time_base), times[-1] + 0.5 / float(rate))
    notes = (*film.notes, *_changing(times, rate))
    sound = film.sound if has_sound else Clip.sound
    return Clip(film.width, film.height, rate, times, length, film.pictures, sound, notes, film.pictures)


def _of_animation(found: animation.Animation) -> Clip:
    rate = _rate(found.times, None, Fraction(1 / found.length).limit_denominator(1001))
    notes = (*found.notes, *_changing(found.times, rate))
    return Clip(found.width, found.height, rate, found.times, found.length, found.pictures, notes=notes)


def _times(container: av.container.InputContainer, stream: av.VideoStream) -> tuple[list[int], int, bool]:
    """When each frame comes, in the stream's time base, when the last one ends, and whether the file says so.

    Where it keeps no such times (raw streams, AVI) its frames are equally far apart.
    """
    found = [(packet.pts, packet.duration or 0) for packet in container.demux(stream) if _shown(packet)]
    if container.format.name == "avi" or any(pts is None for pts, _ in found):
        step = max(1, round(1 / (stream.guessed_rate or stream.average_rate or Fraction(25)) / stream.time_base))
        return [n * step for n in range(len(found))], len(found) * step, False
    return sorted({pts for pts, _ in found}), max((pts + duration for pts, duration in found), default=0), True


def _shown(packet: av.Packet) -> bool:
    return packet.size > 0 and not packet.is_discard


def _rate(times: Sequence[float], guessed: Fraction | None, average: Fraction | None) -> Fraction:
    """The nominal frame rate where it agrees with the times, else their average."""
    if len(times) < 2:
        return Fraction(guessed or average or 25)
    measured = (len(times) - 1) / times[-1]
    for nominal in (guessed, average):
        if nominal and abs(nominal / measured - 1) < 0.01:
            return Fraction(nominal)
    return Fraction(measured).limit_denominator(1001) or Fraction(1, round(1 / measured))  # frames minutes apart


def _changing(times: Sequence[float], rate: Fraction) -> tuple[str, ...]:
    off = max(abs(time - n / rate) for n, time in enumerate(times))
    return (f"its frame rate changes ({float(rate):.4g} on average)",) if off > 0.6 / rate else ()


def _sound_stream(container: av.container.InputContainer) -> av.AudioStream | None:
    """The first sound that can be decoded."""
    return next((stream for stream in container.streams.audio if stream.codec_context is not None), None)


def as_opened(source: Source) -> str | io.BytesIO:
    """What PyAV opens, at its beginning."""
    if isinstance(source, io.BytesIO):
        source.seek(0)
        return source
    return str(source)


def suffix(source: Source) -> str:
    """The file name's suffix that fits what is in a file."""
    if not isinstance(source, io.BytesIO):
        return Path(source).suffix
    with av.open(as_opened(source)) as container:
        return {"matroska": ".mkv", "mov": ".mp4"}.get(name := container.format.name.split(",")[0], f".{name}")


@dataclass
class _Film:
    """A video file that is opened anew for each reading."""

    source: Source
    name: str
    most_pixels: int
    pts: list[int] = field(default_factory=list)
    width: int = 0
    height: int = 0
    turns: int = 0
    convert_to: str = "rgb24"
    transfer: int = 0
    primaries: int = 0
    timed: bool = True
    time_base: Fraction = Fraction(1)
    aspect: Fraction = Fraction(1)
    notes: tuple[str, ...] = ()

    @contextmanager
    def opened(self) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        """The container and its video stream. FFmpeg's errors become sentences."""
        try:
            with av.open(as_opened(self.source)) as container:
                yield container, self._stream(container)
        except (av.error.FFmpegError, OSError) as error:
            why = error.strerror or error  # its text has the whole path in it
            raise MediaError(f"{self.name} cannot be read as a video: {why}. {self._why()}") from error

    def _why(self) -> str:
        if not isinstance(self.source, io.BytesIO) and not Path(self.source).is_file():
            return "There is no such file."
        size = len(self.source.getbuffer()) if isinstance(self.source, io.BytesIO) else Path(self.source).stat().st_size
        return "It is empty (0 bytes)." if size == 0 else f"It is no video, or damaged or incomplete. {DAMAGED}"

    def _stream(self, container: av.container.InputContainer) -> av.VideoStream:
        stream = next((stream for stream in container.streams.video if not _is_cover(stream)), None)
        if stream is None:
            what = "sound, but no picture" if container.streams.audio else "neither picture nor sound"
            raise MediaError(f"{self.name} has {what}. Expected: a video.")
        if stream.codec_context is None:
            raise MediaError(f"{self.name} has a codec that this build of PyAV cannot decode. Convert it to H.264.")
        codec = stream.codec_context
        self._check_size(codec.width, codec.height)
        self.transfer, self.primaries = int(codec.color_trc), int(codec.color_primaries)
        self.time_base, self.aspect = stream.time_base, stream.sample_aspect_ratio or Fraction(1)
        return stream

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self.most_pixels:
            raise MediaError(f"{self.name} has {width} x {height} pixels; up to {self.most_pixels} are taken.")

    def look_at_the_first(self) -> None:
        """Learn size, rotation, colours and depth from the first frame."""
        frame = next(self._decoded(0), None)
        if frame is None:
            raise MediaError(f"{self.name} has no frame that could be decoded. {DAMAGED}")
        parts = frame.format.components
        alpha, deep = any(part.is_alpha for part in parts), max(part.bits for part in parts) > 8
        self.convert_to = {(0, 0): "rgb24", (1, 0): "rgba", (0, 1): "rgb48le", (1, 1): "rgba64le"}[alpha, deep]
        self.timed = self.timed and frame.pts is not None
        self.width, self.height = round(frame.width * self.aspect), frame.height
        self._check_size(self.width, self.height)
        self.turns = round(frame.rotation / 90) % 4
        self.converter = ToRgb(self.width, self.height, self.convert_to)
        if self.turns % 2:
            self.width, self.height = self.height, self.width
        clear = alpha and self.converter(frame).to_ndarray()[..., 3].min() < (65535 if deep else 255)
        self.notes = (
            *(["its transparent parts are black"] if clear else []),
            *(["HDR, brought to BT.709"] if colour.is_hdr(self.transfer) else []),
        )

    def _decoded(self, first: int) -> Iterator[av.VideoFrame]:
        """Decoded frames; the first is the `first` or one before it."""
        for seek in (True, False) if first and self.timed else (False,):
            with self.opened() as (container, stream):
                stream.thread_type = "AUTO"
                if seek:
                    container.seek(self.pts[first], stream=stream)
                for number, frame in enumerate(container.decode(stream)):
                    if seek and number == 0 and (frame.pts is None or frame.pts > self.pts[first]):
                        break  # this container cannot seek
                    yield frame
                else:
                    return

    def pictures(self, first: int, last: int, by: int = 1) -> Iterator[torch.Tensor]:
        """Frames `first` to `last`, [H, W, 3] in 0..1; one that is missing is the one before it once more.

        by: what their sides are divided by while they are decoded.
        """
        sides = self.converter.width // by, self.converter.height // by
        converter = self.converter if by == 1 else ToRgb(*sides, self.convert_to)
        due, picture = first, None
        for number, frame in enumerate(self._decoded(first)):
            at = bisect_right(self.pts, frame.pts) - 1 if self.timed and frame.pts is not None else number
            while picture is not None and due < min(at, last + 1):
                yield picture
                due += 1
            if due > last:
                return
            if at >= first:
                picture = self._picture(frame, converter)
        if picture is None or last - due > MISSING:
            raise MediaError(
                f"{self.name} ends early: it should have {len(self.pts)} frames, but after frame {due} "
                f"({float((self.pts[due] - self.pts[0]) * self.time_base):.2f} s) nothing can be decoded. {DAMAGED}"
            )
        yield from (picture for _ in range(last + 1 - due))

    def _picture(self, frame: av.VideoFrame, converter: ToRgb) -> torch.Tensor:
        array = converter(frame).to_ndarray()
        pixels = torch.from_numpy(array.astype(np.float32)) / (255 if array.dtype == np.uint8 else 65535)
        if colour.needs_mapping(self.transfer, self.primaries):
            pixels[..., :3] = colour.to_bt709(pixels[..., :3], self.transfer, self.primaries)
        if pixels.shape[-1] == 4:
            pixels = pixels[..., :3] * pixels[..., 3:]
        return torch.rot90(pixels, self.turns) if self.turns else pixels

    def sound(self, start: float, end: float) -> Sound | None:
        """The sound of these seconds; silence where it begins later than the picture."""
        with self.opened() as (container, _):
            stream = _sound_stream(container)
            rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
        channels = channels if channels in LAYOUTS else 2
        origin = float(self.pts[0] * self.time_base)
        return Sound(rate, channels, lambda: self._heard(rate, channels, origin + start, origin + end))

    def _heard(self, rate: int, channels: int, start: float, end: float) -> Iterator[np.ndarray]:
        """Samples from `start` to `end`, in seconds of the file."""
        plain = av.AudioResampler(format=SAMPLES, layout=LAYOUTS[channels], rate=rate)
        due, last = round(start * rate), round(end * rate)
        with self.opened() as (container, _):
            stream = _sound_stream(container)
            for frame in container.decode(stream):
                at = round(frame.time * rate) if frame.time is not None else due
                for block in map(block_of, plain.resample(frame)):
                    if at > due:
                        yield np.zeros((channels, min(at, last) - due), np.float32)
                        due = min(at, last)
                    heard = block[:, max(0, due - at) : max(0, last - at)]
                    at += block.shape[1]
                    if heard.shape[1]:
                        yield heard
                        due += heard.shape[1]
                if due >= last:
                    return


MISSING = 2
"""How many frames at the end may be missing without a word: some codecs keep frames that are never shown."""


def _is_cover(stream: av.VideoStream) -> bool:
    """Whether it is the still picture of a piece of music."""
    return bool(stream.disposition.value & 0x400)  # AV_DISPOSITION_ATTACHED_PIC
