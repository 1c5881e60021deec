"""The numbers of a shot: what a graph is given, from the request, the model, and the clip that is changed."""

from __future__ import annotations

import math
from typing import Any

from ...media.probe import Facts
from ...models.timeline import storyboard
from ..errors import bad
from ..graphs import marks
from ..request import fields
from ..settings import LocalModel

Json = dict[str, Any]

CONTEXT_SECONDS = 1.0
"""How much of a clip the model sees of what it is to go on from."""
FRAME_STEP = 8
"""Frames by which a clip grows where the model does not say: right for most."""
SEAM = "normal"
"""Of `loop: true`; Loop Shot's other words may stand there instead."""


def values(
    operation: str, shot: fields.Shot, local: LocalModel, known: Json, clip: Facts | None
) -> tuple[Json, list[str]]:
    """(what the graph of `operation` is given, what had to be made smaller). Raises ApiError.

    Beside `graphs.FIELDS` there is "whole": the seconds of the finished video, where they are known.
    known: what catalogue.facts says of the model. clip: the one to be changed or gone on from.
    """
    found = {name: getattr(shot, name, None) for name in marks.FIELDS}
    found |= {"model": local.model, "loop": SEAM if shot.loop is True else shot.loop or None}
    if shot.size:
        found["width"], found["height"] = fields.sides(shot.size)
    if clip is not None:
        found |= {"width": found["width"] or clip.width, "height": found["height"] or clip.height}
    elif not found["width"] and not found["height"] and local.size:
        found["width"], found["height"] = fields.sides(local.size)
    warnings = _limit_size(found, local, known) + _LENGTHS[operation](found, local, known, clip)
    if "whole" not in found:
        counted = found["num_frames"] / found["fps"] if found["num_frames"] and found["fps"] else None
        found["whole"] = found["seconds"] or counted
    return found, warnings


def _limit_size(found: Json, local: LocalModel, known: Json) -> list[str]:
    """Bring the size down to what the model is asked for at most, in its own steps; says what was changed.

    A side that the request does not name is the one that the model recommends.
    """
    step, (width, height) = known.get("sides", 8), (found[side] or known.get(side) for side in ("width", "height"))
    if not (width and height and local.max_pixels) or max(width, step) * max(height, step) <= local.max_pixels:
        return []
    scale = math.sqrt(local.max_pixels / (width * height))
    short, long = (max(step, round(side * scale / step) * step) for side in sorted((width, height)))
    long = max(step, min(long, local.max_pixels // short // step * step))
    found["width"], found["height"] = (short, long) if width <= height else (long, short)
    return [f"size {width}x{height} is too large for {local.model}: {found['width']}x{found['height']}."]


def _limit_length(found: Json, local: LocalModel, known: Json) -> list[str]:
    """Bring the length down to what the model is asked for at most, whichever way it is named; says what was changed.

    Seconds become the nearest frame count that the model can make, so half a step more than the limit is within it.
    """
    rate, warnings = found["fps"] or known.get("fps"), []
    most, step = _most(local, rate) if rate else local.max_frames or math.inf, known.get("frames", FRAME_STEP)
    seconds, frames = found["seconds"], found["num_frames"] or (0 if found["seconds"] else known.get("num_frames", 0))
    if frames > most:
        found["num_frames"] = max(1, int(most))
        warnings.append(f"num_frames {frames:g} is too long for {local.model}: {found['num_frames']}.")
    if seconds and local.max_seconds and seconds > local.max_seconds:
        found["seconds"] = local.max_seconds
    if rate and found["seconds"] and found["seconds"] * rate > most + step / 2:
        found["seconds"] = most / rate
    if seconds != found["seconds"]:
        warnings.append(f"seconds {seconds:g} is too long for {local.model}: {found['seconds']:g}.")
    return warnings


def _generated(found: Json, local: LocalModel, known: Json, clip: None) -> list[str]:
    if not found["num_frames"] and not found["seconds"]:
        found["seconds"] = local.seconds
    return _limit_length(found, local, known)


def _boarded(found: Json, local: LocalModel, known: Json, clip: None) -> list[str]:
    """A board as Storyboard reads it; the prompt is what is seen before its first card."""
    cards = _cards(found["storyboard"])
    if cards[0].time > 0:
        found["storyboard"] = f"0s: {' '.join(found['prompt'].split())}\n{found['storyboard']}"
        cards = _cards(found["storyboard"])
    last = cards[-1].time
    rate = found["fps"] or known.get("fps")
    if not found["num_frames"] and not found["seconds"]:
        usual = local.seconds or (known["num_frames"] / rate if rate else 0)
        found["seconds"] = usual if usual > last else last + 1
    warnings = _limit_length(found, local, known)
    seconds = found["num_frames"] / rate if found["num_frames"] and rate else found["seconds"]
    if seconds and last >= seconds:
        raise bad(f"The storyboard's last card is at {last:g} s, but the video is {seconds:g} s long.", "storyboard")
    return warnings


def _cards(board: str) -> list[storyboard.Card]:
    try:
        return storyboard.read(board)
    except storyboard.StoryboardError as error:
        raise bad(str(error), "storyboard") from None


def _most(local: LocalModel, rate: float) -> float:
    """Frames the model is asked for at most; infinite where nobody has set a limit."""
    return min(local.max_frames or math.inf, (local.max_seconds or math.inf) * rate)


def _changed(found: Json, local: LocalModel, known: Json, clip: Facts) -> list[str]:
    """As much of the clip as is asked for, at its own speed."""
    rate = found["fps"] or clip.fps
    asked = found["num_frames"] or (found["seconds"] or math.inf) * rate
    count, most = max(1, round(min(asked, clip.seconds * rate))), _most(local, rate)
    found["num_frames"] = count if count <= most else max(1, int(most))
    found["seconds"] = found["num_frames"] / rate
    kept = found["num_frames"]
    return [f"{count} frames are too many for {local.model}: the first {kept}."] if kept < count else []


def _extended(found: Json, local: LocalModel, known: Json, clip: Facts) -> list[str]:
    """Frames to be made beside those the model sees. The clip's own frames are not among what the graph makes anew."""
    if not found["seconds"] and not found["num_frames"]:
        raise bad("'seconds' is missing: how much is to be added.", "seconds", "missing_required_parameter")
    rate, step = clip.fps, known.get("frames", FRAME_STEP)
    asked = found["num_frames"] or found["seconds"] * rate
    context = min(max(1, round(CONTEXT_SECONDS * rate / step)), (clip.frames - 1) // step) * step + 1
    added = max(1, round(asked / step)) * step
    warnings = []
    if context + added > (most := _most(local, rate)):
        fitting = max(1, int((most - context) // step)) * step
        warnings.append(f"{asked:g} frames are too many to add with {local.model} at once: {fitting}.")
        added = fitting
    forward = (found["direction"] or "forward") == "forward"
    found |= {
        "direction": "forward" if forward else "backward",
        "num_frames": clip.frames + added,
        "seconds": added / rate,
        "whole": (clip.frames + added) / rate,
        "context_start": (clip.frames - context) / rate if forward else 0.0,
        "context_seconds": context / rate,
        "new_start": context / rate if forward else 0.0,
        "new_end": (context + added) / rate if forward else added / rate,
    }
    return warnings


_LENGTHS = {
    "generate": _generated,
    "storyboard": _boarded,
    "edit": _changed,
    "loop": _changed,
    "extend": _extended,
}
"""How the length of each operation's video is found; the keys are the names of the graphs."""
