"""A text's mask as Python values: a network reads it from the host's memory, so no step waits for the device."""

from __future__ import annotations

from typing import Any

import comfy.conds
import torch

Rows = tuple[tuple[bool, ...], ...]
"""A mask [B, N] as Python values."""


class HostMask(comfy.conds.CONDRegular):
    """Conditioning that stays in the host's memory. ComfyUI moves tensors to the device before it calls a network."""

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
    """A mask [B, N] as Python values. If it is on a device, this waits until the device has finished its work."""
    return tuple(map(tuple, mask.bool().tolist()))


def known_rows(context: torch.Tensor, mask: torch.Tensor | None, rows: Rows | None) -> Rows:
    """Which tokens of a text [B, tokens, width] are prompt. Without a mask, every token is.

    rows: the mask [B, tokens] in the host's memory. If a node has changed the batch, the mask itself is read.
    """
    if mask is None:
        return ((True,) * context.shape[1],) * context.shape[0]
    fits = rows is not None and (len(rows), len(rows[0])) == tuple(mask.shape)
    return rows if fits else rows_of(mask)
