"""Converts between RGB and a file's pixel format with FFmpeg's filters. Matrix and range are always explicit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import av

ACCURATE = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"

Converter = Callable[[av.VideoFrame | None], Iterator[av.VideoFrame]]
"""Takes a frame and yields the converted frames that are ready. None flushes the rest."""


class Filters:
    """A chain of FFmpeg filters for frames of one size and pixel format. Each frame in gives one frame out."""

    def __init__(self, like: av.VideoFrame, *steps: tuple[str, str]) -> None:
        self.graph = av.filter.Graph()
        self.source = last = _source(self.graph, like)
        for name, arguments in steps:
            step = self.graph.add(name, arguments)
            last.link_to(step)
            last = step
        self.sink = self.graph.add("buffersink")
        last.link_to(self.sink)
        self.graph.configure()

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        self.source.push(frame)
        return self.sink.pull()


def _source(graph: av.filter.Graph, like: av.VideoFrame) -> av.filter.context.FilterContext:
    size = f"video_size={like.width}x{like.height}"
    return graph.add("buffer", f"{size}:pix_fmt={like.format.name}:time_base={like.time_base or Fraction(1, 1000)}")


def to_pixels(like: av.VideoFrame, pixels: str) -> Converter:
    """RGB -> an encoder's pixel format. YUV is BT.709 in limited range."""
    if pixels == "pal8":
        return _to_palette(like)
    levels = "tv" if pixels.startswith("yuv") else "pc"
    filters = Filters(
        like, ("scale", f"out_color_matrix=bt709:out_range={levels}:{ACCURATE}"), ("format", f"pix_fmts={pixels}")
    )

    def convert(frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        if frame is not None:
            yield filters(frame)

    return convert


def _to_palette(like: av.VideoFrame) -> Converter:
    """RGB -> 256 colours. Each frame gets its own palette, so that only a few frames wait in memory."""
    graph = av.filter.Graph()
    source, split, sink = _source(graph, like), graph.add("split"), graph.add("buffersink")
    choose = graph.add("palettegen", "stats_mode=single")
    use = graph.add("paletteuse", "new=1:dither=sierra2_4a")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(choose, 1, 0)
    choose.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()

    waiting = 0

    def convert(frame: av.VideoFrame | None, graph: av.filter.Graph = graph) -> Iterator[av.VideoFrame]:
        nonlocal waiting
        source.push(frame)
        waiting += frame is not None
        while waiting:  # counted, because paletteuse gives its last frame twice at the end
            try:
                converted = sink.pull()
            except (BlockingIOError, EOFError):  # the next frame is needed first
                return
            waiting -= 1
            yield converted

    return convert


class ToRgb:
    """A file's frames -> RGB in one size. Size, format, matrix and range may differ from frame to frame."""

    def __init__(self, width: int, height: int, pixels: str) -> None:
        self.width, self.height, self.pixels = width, height, pixels
        self.known: dict[tuple, Filters] = {}

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        size = frame.width, frame.height, frame.format.name
        key = (*size, frame.colorspace, frame.color_range)
        if key not in self.known:
            self.known = {key: Filters(frame, ("scale", self._scale(frame)), ("format", f"pix_fmts={self.pixels}"))}
        return self.known[key](frame)

    def _scale(self, frame: av.VideoFrame) -> str:
        size = f"w={self.width}:h={self.height}:out_range=pc:{ACCURATE}"
        if frame.format.is_rgb or frame.format.has_palette:
            return size
        return f"{size}:in_color_matrix={matrix(frame)}:in_range={'pc' if frame.color_range == FULL else 'tv'}"


FULL = 2
"""FFmpeg's number for the range 0..255."""
MATRICES = {1: "bt709", 4: "fcc", 5: "smpte170m", 6: "smpte170m", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
"""ITU-T H.273's number of a matrix -> the scale filter's name for it."""
SD_LINES = 576


def matrix(frame: av.VideoFrame) -> str:
    """The YUV matrix of a frame. Without a tag, the usual one for its size: BT.601 up to 576 lines, BT.709 above."""
    customary = "smpte170m" if frame.height <= SD_LINES else "bt709"
    return MATRICES.get(int(frame.colorspace), customary)
