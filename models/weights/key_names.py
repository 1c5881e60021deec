"""Convert key names and row order from one published layout to another."""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch


def exchange(one: torch.Tensor, other: torch.Tensor) -> None:
    """Swap two parts of a weight in place.

    A mapped file is then copied page by page. Concatenating the parts in the other order would take their memory twice.
    """
    kept = one.clone()
    one.copy_(other)
    other.copy_(kept)


def renamed(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    """A weight's name after each (pattern, replacement) in turn, which lead from one layout's names to another's."""
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def blocks_of(keys: Iterable[str], stem: str) -> int:
    """The number of a network's blocks: of different numbers N in the keys `stem.N. ...`.

    This is never more than there are keys, whatever numbers a damaged file has in them.
    """
    prefix = f"{stem}."
    return len({key[len(prefix) :].split(".", 1)[0] for key in keys if key.startswith(prefix)})
