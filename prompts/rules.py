"""The built-in expander: expands a prompt by rules, without a model, in plain Python and at once."""

from __future__ import annotations

from dataclasses import dataclass

from ..models.contract import vocabulary
from ..models.contract.vocabulary import Vocabulary
from . import english

AUTOMATIC, RULES = "automatic", "rules (built in)"


@dataclass(frozen=True)
class Expansion:
    """The longer prompt, the expander that wrote it, and a remark for the artist ("" if there is none)."""

    text: str
    expander: str
    remark: str = ""


def by_rules(prompt: str, seed: int, words: Vocabulary | None = None, tokens: int = english.TOKENS) -> Expansion:
    """Expand a prompt by rules. words: the vocabulary of a model with a small one. tokens: the limit of any other."""
    if words is None:
        text = english.expanded(prompt, seed, tokens)
        reason = "The prompt says everything already" if english.is_english(prompt) else "The rules know English only"
    else:
        text = vocabulary.completed(prompt, seed, words)
        reason = "The prompt says everything already"
        if not words.knows(prompt):
            reason = f"This model knows only prompts like '{words.example}'"
    return Expansion(text, RULES, f"{reason}: nothing was added." if text == prompt else "")
