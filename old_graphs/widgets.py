"""Reads `widgets_values`: which value belongs to which input, in whichever version of a node class saved them.

The wrappers changed their nodes often and saved no version. So versions are told apart by the number and the types of
the values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

CONTROL_WORDS = ("fixed", "increment", "increment-wrap", "decrement", "randomize")
"""Values of the editor's "control after generate", saved right after the seed."""
SEEDS = ("seed", "noise_seed")
MISFIT, MISSING, SURPLUS, ODD, UPRIGHT = 4.0, 1.0, 1.0, 1.5, 0.5
"""How much it tells against a version: a value of a wrong type, one too few, one too many, an
odd word, a clip higher than wide."""


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


KINDS: dict[str, Callable[[Any], bool]] = {
    "i": lambda value: _number(value) and float(value).is_integer(),
    "f": _number,
    "s": lambda value: isinstance(value, str),
    "b": lambda value: isinstance(value, bool),
    "c": lambda value: value is None or (isinstance(value, str) and value not in CONTROL_WORDS),
}
"""Integer, float, string, boolean, combo: whether a saved value can be of that kind."""

WORDS = {"compile": r"disabled|onediff|torch", "attention_mode": r".*(sdpa|attn|comfy|sage|flash).*"}
"""What combos say that stand at the same place in two versions."""


@dataclass(frozen=True)
class Dealt:
    """The values by name, and the seed's control word if one was saved."""

    values: dict[str, Any]
    control: str | None = None


def dealt(versions: Iterable[str], saved: Any) -> Dealt:
    """The values of a node by name, read as the version that fits them best; of equals the newest, which comes first.

    saved: the node's widgets_values, of any form. Values that fit nothing are left out.
    """
    if isinstance(saved, dict):
        widgets = [widget for version in versions for widget in _widgets(version)]
        return Dealt({name: saved[name] for name, kind in widgets if name in saved and KINDS[kind](saved[name])})
    values = saved if isinstance(saved, list) else []
    return min((_read(version, values) for version in versions), key=lambda scored: scored[0])[1]


def widget_names(versions: Iterable[str]) -> set[str]:
    """The widgets that any version of a class has."""
    return {name for version in versions for name, _ in _widgets(version)}


def _widgets(version: str) -> list[tuple[str, str]]:
    return [(name, kind) for name, _, kind in (widget.partition(":") for widget in version.split())]


def _read(version: str, saved: list) -> tuple[float, Dealt]:
    """(how badly a version fits, the values as it reads them)."""
    score, place, control = 0.0, 0, None
    values: dict[str, Any] = {}
    for name, kind in _widgets(version):
        if place >= len(saved):
            score += MISSING
            continue
        value = saved[place]
        place += 1
        if KINDS[kind](value):
            values[name] = int(value) if kind == "i" else value
            score += ODD if name in WORDS and not re.fullmatch(WORDS[name], str(value)) else 0.0
        else:
            score += MISFIT
        if name in SEEDS and place < len(saved) and saved[place] in CONTROL_WORDS:
            control = saved[place]
            place += 1
    score += SURPLUS * sum(value not in (None, "") for value in saved[place:])
    if values.get("width", 0) < values.get("height", 0):
        score += UPRIGHT
    return score, Dealt(values, control)
