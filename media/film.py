"""A video file opened with PyAV: its frame times, its frames from any number on, its sound."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from . import MediaError, colour
from .convert import ToRgb
from .sound import LAYOUTS, SAMPLES, Sound, block_of

Source = str | Path | io.BytesIO

DAMAGED = "Play it to check, and convert or download it again."
MISSING = 2
"""Frames that may be missing at the end without an error, because some codecs hold frames that are never shown."""


def as_opened(source: Source) -> str | io.BytesIO:
    """The source as `av.open` takes it; a buffer is rewound."""
    if isinstance(source, io.BytesIO):
        source.seek(0)
        return source
    return str(source)


def suffix(source: Source) -> str:
    """A file's suffix; for a buffer, the one that fits its container."""
    if not isinstance(source, io.BytesIO):
        return Path(source).suffix
    with av.open(as_opened(source)) as container:
        return {"matroska": ".mkv", "mov": ".mp4"}.get(name := container.format.name.split(",")[0], f".{name}")


@dataclass
class Film:
    """A video file, opened afresh for each read. Call `scan` first: it fills all other fields.

    pts, end: when each frame begins and the last one ends, in `time_base`. timed: whether the file stores these times.
    rates: the stream's guessed and average frame rates. turns: quarter turns to upright.
    """

    source: Source
    name: str
    most_pixels: int
    pts: list[int] = field(default_factory=list)
    end: int = 0
    rates: tuple[Fraction | None, Fraction | None] = (None, None)
    has_sound: bool = False
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

    def scan(self) -> None:
        """Read the time of every packet, without decoding, and the picture's properties from the first frame.

        Raises MediaError if there is no frame, or none can be decoded.
        """
        with self._opened() as (container, stream):
            self.pts, self.end, self.timed = _times(container, stream)
            self.rates = (stream.guessed_rate, stream.average_rate)
            self.has_sound = bool(_sound_stream(container))
        if not self.pts:
            raise MediaError(f"{self.name} has no frames in it. {DAMAGED}")
        self._look_at_the_first()

    def seconds(self, pts: int) -> float:
        """A time in `time_base` as seconds from the first frame."""
        return float((pts - self.pts[0]) * self.time_base)

    @contextmanager
    def _opened(self) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        """The container and its video stream. FFmpeg's errors become MediaErrors."""
        try:
            with av.open(as_opened(self.source)) as container:
                yield container, self._stream(container)
        except (av.error.FFmpegError, OSError) as error:
            why = error.strerror or error  # str(error) would show the whole path
            raise MediaError(f"{self.name} cannot be read as a video: {why}. {self._why()}") from error

    def _why(self) -> str:
        if not isinstance(self.source, io.BytesIO) and not Path(self.source).is_file():
            return "There is no such file."
        size = len(self.source.getbuffer()) if isinstance(self.source, io.BytesIO) else Path(self.source).stat().st_size
        return "It is empty (0 bytes)." if size == 0 else f"It is not a video, or damaged or incomplete. {DAMAGED}"

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
            raise MediaError(f"{self.name} has {width} x {height} pixels; the limit is {self.most_pixels}.")

    def _look_at_the_first(self) -> None:
        """Read size, rotation, colours and bit depth from the first frame."""
        frame = next(self._decoded(0), None)
        if frame is None:
            raise MediaError(f"{self.name} has no frame that can be decoded. {DAMAGED}")
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
        transparent = alpha and self.converter(frame).to_ndarray()[..., 3].min() < (65535 if deep else 255)
        self.notes = (
            *(["its transparent parts are black"] if transparent else []),
            *(["HDR, converted to BT.709"] if colour.is_hdr(self.transfer) else []),
        )

    def _decoded(self, first: int) -> Iterator[av.VideoFrame]:
        """Decoded frames, beginning with number `first` or one before it."""
        for seek in (True, False) if first and self.timed else (False,):
            with self._opened() as (container, stream):
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
        """Frames `first` to `last`, [H, W, 3] in 0..1. A missing frame repeats the one before it.

        by: the divisor of their sides, applied while they are decoded. Raises MediaError if the file ends early.
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
                f"({self.seconds(self.pts[due]):.2f} s) nothing can be decoded. {DAMAGED}"
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
        """The sound from `start` to `end` seconds; silent before the sound begins."""
        with self._opened() as (container, _):
            stream = _sound_stream(container)
            rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
        channels = channels if channels in LAYOUTS else 2
        origin = float(self.pts[0] * self.time_base)
        return Sound(rate, channels, lambda: self._samples(rate, channels, origin + start, origin + end))

    def _samples(self, rate: int, channels: int, start: float, end: float) -> Iterator[np.ndarray]:
        """Blocks [channels, samples] from `start` to `end` seconds of the file."""
        resampler = av.AudioResampler(format=SAMPLES, layout=LAYOUTS[channels], rate=rate)
        due, last = round(start * rate), round(end * rate)
        with self._opened() as (container, _):
            stream = _sound_stream(container)
            for frame in container.decode(stream):
                at = round(frame.time * rate) if frame.time is not None else due
                for block in map(block_of, resampler.resample(frame)):
                    if at > due:
                        yield np.zeros((channels, min(at, last) - due), np.float32)
                        due = min(at, last)
                    wanted = block[:, max(0, due - at) : max(0, last - at)]
                    at += block.shape[1]
                    if wanted.shape[1]:
                        yield wanted
                        due += wanted.shape[1]
                if due >= last:
                    return


def _is_cover(stream: av.VideoStream) -> bool:
    """Whether a stream is the cover picture of a piece of music."""
    return bool(stream.disposition.value & 0x400)  # AV_DISPOSITION_ATTACHED_PIC


def _times(container: av.container.InputContainer, stream: av.VideoStream) -> tuple[list[int], int, bool]:
    """When each frame begins and the last one ends, in the stream's time base, and whether the file stores the times.

    Raw streams and AVI do not: their frames are evenly spaced.
    """
    packets = [(packet.pts, packet.duration or 0) for packet in container.demux(stream) if _shown(packet)]
    if container.format.name == "avi" or any(pts is None for pts, _ in packets):
        step = max(1, round(1 / (stream.guessed_rate or stream.average_rate or Fraction(25)) / stream.time_base))
        return [n * step for n in range(len(packets))], len(packets) * step, False
    return sorted({pts for pts, _ in packets}), max((pts + duration for pts, duration in packets), default=0), True


def _shown(packet: av.Packet) -> bool:
    return packet.size > 0 and not packet.is_discard


def _sound_stream(container: av.container.InputContainer) -> av.AudioStream | None:
    """The first sound stream that can be decoded; None if there is none."""
    return next((stream for stream in container.streams.audio if stream.codec_context is not None), None)
