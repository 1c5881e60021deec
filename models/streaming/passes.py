"""Clips of any length through an autoencoder in constant memory: piece by piece in time, tile by tile in space.

An autoencoder's `decoding` and `encoding` begin a pass over a clip, which remembers what later pieces need of earlier
ones, so cutting a clip into pieces changes nothing. Tiles do: one does not see past its edge, and neighbours are
blended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from .spool import Spool

Step = Callable[[torch.Tensor, bool], torch.Tensor]
Tick = Callable[[float], None]
BLENDED = 4
"""Frames of tiles that are put together at once."""


@dataclass(frozen=True)
class CodingPass:
    """One clip on its way through half an autoencoder.

    lengths: how many frames each piece must have. step(piece [B, C, t, H, W], whether it is the last) -> what is
    finished with it, [B, C', t', H', W']; t' may be 0 as long as more is to come.
    """

    lengths: Sequence[int]
    step: Step


def pieces(first: int, following: int, count: int) -> list[int]:
    """Lengths that make up `count`: `first`, then `following` each; the last may be shorter."""
    lengths = [min(first, count)]
    while (left := count - sum(lengths)) > 0:
        lengths.append(min(following, left))
    return lengths


def decode(
    autoencoder: Any,
    latents: torch.Tensor,
    tile: int | None = None,
    tick: Tick = lambda share: None,
    folder: str | None = None,
) -> Iterator[torch.Tensor]:
    """Latents [B, C, T, h, w] as a network sees them -> pixels [B, 3, f, H, W] in about -1..1, some frames at a time.

    tile: side in pixels of the squares that larger pictures are decoded in. tick, folder: see `run`.
    """
    raw, spatial = autoencoder.denormalise(latents), autoencoder.grid.spatial
    small = tile and tile // spatial
    cut = Cut(tuple(raw.shape[3:]), small, small and small * spatial)

    def start() -> CodingPass:
        return autoencoder.decoding(raw.shape[2])

    yield from run(start, raw.split(list(start().lengths), dim=2), cut, tick, folder)


def encode(
    autoencoder: Any,
    frames: Iterable[torch.Tensor],
    count: int,
    size: tuple[int, int],
    tile: int | None = None,
    tick: Tick = lambda share: None,
    folder: str | None = None,
) -> torch.Tensor:
    """Pixels -> latents [B, C, T, h, w] as a network sees them.

    frames: [B, 3, f, H, W] in -1..1, any number at a time, `count` (a legal number) in all; size: their (H, W).
    """

    def start() -> CodingPass:
        return autoencoder.encoding(count)

    cut = Cut(size, tile, tile and tile // autoencoder.grid.spatial)
    made = list(run(start, rechunked(frames, start().lengths), cut, tick, folder))
    return autoencoder.normalise(torch.cat(made, dim=2))


def run(
    start: Callable[[], CodingPass], clip: Iterable[torch.Tensor], cut: Cut, tick: Tick, folder: str | None
) -> Iterator[torch.Tensor]:
    """The pieces of a clip through a pass, as they are finished.

    In tiles, each goes through the whole clip before the next one begins, so that what a pass remembers is there for
    one of them only; what is made waits in a temporary file, and comes in main memory. tick: told after each step what
    share of the work it was, and may raise to end it. folder: where temporary files are made.
    """
    if cut.whole:
        yield from _steps(start(), clip, tick)
        return
    with ExitStack() as files:
        given, count = files.enter_context(Spool(folder)), len(cut.corners)
        for piece in clip:
            given.add(piece)
            device = piece.device
        tiles = [files.enter_context(Spool(folder)) for _ in cut.corners]
        for corner, tile in zip(cut.corners, tiles, strict=True):
            parts = (cut.part(piece, corner).to(device) for piece in given)
            for made in _steps(start(), parts, lambda share: tick(share / count)):
                for few in made.split(BLENDED, dim=2):
                    tile.add(few)
        yield from (cut.blended(parts) for parts in zip(*tiles, strict=True))


def _steps(begun: CodingPass, clip: Iterable[torch.Tensor], tick: Tick) -> Iterator[torch.Tensor]:
    last, frames = len(begun.lengths) - 1, sum(begun.lengths)
    for number, piece in enumerate(clip):
        made = begun.step(piece, number == last)
        if made.shape[2]:
            yield made
        tick(begun.lengths[number] / frames)


def rechunked(chunks: Iterable[torch.Tensor], lengths: Sequence[int]) -> Iterator[torch.Tensor]:
    """Chunks [B, C, f, H, W] of any length -> the same frames in pieces of these lengths.

    Raises ValueError when there are fewer frames than that; what is too many is left out.
    """
    source, waiting, found = iter(chunks), [], 0
    for length in lengths:
        while found < length:
            chunk = next(source, None)
            if chunk is None:
                raise ValueError(f"The clip ended early: {length} more frames were expected, there are {found}.")
            waiting.append(chunk)
            found += chunk.shape[2]
        joined = torch.cat(waiting, dim=2) if len(waiting) > 1 else waiting[0]
        yield joined[:, :, :length]
        waiting, found = [joined[:, :, length:]], found - length


@dataclass(frozen=True)
class Cut:
    """A picture of this (height, width) cut into overlapping squares of `tile`, whose results are `made` wide.

    They begin every 3/4 of a tile, until one reaches the end. tile None: not cut.
    """

    size: tuple[int, int]
    tile: int | None = None
    made: int | None = None

    @property
    def whole(self) -> bool:
        return self.tile is None or max(self.size) <= self.tile

    @property
    def corners(self) -> list[tuple[int, int]]:
        """Top and left of each tile, row by row."""
        blend = self.tile // 4
        tops, lefts = (range(0, max(side - blend, 1), self.tile - blend) for side in self.size)
        return [(top, left) for top in tops for left in lefts]

    def part(self, x: torch.Tensor, corner: tuple[int, int]) -> torch.Tensor:
        top, left = corner
        return x[..., top : top + self.tile, left : left + self.tile]

    def blended(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """The results of all tiles [B, C, T, h, w] as one picture; they are changed.

        Over the last quarter of a tile's result the next one is faded in, first the one below, then the one to the
        right, each time over what is blended already.
        """
        blend, columns = self.made // 4, len({left for _, left in self.corners})
        rows = [parts[first : first + columns] for first in range(0, len(parts), columns)]
        for number, row in enumerate(rows):
            for column, part in enumerate(row):
                if number:
                    fade_in(rows[number - 1][column], part, blend, dim=3)
                if column:
                    fade_in(row[column - 1], part, blend, dim=4)
        kept = [side_by_side(row, self.made - blend, dim=4) for row in rows]
        return side_by_side(kept, self.made - blend, dim=3)


def side_by_side(parts: Sequence[torch.Tensor], keep: int, dim: int) -> torch.Tensor:
    """The beginnings of all parts along `dim`, and the last one whole."""
    *others, last = parts
    return torch.cat([*(part.narrow(dim, 0, keep) for part in others), last], dim=dim)


def fade_in(before: torch.Tensor, made: torch.Tensor, blend: int, dim: int) -> None:
    """Mix the end of the tile `before` into the beginning of its neighbour `made`, in place, along `dim`."""
    count = min(before.shape[dim], made.shape[dim], blend)
    shape = [-1 if n == dim else 1 for n in range(made.ndim)]
    weight = (torch.arange(count, dtype=made.dtype, device=made.device) / count).view(shape)
    beginning = made.narrow(dim, 0, count)
    beginning.copy_(before.narrow(dim, before.shape[dim] - count, count).lerp(beginning, weight))
