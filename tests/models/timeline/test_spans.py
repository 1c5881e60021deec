"""Prompts over time: which apply at a moment."""

from __future__ import annotations

import pytest
from atelier.models.contract.grid import Grid
from atelier.models.timeline.spans import SPAN, active_at


def entry(name: str, *span: float) -> dict:
    return {"name": name, **({SPAN: span} if span else {})}


@pytest.mark.parametrize(
    "seconds,expected",
    [(0.0, "a"), (0.99, "a"), (1.0, "b"), (1.49, "b"), (1.5, "c"), (2.5, "c"), (3.2, "c"), (3.9, "d"), (9.0, "d")],
)
def test_one_span_at_a_time(seconds, expected):
    """Where spans overlap, the later one applies; in a gap and after the end, the nearest."""
    entries = [entry("c", 1.5, 3.0), entry("a", 0.0, 1.0), entry("b", 1.0, 2.0), entry("d", 4.0, 5.0)]
    assert [found["name"] for found in active_at(entries, seconds)] == [expected]


def test_without_a_span_for_the_whole_clip():
    entries = [entry("always"), entry("a", 0.0, 1.0), entry("also a", 0.0, 1.0)]
    assert [found["name"] for found in active_at(entries, 0.5)] == ["always", "a", "also a"]
    assert [found["name"] for found in active_at(entries, 2.0)] == ["always"]
    assert active_at([], 1.0) == []


def test_the_moment_of_a_latent_frame():
    grid = Grid(channels=16, temporal=8, spatial=8)
    assert [grid.moment(frame, 8.0) for frame in range(3)] == [0.5 / 8, 5 / 8, 13 / 8]
