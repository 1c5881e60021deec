"""The text of a storyboard: what is read from it, and the errors if it cannot be read."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from atelier.models.timeline import storyboard
from atelier.models.timeline.storyboard import StoryboardError, read, spans

EXAMPLES = json.loads((Path(__file__).parents[2] / "storyboards.json").read_text(encoding="utf-8"))


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
    """tests/browser/test_storyboard.py reads the same examples with board.js. repeat: how often the text occurs."""
    text, length, images = example["text"], example.get("length", 1e9), example.get("images", 1e9)
    text *= example.get("repeat", 1)
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


def test_words_hold_until_the_next_card_and_the_first_ones_from_the_start():
    assert spans(read("0.2s: a\n2s: b\n4s cut: c"), 6.0) == [(0.0, 2.0), (2.0, 4.0), (4.0, 6.0)]


def test_a_card_begins_with_the_latent_frame_nearest_to_it():
    moments = [0.06, 0.44, 0.94, 1.44]
    assert storyboard.places(read("0s: a\n0.9s: b\n1.0s: c\n1.45s: d"), moments) == [0, 2, 3, 4]


def test_two_images_on_one_latent_frame():
    with pytest.raises(StoryboardError, match="images of lines 2 and 3 fall on the same latent frame"):
        storyboard.places(read("0s: a\n1s [image 1]: b\n1.1s [image 2]: c"), [0.0, 0.5, 2.0])


def test_a_board_of_200_cards():
    cards = read("\n".join(f"{place / 10}s: card {place}" for place in range(200)))
    found = spans(cards, 20.0)
    assert [begin for begin, _ in found] == pytest.approx([place / 10 for place in range(200)])
    assert all(before[1] == after[0] for before, after in pairwise(found))
    assert storyboard.places(cards, [place + 0.5 for place in range(20)])[-1] == 20
