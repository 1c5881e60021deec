"""A mask that a network reads as Python's numbers: the host knows it, so that no step waits for the device."""

from __future__ import annotations

from typing import Any

import comfy.conds
import torch

Rows = tuple[tuple[bool, ...], ...]
"""A mask [B, N] as the host knows it."""


class HostMask(comfy.conds.CONDRegular):
    """Conditioning that stays with the host on its way to a network, where ComfyUI moves tensors to the device."""

    cond: Rows

    def process_cond(self, batch_size: int, **_: Any) -> HostMask:
        return HostMask(tuple(self.cond[row % len(self.cond)] for row in range(batch_size)))

    def can_concat(self, other: HostMask) -> bool:
        return len(self.cond[0]) == len(other.cond[0])

    def concat(self, others: list[HostMask]) -> Rows:
        return sum((other.cond for other in others), self.cond)

    def size(self) -> list[int]:
        return [len(self.cond), len(self.cond[0])]


def rows_of(mask: torch.Tensor) -> Rows:
    """A mask [B, N] as the host knows it; on a device, reading it waits for everything that was asked of it before."""
    return tuple(map(tuple, mask.bool().tolist()))


def known_rows(context: torch.Tensor, mask: torch.Tensor | None, rows: Rows | None) -> Rows:
    """Which tokens of a text [B, tokens, width] are prompt. Without a mask, every token is.

    rows: the mask [B, tokens] as the host knows it. Where a node in between changed the batch, the mask is read.
    """
    if mask is None:
        return ((True,) * context.shape[1],) * context.shape[0]
    fits = rows is not None and (len(rows), len(rows[0])) == tuple(mask.shape)
    return rows if fits else rows_of(mask)
