"""Prompts over time: which entries of a CONDITIONING hold at a moment of a clip.

An entry is [text, options] with SPAN: (start, end) in seconds among its options; one without a span holds for the whole
clip. CUT: True says that what it shows does not go on from what was seen before. Whoever samples asks here for each
frame; ComfyUI alone would mix all entries everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

SPAN, CUT = "atelier_span", "atelier_cut"

Options = TypeVar("Options", bound=Mapping[str, Any])


def active_at(entries: Sequence[Options], seconds: float) -> list[Options]:
    """The entries (their options, SPAN among them) that hold at a moment, in their order.

    Of those with a span, the one whose span (its end left out) holds the moment; where several do, the one that began
    last, and between spans the nearest. Entries that share a span hold together, as do those without one.
    """
    always = [entry for entry in entries if SPAN not in entry]
    spans = {tuple(entry[SPAN]) for entry in entries if SPAN in entry}
    here = [span for span in spans if span[0] <= seconds < span[1]]
    if not here and not always and spans:
        here = [min(spans, key=lambda span: max(span[0] - seconds, seconds - span[1]))]
    chosen = max(here, default=None)
    return [entry for entry in entries if SPAN not in entry or tuple(entry[SPAN]) == chosen]
