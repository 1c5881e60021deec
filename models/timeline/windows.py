"""Split a clip into windows of time, sampled one after the other, so that memory stays constant and prompts can change.

A window continues from the finished latent frames before it. After a cut it gets none of them.
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
    """A latent frame at which the prompt changes. cut: the new prompt does not continue the footage before it."""

    frame: int
    cut: bool


@dataclass(frozen=True)
class Window:
    """Latent frames `start` to `end` of a clip, sampled together; the network reads `begin` to `until`, ends exclusive.

    Frames from `begin` to `start` and from `end` to `until` are finished. opening: extra frames in front, sampled and
    not shown. Only the first latent frame of a clip stands for a single frame of video, so a scene that begins
    later gets such a frame in front.
    """

    begin: int
    start: int
    end: int
    until: int
    opening: int = 0

    @property
    def lead(self) -> int:
        """How many frames the network reads before the first one that it generates."""
        return self.opening + self.start - self.begin


def prompt_changes(entries: Sequence[Mapping[str, Any]], moments: Sequence[float]) -> list[Turn]:
    """Where the prompts of a clip change: the first latent frame of each span. moments: each latent frame's seconds."""
    cuts = {0: True}
    for entry in entries:
        frame = bisect_left(moments, entry[SPAN][0]) if SPAN in entry else 0
        if frame < len(moments):
            cuts[frame] = cuts.get(frame, False) or bool(entry.get(CUT))
    return [Turn(frame, cuts[frame]) for frame in sorted(cuts)]


def windows(changes: Sequence[Turn], known: Sequence[bool], longest: int, context: int) -> Iterator[Window]:
    """The windows of a clip: one per prompt change, or more if the network would read over `longest` latent frames.

    known: which of the clip's latent frames are given. A window reads the known frames directly after it, so that it
    leads up to them. context: the most frames that it reads on either side, within its scene.
    """
    scene = 0
    for turn, following in pairwise([*changes, Turn(len(known), True)]):
        scene = turn.frame if turn.cut else scene
        start = turn.frame
        while start < following.frame:
            before, opening = min(context, start - scene), int(0 < start == scene)
            end = min(following.frame, start + max(1, longest - before - opening))
            ahead = 0 if end == following.frame and following.cut else context
            until = end + len(list(takewhile(bool, known[end : end + ahead])))
            yield Window(start - before, start, end, until, opening)
            start = end
