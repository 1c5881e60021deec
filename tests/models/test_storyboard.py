"""The text of a storyboard: what is read, and what is said about one that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from atelier.models import storyboard
from atelier.models.prompts import SPAN, shares
from atelier.models.storyboard import StoryboardError, read, spans

EXAMPLES = json.loads((Path(__file__).parents[1] / "storyboards.json").read_text(encoding="utf-8"))


def test_every_part_of_a_card():
    cards = read("0s: a circle\n\n 1.5 s cut [Image 2, 0.8]: a square: blue\n3[image 1]:\n")
    assert [(card.line, card.time, card.words, card.cut) for card in cards] == [
        (1, 0.0, "a circle", False),
        (3, 1.5, "a square: blue", True),
        (4, 3.0, "a square: blue", False),
    ]
    assert [(card.image, card.strength) for card in cards] == [(None, 1.0), (2, 0.8), (1, 1.0)]


def test_lines_in_any_order_and_close_cards_cut():
    cards = read("2s: c\n0s: a\n1.5s: b")
    assert [(card.words, card.cut) for card in cards] == [("a", False), ("b", False), ("c", True)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: repr(example["text"][:30]))
def test_the_examples_that_the_time_line_reads_too(example):
    """tests/browser/test_storyboard.py gives the same ones to web/storyboard/board.js."""
    text, length, images = example["text"], example.get("length", 1e9), example.get("images", 1e9)
    if "error" in example:
        with pytest.raises(StoryboardError) as error:
            storyboard.check(read(text), length, images)
        assert str(error.value) == example["error"]
        return
    cards = read(text)
    storyboard.check(cards, length, images)
    assert [{name: getattr(card, name) for name in example["cards"][0]} for card in cards] == example["cards"]


def test_cards_and_images_that_are_not_there():
    with pytest.raises(StoryboardError, match=r"Line 2: the card is at 5 s, but the shot ends at 2\.00 s"):
        storyboard.check(read("0s: a\n5s: b"), 2.0, 0)
    for image in (0, 2):
        with pytest.raises(StoryboardError, match=f"Line 1 names image {image}, but 1"):
            storyboard.check(read(f"0s [image {image}]: a"), 2.0, 1)


def test_flowing_cards_overlap_and_cut_ones_do_not():
    assert spans(read("0.2s: a\n2s: b\n4s cut: c"), 6.0) == [(0.0, 2.5), (2.0, 4.0), (4.0, 6.0)]


def test_what_fades_out_is_what_fades_in():
    entries = [{SPAN: (0.0, 2.5)}, {SPAN: (2.0, 4.0)}, {SPAN: (4.0, 6.0)}, {}]
    moments = [0.0, 2.0, 2.125, 2.25, 3.9, 4.0, 5.9]
    assert shares(entries, moments) == [
        pytest.approx([1, 1, 0.75, 0.5, 0, 0, 0]),
        pytest.approx([0, 0, 0.25, 0.5, 1, 0, 0]),
        pytest.approx([0, 0, 0, 0, 0, 1, 1]),
        [1.0] * 7,
    ]


def test_a_moment_between_spans_belongs_to_the_nearest():
    assert shares([{SPAN: (0.0, 1.0)}, {SPAN: (3.0, 4.0)}], [1.5, 2.5, 9.0]) == [[1, 0, 0], [0, 1, 1]]


def test_a_board_of_200_cards():
    cards = read("\n".join(f"{place / 10}s: card {place}" for place in range(200)))
    rows = shares([{SPAN: span} for span in spans(cards, 20.0)], [(place + 0.5) / 4 for place in range(80)])
    assert len(cards) == 200 and all(sum(column) == pytest.approx(1) for column in zip(*rows, strict=True))
