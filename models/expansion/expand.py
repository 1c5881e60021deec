"""A short prompt -> a long one, by whichever expander was chosen."""

from __future__ import annotations

from typing import Any

from .. import bridge
from . import english
from .rules import Expansion, by_rules


def expand(prompt: str, expander: str, seed: int, written: str = "", model: Any = None) -> Expansion:
    """The prompt expanded for a MODEL (None: for any), unless there is something `written` to be used instead."""
    if written.strip():
        return Expansion(written, "you", "What stands in 'expanded' is used.")
    variant = bridge.video_model(model).variant if model is not None else None
    words, tokens = (variant.vocabulary, variant.text.tokens) if variant else (None, english.TOKENS)
    return by_rules(prompt, seed, words, tokens)
