"""Prompt completion for a model that knows only a few words: attributes that the prompt lacks are added.

The model's recipe.json lists these words.
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
    """A property of a thing, such as its colour.

    words: those that state it in a prompt. add: the phrases to choose from if the prompt has none of `words`. place:
    where to add one: "before" the thing's other adjectives, "behind" the thing, or at the "end".
    """

    words: tuple[str, ...]
    add: tuple[str, ...]
    place: str

    def is_in(self, prompt: str) -> bool:
        return _any(self.words).search(prompt) is not None


@dataclass(frozen=True)
class Vocabulary:
    """The things that a model knows, and their attributes. Those with place "before" are in English word order."""

    things: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    example: str

    @staticmethod
    def of(recipe: Mapping[str, Any]) -> Vocabulary | None:
        """The vocabulary in a recipe.json, or None. Raises KeyError, TypeError if it is incomplete."""
        entry = recipe.get("vocabulary")
        if entry is None:
            return None
        attributes = (Attribute(tuple(a["words"]), tuple(a["add"]), a["place"]) for a in entry["attributes"])
        return Vocabulary(tuple(entry["things"]), tuple(attributes), entry["example"])

    def knows(self, prompt: str) -> bool:
        """Whether the prompt names one of its things."""
        return _any(self.things).search(prompt) is not None


def completed(prompt: str, seed: int, vocabulary: Vocabulary) -> str:
    """The prompt with a random choice (by seed) for each missing attribute; unchanged if it names no known thing."""
    thing = _any(vocabulary.things).search(prompt)
    if thing is None:
        return prompt
    draw, text = random.Random(seed), " ".join(prompt.split())
    choices = [(attribute, draw.choice(attribute.add)) for attribute in vocabulary.attributes]
    missing = [(attribute, chosen) for attribute, chosen in choices if not attribute.is_in(text)]
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
    """Insert `word` before the first thing and the adjectives directly before it, and correct the article "a" or "an".

    text: with one blank between words. The text before the thing is matched backwards: a forward search would try each
    adjective of a long row as the first one, which takes quadratic time.
    """
    place = _any(things).search(text).start()
    row = rf"(?:\s(?:{_alternatives([adjective[::-1] for adjective in adjectives])})\b)*" if adjectives else ""
    match = re.match(rf"({row})(?:\s(na|a)\b)?", text[:place][::-1], re.IGNORECASE)
    before, rest = text[: place - match.end()], text[place - match.end(1) :]
    if match[2]:
        article = "an" if word[0] in "aeiou" else "a"
        article = article.capitalize() if match[2][-1] == "A" else article
        return f"{before}{article} {word} {rest}"
    if not before and rest[0].isupper():
        word, rest = word.capitalize(), rest[0].lower() + rest[1:]
    return f"{before}{word} {rest}"


def _behind(text: str, phrase: str, things: tuple[str, ...]) -> str:
    end = _any(things).search(text).end()
    return f"{text[:end]} {phrase}{text[end:]}"


def _after(text: str, phrase: str, things: tuple[str, ...]) -> str:
    """Insert `phrase` at the end of the first thing's clause: before the next punctuation mark."""
    thing = _any(things).search(text).end()
    at = thing + len(re.match(r"[^,.;:!]*", text[thing:])[0].rstrip())
    return f"{text[:at]} {phrase}{text[at:]}"


def _any(words: tuple[str, ...]) -> re.Pattern:
    return re.compile(rf"\b(?:{_alternatives(words)})\b", re.IGNORECASE)


def _alternatives(words: tuple[str, ...] | list[str]) -> str:
    return "|".join(re.escape(word) for word in words)
