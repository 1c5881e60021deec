"""A storyboard: cards on a time line, each with a time, words, and optionally an image, read from a compact text.

One card a line, `2.5s cut [image 1, 0.8]: words`; only time and words are needed. The words hold until the next card.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

BLEND = 0.5
"""Seconds in which one card's words fade into the next one's, where the cards flow."""
CLOSE = 1.0
"""Seconds: a card that comes sooner than this after the one before is cut to."""
EXPECTED = "Write one card a line: '2.5s: words', '2.5s cut: words' or '2.5s [image 1, 0.8]: words'."

_CARD = re.compile(
    r"(?P<time>\d+(\.\d*)?|\.\d+)\s*s?\s*(?P<cut>cut)?\s*"
    r"(\[\s*image\s+(?P<image>\d+)\s*(,\s*(?P<strength>[\d.]+)\s*)?\])?\s*:(?P<words>.*)",
    re.IGNORECASE,
)


class StoryboardError(ValueError):
    """What is wrong with a board; the message names the line and what was expected."""


@dataclass(frozen=True)
class Card:
    """A card at `time` seconds. `image` counts from 1; `cut`: nothing flows over from the card before."""

    line: int
    time: float
    words: str
    cut: bool = False
    image: int | None = None
    strength: float = 1.0


def read(text: str) -> list[Card]:
    """The cards of a board in the order of their times; a card with an image alone goes on with the words before it.

    Raises StoryboardError for an empty board, a line that is no card, two cards at one time, and no words at the start.
    """
    cards = [_card(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not cards:
        raise StoryboardError(f"The storyboard is empty. {EXPECTED}")
    cards.sort(key=lambda card: card.time)
    for before, card in zip(cards, cards[1:], strict=False):
        if card.time == before.time:
            first, second = sorted((before.line, card.line))
            raise StoryboardError(f"Lines {first} and {second} are both at {card.time:g} s. Move one of them.")
    if not cards[0].words:
        raise StoryboardError(f"Line {cards[0].line}, the first card in time, has no words. {EXPECTED}")
    for place, card in enumerate(cards[1:], 1):
        close = card.time - cards[place - 1].time < CLOSE
        cards[place] = replace(card, words=card.words or cards[place - 1].words, cut=card.cut or close)
    return cards


def _card(number: int, line: str) -> Card:
    found = _CARD.fullmatch(line)
    if not found:
        raise StoryboardError(f"Line {number} ('{line[:60]}') is no card. {EXPECTED}")
    words, image = found["words"].strip(), found["image"]
    if not words and not image:
        raise StoryboardError(f"Line {number} has neither words nor an image. {EXPECTED}")
    try:
        strength = float(found["strength"] or 1)
    except ValueError:
        strength = -1.0
    if not 0 <= strength <= 1:
        raise StoryboardError(f"Line {number}: the strength '{found['strength']}' is not a number from 0 to 1.")
    return Card(number, float(found["time"]), words, bool(found["cut"]), int(image) if image else None, strength)


def check(cards: Sequence[Card], length: float, images: int) -> None:
    """Raises StoryboardError for a card at or after `length` seconds, and for an image that is not there."""
    for card in cards:
        if card.time >= length:
            raise StoryboardError(
                f"Line {card.line}: the card is at {card.time:g} s, but the shot ends at {length:.2f} s. Move the card "
                "or make the shot longer."
            )
        if card.image is not None and not 1 <= card.image <= images:
            raise StoryboardError(f"Line {card.line} names image {card.image}, but {images} are connected to 'images'.")


def spans(cards: Sequence[Card], length: float) -> list[tuple[float, float]]:
    """(start, end) in seconds in which each card's words hold; where cards flow, they overlap by BLEND at most.

    The first holds from the start on, whenever its card is.
    """
    found = []
    for place, card in enumerate(cards):
        end = length
        if place + 1 < len(cards):
            after = cards[place + 1]
            until = cards[place + 2].time if place + 2 < len(cards) else length
            end = after.time if after.cut else after.time + min(BLEND, (until - after.time) / 2)
        found.append((card.time if place else 0.0, end))
    return found
