"""Prompts over time: which entries of a CONDITIONING hold at a moment of a clip.

An entry is [text, options] with SPAN: (start, end) in seconds among its options; one without a span holds for the whole
clip. Whoever samples frame by frame asks here for each frame; ComfyUI alone would mix all entries everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

SPAN = "atelier_span"

Options = TypeVar("Options", bound=Mapping[str, Any])


def holding(entries: Sequence[Options], seconds: float) -> list[Options]:
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


def shares(entries: Sequence[Options], moments: Sequence[float]) -> list[list[float]]:
    """How much each entry counts at each moment (seconds), 0 to 1: for samplers that make all frames at once.

    Where two spans overlap, the earlier fades out while the later fades in. Where `holding` says so, one counts whole.
    """
    spans = sorted({tuple(entry[SPAN]) for entry in entries if SPAN in entry})
    rows = [
        [_share(span, spans, moment) if (span := entry.get(SPAN)) else 1.0 for moment in moments] for entry in entries
    ]
    for place, moment in enumerate(moments):
        if not any(row[place] for row in rows):
            kept = holding(entries, moment)
            for entry, row in zip(entries, rows, strict=True):
                row[place] = float(any(entry is one for one in kept))
    return rows


def _share(span: Sequence[float], spans: Sequence[tuple[float, float]], moment: float) -> float:
    start, end = span
    if not start <= moment < end:
        return 0.0
    faded_in = min([end, *(other for begun, other in spans if begun < start < other)])
    fades_out = min([end, *(begun for begun, _ in spans if start < begun < end)])
    rising = (moment - start) / (faded_in - start) if any(b < start < o for b, o in spans) else 1.0
    falling = (end - moment) / (end - fades_out) if fades_out < end else 1.0
    return min(1.0, rising) * min(1.0, falling)
