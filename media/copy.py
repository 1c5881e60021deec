"""Saves a clip unchanged: remuxes its streams with the graph as tags, and checks the result against the source."""

from __future__ import annotations

import io
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import av

from .film import Source, as_opened
from .formats import TAGS_OPTIONS
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
"""Seconds by which times may differ, because Matroska counts in milliseconds."""
BYTE_FOR_BYTE = "copied byte for byte, without the graph: remuxing would change its streams"


def copy(source: Source, name: Path | Numbered, tags: Mapping[str, str]) -> Written:
    """Save a video file unchanged, with `tags` added to its own.

    The streams are remuxed into a new file of the same kind, which is then read again. If the times, size, colours or
    bytes of a stream differ from the source's, the source is copied byte for byte instead, and a note says so.
    """
    with unfinished(name, "a copy of its streams") as file:
        exact = _remuxed(source, file.part, file.path.suffix.lower(), tags)
        if not exact:
            _copy_bytes(source, file.part)
    return Written(file.path, () if exact else (BYTE_FOR_BYTE,))


def _remuxed(source: Source, part: Path, suffix: str, tags: Mapping[str, str]) -> bool:
    """Write the source's streams to `part`. Returns whether they are the same there."""
    try:
        _remux(source, part, suffix, tags)
        return _same(source, part)
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        return False


def _copy_bytes(source: Source, part: Path) -> None:
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
                if packet.size:  # not by dts: Matroska's first packets have none. Size 0 marks the end of a stream
                    packet.stream = copies[packet.stream]
                    output.mux(packet)


def _kept(container: av.container.InputContainer) -> list[av.stream.Stream]:
    """The streams to copy: video and sound with a known codec, and subtitles."""
    streams = container.streams
    known = [stream for stream in (*streams.video, *streams.audio) if stream.codec_context is not None]
    return [*known, *streams.subtitles]


@dataclass(frozen=True)
class _Stream:
    """What a copy must keep: the stream's properties, a CRC-32 of its packets, and their presentation times."""

    about: tuple
    check: int
    times: list[float]

    def same_as(self, other: _Stream) -> bool:
        if (self.about, self.check, len(self.times)) != (other.about, other.check, len(other.times)):
            return False
        return all(abs(one - two) <= TICK for one, two in zip(self.times, other.times, strict=True))


def _same(source: Source, copy: Path) -> bool:
    before, after = _streams_of(source), _streams_of(copy)
    same = len(before) == len(after) and all(one.same_as(two) for one, two in zip(before, after, strict=True))
    return same and _rotation(source) == _rotation(copy)


def _rotation(source: Source) -> int | None:
    """Degrees by which a player rotates the picture. PyAV gives them only with a decoded frame."""
    with av.open(as_opened(source)) as container:
        return next((frame.rotation for frame in container.decode(video=0)), None)


def _streams_of(source: Source) -> list[_Stream]:
    """The streams of a file. Times count from its first frame, so that sound in sync stays in sync."""
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
    """A stream's properties that a player needs beside its packets."""
    about = (stream.type, stream.disposition.value)
    if not isinstance(stream, av.VideoStream):
        return about
    codec = stream.codec_context
    colours = codec.color_primaries, codec.color_trc, codec.colorspace, codec.color_range
    return *about, codec.name, stream.width, stream.height, stream.sample_aspect_ratio or 1, *map(int, colours)
