"""Encode and decode clips of any length in constant memory: piece by piece in time, tile by tile in space.

An autoencoder's `decoding` and `encoding` start a pass over a clip. The pass keeps the frames that later pieces need
from earlier ones, so the pieces give exactly the result of the whole clip. Tiles do not: a tile lacks what lies outside
its edge, and neighbouring tiles are blended.
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
"""How many frames of all tiles are blended at once."""


@dataclass(frozen=True)
class CodingPass:
    """One clip's pass through an encoder or a decoder.

    lengths: the number of frames of each piece. step(piece [B, C, t, H, W], is_last) -> the frames that this piece
    completes, [B, C', t', H', W']. t' may be 0 for any piece but the last.
    """

    lengths: Sequence[int]
    step: Step


def pieces(first: int, following: int, count: int) -> list[int]:
    """Split `count` frames into lengths: `first`, then `following` each; the last one may be shorter."""
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
    """Normalised latents [B, C, T, h, w] -> pixels [B, 3, f, H, W] in about -1..1, some frames at a time.

    tile: side in pixels of the square tiles for larger pictures; None: no tiles. tick, folder: see `run`.
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
    """Pixels -> normalised latents [B, C, T, h, w].

    frames: chunks [B, 3, f, H, W] in -1..1 with any number of frames, `count` (a legal number) in all. size: their
    (H, W). tile, tick, folder: as in `decode`.
    """

    def start() -> CodingPass:
        return autoencoder.encoding(count)

    cut = Cut(size, tile, tile and tile // autoencoder.grid.spatial)
    latents = list(run(start, rechunked(frames, start().lengths), cut, tick, folder))
    return autoencoder.normalise(torch.cat(latents, dim=2))


def run(
    start: Callable[[], CodingPass], clip: Iterable[torch.Tensor], cut: Cut, tick: Tick, folder: str | None
) -> Iterator[torch.Tensor]:
    """Run the pieces of a clip through a pass and yield the frames as they are completed.

    With tiles, each tile goes through the whole clip before the next one starts, so only one tile's pass is in memory.
    The tiles' results wait in temporary files and are returned in main memory. tick(share): called after each step with
    its share of the work (0..1); it may raise to cancel. folder: where to create temporary files.
    """
    if cut.whole:
        yield from _steps(start(), clip, tick)
        return
    with ExitStack() as files:
        inputs, count = files.enter_context(Spool(folder)), len(cut.corners)
        for piece in clip:
            inputs.add(piece)
            device = piece.device
        tiles = [files.enter_context(Spool(folder)) for _ in cut.corners]
        for corner, tile in zip(cut.corners, tiles, strict=True):
            parts = (cut.part(piece, corner).to(device) for piece in inputs)
            for output in _steps(start(), parts, lambda share: tick(share / count)):
                for chunk in output.split(BLENDED, dim=2):
                    tile.add(chunk)
        yield from (cut.blended(parts) for parts in zip(*tiles, strict=True))


def _steps(coding: CodingPass, clip: Iterable[torch.Tensor], tick: Tick) -> Iterator[torch.Tensor]:
    last, frames = len(coding.lengths) - 1, sum(coding.lengths)
    for number, piece in enumerate(clip):
        output = coding.step(piece, number == last)
        if output.shape[2]:
            yield output
        tick(coding.lengths[number] / frames)


def rechunked(chunks: Iterable[torch.Tensor], lengths: Sequence[int]) -> Iterator[torch.Tensor]:
    """Chunks [B, C, f, H, W] of any length -> the same frames in pieces of these lengths.

    Surplus frames are dropped. Raises ValueError if there are too few.
    """
    source, waiting, available = iter(chunks), [], 0
    for length in lengths:
        while available < length:
            chunk = next(source, None)
            if chunk is None:
                raise ValueError(f"The clip ended early: {length} more frames were expected, there are {available}.")
            waiting.append(chunk)
            available += chunk.shape[2]
        joined = torch.cat(waiting, dim=2) if len(waiting) > 1 else waiting[0]
        yield joined[:, :, :length]
        waiting, available = [joined[:, :, length:]], available - length


@dataclass(frozen=True)
class Cut:
    """How a picture of `size` (height, width) is cut into overlapping square tiles.

    tile: the side of a tile; None: the picture is not cut. output: the side of a tile's result. Tiles begin every 3/4
    of a tile, until one reaches the end.
    """

    size: tuple[int, int]
    tile: int | None = None
    output: int | None = None

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
        """Join the results of all tiles [B, C, T, h, w] into one picture. This changes `parts`.

        The last quarter of each tile fades into the next tile: first into the one below, then, with that result, into
        the one to the right.
        """
        blend, columns = self.output // 4, len({left for _, left in self.corners})
        rows = [parts[first : first + columns] for first in range(0, len(parts), columns)]
        for number, row in enumerate(rows):
            for column, part in enumerate(row):
                if number:
                    fade_in(rows[number - 1][column], part, blend, dim=3)
                if column:
                    fade_in(row[column - 1], part, blend, dim=4)
        kept = [side_by_side(row, self.output - blend, dim=4) for row in rows]
        return side_by_side(kept, self.output - blend, dim=3)


def side_by_side(parts: Sequence[torch.Tensor], keep: int, dim: int) -> torch.Tensor:
    """Concatenate the first `keep` of each part along `dim`, and the whole of the last part."""
    *others, last = parts
    return torch.cat([*(part.narrow(dim, 0, keep) for part in others), last], dim=dim)


def fade_in(before: torch.Tensor, tile: torch.Tensor, blend: int, dim: int) -> None:
    """Mix the end of the tile `before` into the beginning of its neighbour `tile`, in place, along `dim`."""
    count = min(before.shape[dim], tile.shape[dim], blend)
    shape = [-1 if n == dim else 1 for n in range(tile.ndim)]
    weight = (torch.arange(count, dtype=tile.dtype, device=tile.device) / count).view(shape)
    beginning = tile.narrow(dim, 0, count)
    beginning.copy_(before.narrow(dim, before.shape[dim] - count, count).lerp(beginning, weight))
