"""Prompts over time: which entries of a CONDITIONING apply at a moment of a clip.

An entry is [text, options]. Its option SPAN is (start, end) in seconds; an entry without a span applies to the whole
clip. The option CUT: True says that the entry's scene does not continue the footage before it. Samplers of this pack
ask here for each latent frame. Without that, ComfyUI would blend all entries over the whole clip. The option ONLY:
(begin, end) asks for the windows of these latent frames alone, where a clip is sampled on several machines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

SPAN, CUT, ONLY = "atelier_span", "atelier_cut", "atelier_only"

Options = TypeVar("Options", bound=Mapping[str, Any])


def active_at(entries: Sequence[Options], seconds: float) -> list[Options]:
    """The entries (as their options) that apply at a moment, in their order.

    These are all entries without a span, and the entries of one span: the one that contains the moment (its end is
    exclusive). If several do, the one that begins last applies. If none does and all entries have spans, the nearest
    one applies.
    """
    always = [entry for entry in entries if SPAN not in entry]
    spans = {tuple(entry[SPAN]) for entry in entries if SPAN in entry}
    active = [span for span in spans if span[0] <= seconds < span[1]]
    if not active and not always and spans:
        active = [min(spans, key=lambda span: max(span[0] - seconds, seconds - span[1]))]
    chosen = max(active, default=None)
    return [entry for entry in entries if SPAN not in entry or tuple(entry[SPAN]) == chosen]
