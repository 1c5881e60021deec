"""What a table says about one node class of a wrapper pack."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Lost = dict[str, tuple[Any, str]]
"""An input without a counterpart -> (what loses nothing: a value, a tuple of them, or a function from all values to it;
words for any other value)."""


@dataclass(frozen=True)
class Rule:
    """How a class is read and what it becomes.

    role: the name of the translation (`translate.ROLES`); "" for a class without a counterpart, then `why` says so.
    versions: the widgets of each version of the class, newest first, as "name:kind ..." (`widgets.py` has the kinds).
    outputs: the types of its outputs; `piped` those of the versions with an input `pipeline`.
    takes: input -> what the translation calls it. lost: input -> what is lost. unneeded: inputs without effect here.
    """

    role: str
    versions: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    piped: tuple[str, ...] = ()
    takes: dict[str, str] = field(default_factory=dict)
    lost: Lost = field(default_factory=dict)
    unneeded: frozenset[str] = frozenset()
    why: str = ""


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def same(text: str) -> dict[str, str]:
    """The inputs that have the translation's own name."""
    return {name: name for name in text.split()}
