"""Expanding a prompt for a model that knows only a few words: what of its attributes is missing is filled in.

Such a model's recipe.json says which words these are.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BEFORE, BEHIND, END = "before", "behind", "end"


@dataclass(frozen=True)
class Attribute:
    """What a prompt can say of a thing: `words` that say it, `add`, what is said where they are missing, and where.

    place: "before" the thing's other adjectives, "behind" the thing, or at the "end".
    """

    words: tuple[str, ...]
    add: tuple[str, ...]
    place: str

    def said(self, prompt: str) -> bool:
        return _any(self.words).search(prompt) is not None


@dataclass(frozen=True)
class Vocabulary:
    """The things a model knows by name, and their attributes: those before the thing in their order in English."""

    things: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    example: str

    @staticmethod
    def of(recipe: Mapping[str, Any]) -> Vocabulary | None:
        """The vocabulary a recipe.json tells of, if it does. Raises KeyError, TypeError where it is incomplete."""
        told = recipe.get("vocabulary")
        if told is None:
            return None
        attributes = (Attribute(tuple(a["words"]), tuple(a["add"]), a["place"]) for a in told["attributes"])
        return Vocabulary(tuple(told["things"]), tuple(attributes), told["example"])

    def knows(self, prompt: str) -> bool:
        """Whether the prompt names one of its things."""
        return _any(self.things).search(prompt) is not None


def completed(prompt: str, seed: int, vocabulary: Vocabulary) -> str:
    """The prompt with a choice (by seed) for every attribute it leaves out. One about no known thing stays as it is."""
    thing = _any(vocabulary.things).search(prompt)
    if thing is None:
        return prompt
    draw, text = random.Random(seed), " ".join(prompt.split())
    choices = [(attribute, draw.choice(attribute.add)) for attribute in vocabulary.attributes]
    said = [attribute for attribute in vocabulary.attributes if attribute.said(text)]
    missing = [(attribute, chosen) for attribute, chosen in choices if attribute not in said]
    adjectives = [a for a in vocabulary.attributes if a.place == BEFORE]
    for attribute, chosen in reversed(missing):
        if attribute.place == BEFORE:
            later = adjectives[adjectives.index(attribute) + 1 :]
            text = _before(text, chosen, vocabulary.things, [word for other in later for word in other.words])
    behind = " ".join(chosen for attribute, chosen in missing if attribute.place == BEHIND)
    end = " ".join(chosen for attribute, chosen in missing if attribute.place == END)
    text = _behind(text, behind, vocabulary.things) if behind else text
    return _after(text, end, vocabulary.things) if end else text


def _before(text: str, word: str, things: tuple[str, ...], adjectives: list[str]) -> str:
    """`word` before the first thing and those adjectives that stand right before it; "an" becomes "a" where it must.

    text: with one blank between words. What stands before the thing is read backwards from it: a search forwards would
    try every adjective of a long row as the first.
    """
    place = _any(things).search(text).start()
    row = rf"(?:\s(?:{_alternatives([adjective[::-1] for adjective in adjectives])})\b)*" if adjectives else ""
    found = re.match(rf"({row})(?:\s(na|a)\b)?", text[:place][::-1], re.IGNORECASE)
    before, rest = text[: place - found.end()], text[place - found.end(1) :]
    if found[2]:
        right = "an" if word[0] in "aeiou" else "a"
        right = right.capitalize() if found[2][-1] == "A" else right
        return f"{before}{right} {word} {rest}"
    if not before and rest[0].isupper():
        word, rest = word.capitalize(), rest[0].lower() + rest[1:]
    return f"{before}{word} {rest}"


def _behind(text: str, phrase: str, things: tuple[str, ...]) -> str:
    end = _any(things).search(text).end()
    return f"{text[:end]} {phrase}{text[end:]}"


def _after(text: str, phrase: str, things: tuple[str, ...]) -> str:
    """`phrase` at the end of what is said of the first thing: before the next comma or full stop."""
    thing = _any(things).search(text).end()
    at = thing + len(re.match(r"[^,.;:!]*", text[thing:])[0].rstrip())
    return f"{text[:at]} {phrase}{text[at:]}"


def _any(words: tuple[str, ...]) -> re.Pattern:
    return re.compile(rf"\b(?:{_alternatives(words)})\b", re.IGNORECASE)


def _alternatives(words: tuple[str, ...] | list[str]) -> str:
    return "|".join(re.escape(word) for word in words)
