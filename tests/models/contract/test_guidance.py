"""Guidance as an artist writes it: numbers, lists, curves, blocks; and what the node says of it."""

from __future__ import annotations

import pytest
from atelier.models.contract.guidance import Curve, OwnGuidance, blocks_of, curve_of


@pytest.mark.parametrize(
    ("text", "steps", "expected"),
    [
        ("6", 3, [6, 6, 6]),
        (" 1, 6 ,8,1", 4, [1, 6, 8, 1]),
        ("1, 6, 8, 1", 8, [1, 1, 6, 6, 8, 8, 1, 1]),
        ("1, 6, 8, 1", 2, [1, 8]),
        ("0: 8, 0.5: 4, 1: 2", 5, [8, 6, 4, 3, 2]),
        ("0.5: 4", 3, [4, 4, 4]),
        ("0.25: 8, 0.75: 4", 5, [8, 8, 6, 4, 4]),
        ("0: 8, 1: 4", 1, [8]),
    ],
)
def test_a_value_over_the_steps(text, steps, expected):
    assert curve_of("guidance", text, most=100).over(steps) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a number, a list or a curve"),
        ("six", "Write 6 for all steps"),
        ("1, 0.5: 2", "is not a number"),
        ("1,,2", "is not a number"),
        ("nan", "not between 0 and 100"),
        ("inf", "not between 0 and 100"),
        ("-1", "not between 0 and 100"),
        ("1, 101", "101, which is not between"),
        ("0.5: 1, 0.2: 3", "must rise"),
        ("0: 1, 1.5: 3", "must rise, from 0 to at most 1"),
        ("nan: 1", "must rise"),
        ("0: 1, nan: 2", "must rise"),
    ],
)
def test_a_value_that_is_none_is_named(text, words):
    with pytest.raises(ValueError, match=words):
        curve_of("guidance", text, most=100)


def test_blocks():
    assert blocks_of("19", 28) == ((19,),)
    assert blocks_of("11, 25; 22;28", 48) == ((11, 25), (22,), (28,))
    for text, words in {
        "28": "block 28.*has 28: 0 to 27",
        "-1": "block -1",
        "a": "not a list",
        "1;;2": "not a li",
    }.items():
        with pytest.raises(ValueError, match=words):
            blocks_of(text, 28)


def test_own_values_by_step():
    own = OwnGuidance(
        curve_of("guidance", "1, 6", 100), Curve(((0, 4.0),)), Curve(((0, 0.5),)), ((1,), (2, 3)), True, zero_steps=1
    )
    first, *_, last = own.steps([1.0, 0.8, 0.5, 0.2])
    assert (first.cfg, first.stg, first.skipped, first.zero) == (1, 4, (1,), True)
    assert (last.cfg, last.rescale, last.skipped, last.zero_star, last.zero) == (6, 0.5, (2, 3), True, False)
    assert own.changes and own.summary() == [
        "guidance 1, 6",
        "STG 4",
        "rescale 0.5",
        "STG without the attention of blocks 1; 2, 3",
        "CFG-Zero*",
        "the first 1 steps predict zeros",
    ]
    without = OwnGuidance(None, Curve(((0, 1.0),)), Curve(((0, 0.0),)))
    assert without.steps([1.0])[0].stg == 0 and not without.changes
    assert without.summary() == ["guidance of the sampler", "no STG: stg_blocks is empty"]
