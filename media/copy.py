"""A clip saved as it is: its streams in a new file with the graph beside them, checked against the source."""

from __future__ import annotations

import io
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import av

from .formats import TAGS_OPTIONS
from .read import Source, as_opened
from .unfinished import NO_ROOM, Numbered, Written, unfinished

CONTAINERS = {
    ".mkv": "matroska",
    ".webm": "webm",
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".gif": "gif",
    ".ts": "mpegts",
    ".3gp": "3gp",
}
TICK = 0.002
"""Seconds by which times may differ: Matroska counts milliseconds."""
BYTE_FOR_BYTE = "copied byte for byte, without the graph: in a new file its streams would not stay as they are"


def copy(source: Source, name: Path | Numbered, tags: Mapping[str, str]) -> Written:
    """Save a video file as it is, with these tags beside those it has.

    The streams are put into a new file of the same kind, and the file is read again: where the times, sides, colours
    or bytes of a stream differ from the source's, the source is copied byte for byte instead, and a note says so.
    """
    with unfinished(name, "a copy of its streams") as made:
        exact = _remuxed(source, made.part, made.path.suffix.lower(), tags)
        if not exact:
            _bytes_of(source, made.part)
    return Written(made.path, () if exact else (BYTE_FOR_BYTE,))


def _remuxed(source: Source, part: Path, suffix: str, tags: Mapping[str, str]) -> bool:
    """Write the source's streams to `part`; whether they are the same there."""
    try:
        _remux(source, part, suffix, tags)
        return _same(source, part)
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        return False


def _bytes_of(source: Source, part: Path) -> None:
    if isinstance(source, io.BytesIO):
        part.write_bytes(source.getbuffer())
    else:
        shutil.copyfile(source, part)


def _remux(source: Source, part: Path, suffix: str, tags: Mapping[str, str]) -> None:
    with av.open(as_opened(source)) as given:
        container = CONTAINERS.get(suffix, given.format.name.split(",")[0])
        options = TAGS_OPTIONS if container in ("mp4", "mov") else {}
        with av.open(str(part), "w", format=container, options=options) as output:
            output.metadata.update({**given.metadata, **tags})
            copies = {stream: output.add_stream_from_template(stream, opaque=True) for stream in _kept(given)}
            for packet in given.demux(*copies):
                if packet.size:  # only the last, which ends a stream, has none; Matroska's first have no dts
                    packet.stream = copies[packet.stream]
                    output.mux(packet)


def _kept(container: av.container.InputContainer) -> list[av.stream.Stream]:
    """The streams that are copied: pictures, sound and subtitles of codecs that are known."""
    streams = container.streams
    known = [stream for stream in (*streams.video, *streams.audio) if stream.codec_context is not None]
    return [*known, *streams.subtitles]


@dataclass(frozen=True)
class _Stream:
    """What must be the same in a copy: what a stream is, its bytes, and when each packet is seen or heard."""

    about: tuple
    check: int
    times: list[float]

    def same_as(self, other: _Stream) -> bool:
        if (self.about, self.check, len(self.times)) != (other.about, other.check, len(other.times)):
            return False
        return all(abs(one - two) <= TICK for one, two in zip(self.times, other.times, strict=True))


def _same(source: Source, copy: Path) -> bool:
    given, made = _streams_of(source), _streams_of(copy)
    streams = len(given) == len(made) and all(one.same_as(two) for one, two in zip(given, made, strict=True))
    return streams and _rotation(source) == _rotation(copy)


def _rotation(source: Source) -> int | None:
    """Degrees by which the picture is turned when it is shown: only a decoded frame tells."""
    with av.open(as_opened(source)) as container:
        return next((frame.rotation for frame in container.decode(video=0)), None)


def _streams_of(source: Source) -> list[_Stream]:
    """The streams of a file; times count from its first picture on, so that sound in step stays in step."""
    with av.open(as_opened(source)) as container:
        streams = _kept(container)
        checks, times = dict.fromkeys(streams, 0), {stream: [] for stream in streams}
        for packet in container.demux(*streams):
            if packet.size:
                checks[packet.stream] = zlib.crc32(packet, checks[packet.stream])
                if not packet.is_discard:
                    times[packet.stream].append(float((packet.pts or 0) * packet.time_base))
        begin = min((time for stream in container.streams.video for time in times.get(stream, ())), default=0.0)
        return [
            _Stream(_about(stream), checks[stream], sorted(time - begin for time in times[stream]))
            for stream in streams
        ]


def _about(stream: av.stream.Stream) -> tuple:
    """What a player has to know of a stream beside its packets."""
    about = (stream.type, stream.disposition.value)
    if not isinstance(stream, av.VideoStream):
        return about
    codec = stream.codec_context
    colours = codec.color_primaries, codec.color_trc, codec.colorspace, codec.color_range
    return *about, codec.name, stream.width, stream.height, stream.sample_aspect_ratio or 1, *map(int, colours)
