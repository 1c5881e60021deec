"""Convert key names and row order from one published layout to another."""

from __future__ import annotations

import re

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
