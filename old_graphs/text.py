"""Prompts -> Encode Video Prompt, one node for a sampler's prompt and negative prompt."""

from __future__ import annotations

from typing import Any

from .graph import Node, Source
from .translation import Old, Results, Translation


def text(work: Translation, old: Old) -> Results:
    """A prompt. One that a sampler uses as its negative prompt is the second output of the pair's node."""
    pair = work.pairs.get(old.node.id)
    if pair is None:
        node = encoded(work, old, None)
        return {"positive": Source(node.id, 0), "negative": Source(node.id, 1), **_texts_clip(work, old)}
    node = encoded(work, *pair)
    return {"positive": Source(node.id, 0 if pair[0] is old else 1), **_texts_clip(work, old)}


def _texts_clip(work: Translation, old: Old) -> Results:
    clip = work.clip_of(old)
    return {"clip": clip} if clip else {}


def encoded(work: Translation, positive: Old, negative: Old | None) -> Node:
    """The Encode Video Prompt of a pair of prompts."""

    def make() -> Node:
        inputs = {
            "clip": work.clip_of(positive),
            "prompt": _weighted(work, positive),
            "negative_prompt": _weighted(work, negative) if negative else positive.given("negative"),
        }
        node = work.new("AtelierEncodeVideoPrompt", inputs, positive, own=True)
        node.height = max(node.height, positive.node.height)
        return node

    return work.once(("encoded", positive.node.id, negative.node.id if negative else None), make)


def _weighted(work: Translation, text: Old) -> Any:
    """A prompt with its strength as a weight: (words:1.2)."""
    prompt, strength = text.given("prompt"), text.given("strength")
    if strength in (None, 1) or prompt in (None, ""):
        return prompt
    if isinstance(prompt, Source) or isinstance(strength, Source):
        shown = "" if isinstance(strength, Source) else f" {strength:g}"
        work.report.lose(text.node, f"strength{shown} is lost: write (words:1.2) in the prompt")
        return prompt
    return f"({prompt}:{strength:g})"


def blend(work: Translation, old: Old) -> Results:
    """Two prompts made one: core's ConditioningAverage or ConditioningConcat."""
    first, second = work.output(old.source("first")), work.output(old.source("second"))
    if old.get("mode") == "concatenate":
        ends = {"conditioning_to": first, "conditioning_from": second}
        return {"positive": Source(work.new("ConditioningConcat", ends, old, own=True).id, 0)}
    share = 0.5 if old.get("mode") == "average" else old.given("ratio")
    if isinstance(share, int | float) and not 0 <= share <= 1:
        work.report.lose(old.node, f"weighted_average_ratio {share:g} is lost: it counts from 0 to 1")
        share = min(max(share, 0.0), 1.0)
    ends = {"conditioning_to": second, "conditioning_from": first, "conditioning_to_strength": share}
    return {"positive": Source(work.new("ConditioningAverage", ends, old, own=True).id, 0)}
