"""Clips of any length through an autoencoder in constant memory: piece by piece in time, tile by tile in space.

An autoencoder's `decoding` and `encoding` begin a pass over a clip, which remembers what later pieces need of earlier
ones, so cutting a clip into pieces changes nothing. Tiles do: one does not see past its edge, and neighbours are
blended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Step = Callable[[torch.Tensor, bool], torch.Tensor]


@dataclass(frozen=True)
class Pass:
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


def decode(autoencoder: Any, latents: torch.Tensor, tile: int | None = None) -> Iterator[torch.Tensor]:
    """Latents [B, C, T, h, w] as a network sees them -> pixels [B, 3, f, H, W] in about -1..1, some frames at a time.

    tile: side in pixels of the squares that larger pictures are decoded in.
    """
    raw, spatial = autoencoder.raw(latents), autoencoder.grid.spatial
    small = tile and tile // spatial
    passes = begin(lambda: autoencoder.decoding(raw.shape[2]), raw.shape[3:], small)
    yield from run(passes, raw.split(list(passes[0].lengths), dim=2), small, small and small * spatial)


def encode(
    autoencoder: Any, frames: Iterable[torch.Tensor], count: int, size: tuple[int, int], tile: int | None = None
) -> torch.Tensor:
    """Pixels -> latents [B, C, T, h, w] as a network sees them.

    frames: [B, 3, f, H, W] in -1..1, any number at a time, `count` (a legal number) in all; size: their (H, W).
    """
    spatial = autoencoder.grid.spatial
    passes = begin(lambda: autoencoder.encoding(count), size, tile)
    made = list(run(passes, recut(frames, passes[0].lengths), tile, tile and tile // spatial))
    return autoencoder.normal(torch.cat(made, dim=2))


def begin(start: Callable[[], Pass], size: Sequence[int], tile: int | None) -> list[Pass]:
    """A pass for each tile of a picture of this (height, width)."""
    tops, lefts = corners(*size, tile)
    return [start() for _ in range(len(tops) * len(lefts))]


def run(
    passes: Sequence[Pass], clip: Iterable[torch.Tensor], tile: int | None, tile_out: int | None
) -> Iterator[torch.Tensor]:
    """The pieces of a clip through all passes, tile by tile, as they are finished."""
    last = len(passes[0].lengths) - 1
    for number, piece in enumerate(clip):
        turns = iter(passes)
        made = in_tiles(lambda part: next(turns).step(part, number == last), piece, tile, tile_out)  # noqa: B023
        if made.shape[2]:
            yield made


def recut(chunks: Iterable[torch.Tensor], lengths: Sequence[int]) -> Iterator[torch.Tensor]:
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


def corners(height: int, width: int, tile: int | None) -> tuple[range, range]:
    """Where tiles begin, top and left: every 3/4 of a tile, as Pyramid Flow's authors do it, unless one is enough."""
    if tile is None or max(height, width) <= tile:
        return range(1), range(1)
    return range(0, height, tile * 3 // 4), range(0, width, tile * 3 // 4)


def in_tiles(
    made_of: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, tile: int | None, tile_out: int | None
) -> torch.Tensor:
    """`made_of` each overlapping tile of x [B, C, T, H, W], blended: tiles are `tile` wide, their results `tile_out`.

    Over the last quarter of a tile's result the next one is faded in, first the one below, then the one to the right,
    each time over what is blended already.
    """
    rows, above = [], []
    tops, lefts = corners(*x.shape[3:], tile)
    if len(tops) == len(lefts) == 1:
        return made_of(x)
    blend = tile_out // 4
    keep = tile_out - blend
    for top in tops:
        row = []
        for column, left in enumerate(lefts):
            made = made_of(x[..., top : top + tile, left : left + tile])
            if above:
                fade_in(above[column], made, blend, dim=3)
            if row:
                fade_in(row[-1], made, blend, dim=4)
            row.append(made)
        rows.append(torch.cat([made[..., :keep, :keep] for made in row], dim=4))
        above = row
    return torch.cat(rows, dim=3)


def fade_in(before: torch.Tensor, made: torch.Tensor, blend: int, dim: int) -> None:
    """Mix the end of the tile `before` into the beginning of its neighbour `made`, in place, along `dim`."""
    count = min(before.shape[dim], made.shape[dim], blend)
    shape = [-1 if n == dim else 1 for n in range(made.ndim)]
    weight = (torch.arange(count, dtype=made.dtype, device=made.device) / count).view(shape)
    beginning = made.narrow(dim, 0, count)
    beginning.copy_(before.narrow(dim, before.shape[dim] - count, count).lerp(beginning, weight))
