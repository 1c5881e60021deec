"""A measured figure with its target, and fair timing of two or more contenders."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from console import Problem


@dataclass(frozen=True)
class Figure:
    """A result: the median of `samples`, and a `target`, which is a maximum (with `at_least`, a minimum).

    A figure without a target is for comparison only. `note` is a remark for the reader.
    """

    name: str
    samples: tuple[float, ...]
    target: float | None = None
    unit: str = ""
    at_least: bool = False
    note: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.samples)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    def line(self) -> str:
        """The figure as a line of text: value, target, verdict, spread, note."""
        verdict = {True: "met", False: "MISSED", None: ""}[self.met]
        target = "" if self.target is None else f"{'>=' if self.at_least else '<='} {self.target:g}{self.unit}"
        spread = f"{short(min(self.samples))} .. {short(max(self.samples))} of {len(self.samples)}"
        parts = [spread if len(self.samples) > 1 else "", self.note]
        value = short(self.value) + self.unit
        return f"{self.name:<24}{value:>10}  {target:<10}{verdict:<7} {'; '.join(filter(None, parts))}".rstrip()

    def record(self) -> dict:
        """The figure for the JSON file."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "target": self.target,
            "at_least": self.at_least,
            "met": self.met,
            "samples": list(self.samples),
            "note": self.note,
        }


def short(value: float) -> str:
    """A number with three decimals; integers without decimals, and numbers below 0.001 with an exponent."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.3f}" if abs(value) >= 0.001 else f"{value:.1e}"


def chosen(names: Sequence[str], word: str | None) -> list[str]:
    """The names that contain this word, or the one that is it; all without a word. Raises Problem if there is none."""
    if word is None:
        return list(names)
    same = [name for name in names if name.lower() == word.lower()]
    found = same or [name for name in names if word.lower() in name.lower()]
    if not found:
        raise Problem(f"--model {word}: no model has this in its name. Known: {'; '.join(names)}.")
    return found


def interleaved(
    rounds: int, contenders: dict[str, Callable[[], object]], clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds by `clock` of each contender in each round, after one round to warm up.

    Each round runs all of them, every other round in reverse order, so that the machine's other load and the order
    affect all alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name in list(contenders)[:: -1 if number % 2 else 1]:
            started = clock()
            contenders[name]()
            if number:
                seconds[name].append(clock() - started)
    return seconds


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, ...]:
    """Ours over theirs, round by round."""
    return tuple(a / b for a, b in zip(ours, theirs, strict=True))


def seconds_of(seconds: dict[str, Sequence[float]]) -> str:
    """Medians, and the fastest in brackets, as text for a note."""
    return ", ".join(f"{name} {statistics.median(times):.2f} ({min(times):.2f}) s" for name, times in seconds.items())
