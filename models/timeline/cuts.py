"""A re-cut, read from text: pieces of a clip in a new order, and gaps that the model fills.

The text has one piece per line or between commas: "0 - 1.5" and "gap 0.5", in seconds. An order is the clip's frame
numbers in their new sequence; None is a frame to make.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

_SECONDS = r"([0-9]{1,9}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})"
GAP, PIECE = re.compile(rf"gap\s+{_SECONDS}", re.IGNORECASE), re.compile(rf"{_SECONDS}?\s*-\s*{_SECONDS}?")
MOST_FRAMES = 100_000
CUT_LOOK = "Write pieces as '0-1.5' and gaps as 'gap 0.5', in seconds, one per line or separated by commas."

Order = list[int | None]


def read_order(text: str, frames: int, frame_rate: float) -> Order:
    """The order that a text asks for, of a clip with `frames` frames.

    Raises ValueError, which names the piece that cannot be read or holds no frame.
    """
    order: Order = []
    for piece in filter(None, (part.strip() for part in re.split(r"[,\n]", text))):
        gap, ends = GAP.fullmatch(piece), PIECE.fullmatch(piece)
        if gap:
            frame_numbers: Order = [None] * min(round(float(gap[1]) * frame_rate), MOST_FRAMES + 1)
        elif ends:
            begin, end = (float(number) * frame_rate if number else None for number in ends.groups())
            frame_numbers = list(range(round(begin or 0), frames if end is None else min(round(end), frames)))
            if not frame_numbers:
                raise ValueError(
                    f"The piece '{piece}' holds no frame: the clip goes from 0 to {frames / frame_rate:g} seconds. "
                    + CUT_LOOK
                )
        else:
            raise ValueError(f"'{piece}' is not a piece or a gap. {CUT_LOOK}")
        order += frame_numbers
        if len(order) > MOST_FRAMES:
            raise ValueError(f"At '{piece}' the new clip has more than {MOST_FRAMES:,} frames. Cut it in parts.")
    if all(frame is None for frame in order):
        raise ValueError(f"There is no piece of the clip here. {CUT_LOOK}")
    return order


def runs(order: Sequence[int | None]) -> list[list[int | None]]:
    """The order in stretches: consecutive frames of the clip, and gaps."""
    keyed = enumerate(order)
    return [
        [frame for _, frame in run]
        for _, run in groupby(keyed, lambda each: None if each[1] is None else each[1] - each[0])
    ]


def text_of(order: Sequence[int | None], frame_rate: float) -> str:
    """An order as text that `read_order` reads as the same order."""
    lines = []
    for run in runs(order):
        if run[0] is None:
            lines.append(f"gap {_seconds(len(run), frame_rate)}")
        else:
            lines.append(f"{_seconds(run[0], frame_rate)} - {_seconds(run[-1] + 1, frame_rate)}")
    return "\n".join(lines)


def _seconds(frames: int, frame_rate: float) -> str:
    return f"{frames / frame_rate:.6f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Filling:
    """What a model needs to fill the gaps of a re-cut.

    order: the new clip, with gaps as long as the model makes them. window: the frames of it, first and end, that the
    model gets. holes: of each of the window's frames, whether the model makes it: the gaps, and the frames that share a
    latent frame with one.
    """

    order: Order
    window: tuple[int, int]
    holes: list[bool]

    @property
    def kept(self) -> Order:
        """The order with all that the model makes as gaps."""
        begin, end = self.window
        inside = [None if hole else frame for hole, frame in zip(self.holes, self.order[begin:end], strict=True)]
        return [*self.order[:begin], *inside, *self.order[end:]]


def filling(order: Order, step: int, context: int, most: float) -> Filling:
    """Where a model fills the gaps of an order.

    step: frame counts of the model minus 1 are multiples of it, and it makes that many frames at a time. So gaps are
    lengthened to multiples, and a latent frame begins at the first. context: frames on either side that the model sees.
    most: the model's maximum. Raises ValueError if the gaps and what lies between them exceed it.
    """
    order = _lengthened(order, step)
    first, last = order.index(None), len(order) - order[::-1].index(None)
    anchor = max(0, first - 1)  # a frame that the first latent frame of a window, which is single, can be
    end = anchor + 1 - (anchor + 1 - last) // step * step
    if end > len(order):  # the rest of the clip is shorter than a latent frame
        order = order[:last] + [None] * (end - len(order)) + order[last:]
    if end - anchor > most:
        raise ValueError(
            f"The gaps and what lies between them are {end - anchor} frames; the model makes up to {most:g} at once. "
            "Make the gaps shorter, or fill one, then the next."
        )
    spare = int(min(most, len(order))) - (end - anchor)
    before, after = (min(context, room) // step * step for room in (anchor, len(order) - end))
    before = min(before, max(spare // 2, spare - after) // step * step)
    after = min(after, (spare - before) // step * step)
    missing = [frame is None for frame in order[anchor - before : end + after]]
    holes = missing[:1]
    for at in range(1, len(missing), step):
        holes += [any(missing[at : at + step])] * step
    if all(holes):
        raise ValueError(f"The piece beside the gap is too short: the model needs at least {step + 1} frames of it.")
    return Filling(order, (anchor - before, end + after), holes)


def _lengthened(order: Order, step: int) -> Order:
    """The order with gaps that are multiples of `step`, one more at the start, where the first latent frame is one."""
    longer: Order = []
    for run in runs(order):
        count = len(run)
        if run[0] is None:
            extra = 0 if longer else 1
            count = max(0 if extra else 1, round((count - extra) / step)) * step + extra
        longer += run if run[0] is not None else [None] * count
    return longer
