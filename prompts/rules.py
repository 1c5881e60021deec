"""The built-in expander: what an expansion is, and how one is made without any model. Plain Python: it never waits."""

from __future__ import annotations

from dataclasses import dataclass

from ..models.contract import vocabulary
from ..models.contract.vocabulary import Vocabulary
from . import english

AUTOMATIC, RULES = "automatic", "rules (built in)"


@dataclass(frozen=True)
class Expansion:
    """The longer prompt, who wrote it, and what an artist should know of it, or ""."""

    text: str
    expander: str
    remark: str = ""


def by_rules(prompt: str, seed: int, words: Vocabulary | None = None, tokens: int = english.TOKENS) -> Expansion:
    """Expanded for a model that knows only a few `words` in these, for any other to fit into `tokens` tokens."""
    if words is None:
        text = english.expanded(prompt, seed, tokens)
        reason = "The prompt says everything already" if english.is_english(prompt) else "The rules know English only"
    else:
        text = vocabulary.completed(prompt, seed, words)
        reason = "The prompt says everything already"
        if not words.knows(prompt):
            reason = f"This model knows only prompts like '{words.example}'"
    return Expansion(text, RULES, f"{reason}: nothing was added." if text == prompt else "")
