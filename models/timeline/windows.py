"""A clip in windows of time, made one after the other: memory does not grow with its length, and words can change.

A window sees finished latent frames before it and goes on from them. Where the clip is cut, it sees none.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any

from .spans import CUT, SPAN


@dataclass(frozen=True)
class Turn:
    """The latent frame from which on other words hold. cut: nothing flows over from what was before."""

    frame: int
    cut: bool


@dataclass(frozen=True)
class Window:
    """Latent frames `start` to `end` of a clip, made together by a network that sees `begin` to `until`; ends left out.

    What it sees outside is finished. opening: frames in front that are made and thrown away. Only the first latent
    frame of a clip stands for a single frame of video, so a scene that begins later needs one that nobody sees.
    """

    begin: int
    start: int
    end: int
    until: int
    opening: int = 0

    @property
    def lead(self) -> int:
        """How many frames the network sees in front of those that are made."""
        return self.opening + self.start - self.begin


def prompt_changes(entries: Sequence[Mapping[str, Any]], moments: Sequence[float]) -> list[Turn]:
    """Where the words of a clip change: at the first of its latent frames, whose `moments` are given, in each span."""
    cuts = {0: True}
    for entry in entries:
        frame = bisect_left(moments, entry[SPAN][0]) if SPAN in entry else 0
        if frame < len(moments):
            cuts[frame] = cuts.get(frame, False) or bool(entry.get(CUT))
    return [Turn(frame, cuts[frame]) for frame in sorted(cuts)]


def windows(changes: Sequence[Turn], known: Sequence[bool], longest: int, context: int) -> Iterator[Window]:
    """The windows of a clip: one from each turn on, or more where the network would see over `longest` latent frames.

    known: which of the clip's latent frames are given; those right behind a window are seen, so that it leads there.
    context: how many frames it sees on either side, where there are as many in its scene.
    """
    scene = 0
    for turn, following in pairwise([*changes, Turn(len(known), True)]):
        scene = turn.frame if turn.cut else scene
        start = turn.frame
        while start < following.frame:
            seen, opening = min(context, start - scene), int(0 < start == scene)
            end = min(following.frame, start + max(1, longest - seen - opening))
            ahead = 0 if end == following.frame and following.cut else context
            until = end + len(list(takewhile(bool, known[end : end + ahead])))
            yield Window(start - seen, start, end, until, opening)
            start = end
