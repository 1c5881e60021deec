"""A storyboard, read from text: cards on a timeline, each with a time, words and optionally an image.

Each line is one card, `2.5s cut [image 1, 0.8]: words`. Only time and words are required. The words apply until the
next card. Several images, `[images 2-17]`, are a clip.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

CLOSE = 1.0
"""Seconds. A card that follows the one before it sooner than this becomes a cut."""
EXPECTED = "Write one card a line: '2.5s: words', '2.5s cut: words' or '2.5s [image 1, 0.8]: words'."

MAX_TEXT, MAX_LINE, MAX_CARDS = 100_000, 33_000, 1000
"""Limits: characters of a board, characters of a line, and cards."""

# Each optional part takes the blanks behind it, so a line can be read in one way only and in linear time.
_CARD = re.compile(
    r"(?P<time>[0-9]{1,9}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})\s*(?:s\s*)?(?P<cut>cut\s*)?"
    r"(?:\[\s*images?\s+(?P<image>[0-9]{1,9})\s*(?:-\s*(?P<last>[0-9]{1,9})\s*)?"
    r"(?:,\s*(?P<strength>[0-9.]{1,20})\s*)?\]\s*)?:(?P<words>.*)",
    re.IGNORECASE,
)


class StoryboardError(ValueError):
    """A board that cannot be read; the message names the line and what was expected."""


@dataclass(frozen=True)
class Card:
    """A card at `time` seconds. cut: a hard cut from the card before. image, last: a clip of images, counted from 1."""

    line: int
    time: float
    words: str
    cut: bool = False
    image: int | None = None
    strength: float = 1.0
    last: int | None = None


def read(text: str) -> list[Card]:
    """The cards of a board, sorted by time. A card with only an image takes the words of the card before it.

    Raises StoryboardError for a board that is empty or too long, a line that is not a card, two cards at the same time,
    and a first card without words.
    """
    if len(text) > MAX_TEXT:
        raise StoryboardError(f"The storyboard has {len(text):,} characters; up to {MAX_TEXT:,} are read. Shorten it.")
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if len(lines) > MAX_CARDS:
        raise StoryboardError(f"The storyboard has {len(lines):,} cards; up to {MAX_CARDS:,} are read. Make two shots.")
    cards = [_card(number, line) for number, line in lines]
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
    if len(line) > MAX_LINE:
        raise StoryboardError(f"Line {number} has {len(line):,} characters; up to {MAX_LINE:,} are read. Shorten it.")
    match = _CARD.fullmatch(line)
    if not match:
        raise StoryboardError(f"Line {number} ('{line[:60]}') is not a card. {EXPECTED}")
    words, image = match["words"].strip(), match["image"]
    if not words and not image:
        raise StoryboardError(f"Line {number} has neither words nor an image. {EXPECTED}")
    try:
        strength = float(match["strength"] or 1)
    except ValueError:
        strength = -1.0
    if not 0 <= strength <= 1:
        raise StoryboardError(f"Line {number}: the strength '{match['strength']}' is not a number from 0 to 1.")
    first, last = (match[name] and int(match[name]) for name in ("image", "last"))
    return Card(number, float(match["time"]), words, bool(match["cut"]), first, strength, last)


def written(card: Card) -> str:
    """A card as a line of a board, which `read` reads as the same card."""
    time = f"{card.time:.3f}".rstrip("0").rstrip(".")
    share = "" if card.strength == 1 else f", {card.strength:.3f}".rstrip("0").rstrip(".")
    images = f"images {card.image}-{card.last}" if card.last else f"image {card.image}"
    shown = "" if card.image is None else f" [{images}{share}]"
    return f"{time}s{' cut' if card.cut else ''}{shown}: {' '.join(card.words.split())}".rstrip()


def check(cards: Sequence[Card], length: float, images: int) -> None:
    """Raises StoryboardError for a card at or after `length` seconds, and for an image number above `images`."""
    for card in cards:
        if card.time >= length:
            raise StoryboardError(
                f"Line {card.line}: the card is at {card.time:g} s, but the shot ends at {length:.2f} s. Move the card "
                "or make the shot longer."
            )
        if card.image is not None and not 1 <= card.image <= (card.last or card.image) <= images:
            named = f"images {card.image}-{card.last}" if card.last else f"image {card.image}"
            raise StoryboardError(f"Line {card.line} names {named}, but {images} are connected to 'images'.")


def spans(cards: Sequence[Card], length: float) -> list[tuple[float, float]]:
    """(start, end) in seconds in which each card's words apply. The first card's words apply from 0 s on."""
    starts = [0.0, *(card.time for card in cards[1:]), length]
    return list(pairwise(starts))


def places(cards: Sequence[Card], moments: Sequence[float]) -> list[int]:
    """The index of the latent frame at which each card begins; `len(moments)` if it begins after the last one.

    moments: the time of each latent frame in seconds. Raises StoryboardError if two cards with images begin at the same
    one.
    """
    frames = [bisect_left(moments, card.time) for card in cards]
    taken: dict[int, int] = {}
    for card, place in zip(cards, frames, strict=True):
        if card.image is not None and place in taken:
            raise StoryboardError(
                f"The images of lines {taken[place]} and {card.line} fall on the same latent frame, the shortest unit "
                "of time that the model has. Move one of the cards."
            )
        if card.image is not None:
            taken[place] = card.line
    return frames
