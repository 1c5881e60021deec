"""From the key names and row order of one published layout to those of another."""

from __future__ import annotations

import re

import torch


def exchange(one: torch.Tensor, other: torch.Tensor) -> None:
    """Let two parts of a weight change places where they are.

    Pages of a mapped file then become our own one by one, where putting the parts together anew would take their memory
    a second time.
    """
    kept = one.clone()
    one.copy_(other)
    other.copy_(kept)


def renamed(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    """A weight's name after every (pattern, replacement) in turn: from one published layout's names to another's."""
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key
