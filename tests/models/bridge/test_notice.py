"""Notices: what a node shows of a text."""

from __future__ import annotations

import pytest
from atelier.models.bridge.notice import LINE, MOST, for_node

SENTENCE = "CogVideoX 2B was trained at 720 x 480 and 49 frames: a clip of 64 x 64 and 17 is worse"


def test_long_lines_are_broken_between_words_and_short_ones_stay():
    shown = for_node(f"17 frames\n\n{SENTENCE}\nof 64").split("\n")
    assert shown[:2] == ["17 frames", ""] and shown[-1] == "of 64"
    assert " ".join(shown[2:-1]) == SENTENCE and len(shown) == 5
    assert max(map(len, shown)) <= LINE


@pytest.mark.parametrize(
    "name", ["video/" + "a" * LINE + ".mp4", "ltx-video-2b-v0.9.5-distilled-fp8-scaled.safetensors"]
)
def test_a_word_longer_than_a_line_stays_whole(name):
    """It may be a file's name, which must be readable and searchable."""
    assert for_node(f"wrote {name} today").split("\n") == ["wrote", name, "today"]


@pytest.mark.parametrize("text", ["<b>", "&lt;", "[[label|address]]", "__LNK0__"])
def test_markup_is_disarmed_and_looks_the_same(text):
    shown = for_node(text)
    assert text not in shown and shown.replace("\u2060", "") == text


def test_a_very_long_text_is_cut():
    shown = for_node("word " * MOST)
    assert len(shown) <= MOST + 10 and shown.endswith("...")
