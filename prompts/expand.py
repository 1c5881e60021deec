"""Expands a short prompt with the chosen expander: the built-in rules, or a text model."""

from __future__ import annotations

from typing import Any

from ..models.bridge.video_model import video_model
from ..models.library import folders
from . import english, text_model
from .rules import AUTOMATIC, RULES, Expansion, by_rules


def expanders() -> list[str]:
    """The choices: AUTOMATIC, RULES, and each text model in ComfyUI's folders."""
    return [AUTOMATIC, RULES, *folders.text_models()]


def chosen(expander: str) -> str:
    """The expander that a choice means. AUTOMATIC is the first text model, or the rules if there is none."""
    if expander == AUTOMATIC:
        return next(iter(folders.text_models()), RULES)
    return folders.as_listed(expander, expanders()) or expander


def expand(prompt: str, expander: str, seed: int, written: str = "", model: Any = None) -> Expansion:
    """The prompt expanded for a MODEL (None: for any). Text in `written` is used instead.

    Raises CheckpointError if the chosen text model cannot be used.
    """
    if written.strip():
        return Expansion(written, "you", "The text in 'expanded' is used.")
    variant = video_model(model).variant if model is not None else None
    words, tokens = (variant.vocabulary, variant.text.tokens) if variant else (None, english.TOKENS)
    expander = chosen(expander)
    if expander == RULES or words or not prompt.strip():
        return by_rules(prompt, seed, words, tokens)
    if len(prompt.split()) >= tokens * english.WORDS_PER_TOKEN:
        return Expansion(prompt, expander, "The prompt is as long as the video model reads: nothing was added.")
    text = text_model.write(folders.text_model_path(expander), prompt, seed, tokens)
    if text:
        return Expansion(text, expander)
    expansion = by_rules(prompt, seed, words, tokens)
    return Expansion(expansion.text, RULES, f"{expander} gave no text: the rules were used. {expansion.remark}".strip())
