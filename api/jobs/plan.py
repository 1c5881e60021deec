"""The values of a shot for its graph, computed from the request, the model's limits and the source clip."""

from __future__ import annotations

import math
from typing import Any

from ...media.probe import Facts
from ...models.timeline import storyboard
from ..errors import bad, summary
from ..graphs import marks
from ..request import fields
from ..settings import LocalModel

Json = dict[str, Any]

CONTEXT_SECONDS = 1.0
"""Seconds of the source clip that the model sees when it extends it."""
FRAME_STEP = 8
"""The step between legal frame counts if the model's is unknown. LTX Video and Pyramid Flow have 8."""
SEAM = "normal"
"""Loop Shot's choice for `loop: true`."""


def plan_shot(
    operation: str, shot: fields.Shot, local: LocalModel, known: Json, clip: Facts | None
) -> tuple[Json, list[str]]:
    """(values for the marks of `operation`'s graph, warnings about what was reduced). Raises ApiError.

    The values have all of `marks.FIELDS`, and "whole": the length of the finished video in seconds, or None.
    known: the model's record from `catalogue.facts`. clip: the clip to edit or extend.
    """
    values = {name: getattr(shot, name, None) for name in marks.FIELDS}
    values |= {"model": local.model, "loop": SEAM if shot.loop is True else shot.loop or None}
    if shot.size:
        values["width"], values["height"] = fields.sides(shot.size)
    if clip is not None:
        values |= {"width": values["width"] or clip.width, "height": values["height"] or clip.height}
    elif not values["width"] and not values["height"] and local.size:
        values["width"], values["height"] = fields.sides(local.size)
    warnings = _limit_size(values, local, known) + _LENGTHS[operation](values, local, known, clip)
    if values["generate_sound"] and known and not known.get("sound"):
        warnings.append(f"'generate_sound' is not used: {local.model} makes no sound.")
    if "whole" not in values:
        counted = values["num_frames"] / values["fps"] if values["num_frames"] and values["fps"] else None
        values["whole"] = values["seconds"] or counted
    return values, warnings


def _limit_size(values: Json, local: LocalModel, known: Json) -> list[str]:
    """Reduce the size in place to the model's max_pixels, in multiples of its step. Returns warnings.

    A side that the request leaves out is the model's recommended one.
    """
    step, (width, height) = known.get("sides", 8), (values[side] or known.get(side) for side in ("width", "height"))
    if not (width and height and local.max_pixels) or max(width, step) * max(height, step) <= local.max_pixels:
        return []
    scale = math.sqrt(local.max_pixels / (width * height))
    short, long = (max(step, round(side * scale / step) * step) for side in sorted((width, height)))
    long = max(step, min(long, local.max_pixels // short // step * step))
    values["width"], values["height"] = (short, long) if width <= height else (long, short)
    return [f"size {width}x{height} is too large for {local.model}: {values['width']}x{values['height']}."]


def _limit_length(values: Json, local: LocalModel, known: Json) -> list[str]:
    """Reduce the length in place to the model's max_frames and max_seconds. Returns warnings.

    Seconds are rounded to the nearest legal frame count, so up to half a step beyond the limit is allowed.
    """
    rate, warnings = values["fps"] or known.get("fps"), []
    most, step = _most(local, rate) if rate else local.max_frames or math.inf, known.get("frames", FRAME_STEP)
    seconds, frames = (
        values["seconds"],
        values["num_frames"] or (0 if values["seconds"] else known.get("num_frames", 0)),
    )
    if frames > most:
        values["num_frames"] = max(1, int(most))
        warnings.append(f"num_frames {frames:g} is too long for {local.model}: {values['num_frames']}.")
    if seconds and local.max_seconds and seconds > local.max_seconds:
        values["seconds"] = local.max_seconds
    if rate and values["seconds"] and values["seconds"] * rate > most + step / 2:
        values["seconds"] = most / rate
    if seconds != values["seconds"]:
        warnings.append(f"seconds {seconds:g} is too long for {local.model}: {values['seconds']:g}.")
    return warnings


def _generated(values: Json, local: LocalModel, known: Json, clip: None) -> list[str]:
    if not values["num_frames"] and not values["seconds"]:
        values["seconds"] = local.seconds
    return _limit_length(values, local, known)


def _boarded(values: Json, local: LocalModel, known: Json, clip: None) -> list[str]:
    """Put the prompt before the first card if that starts later than 0 s, and make the video longer than the cards."""
    cards = _cards(values["storyboard"])
    if cards[0].time > 0:
        values["storyboard"] = f"0s: {' '.join(values['prompt'].split())}\n{values['storyboard']}"
        cards = _cards(values["storyboard"])
    last = cards[-1].time
    rate = values["fps"] or known.get("fps")
    if not values["num_frames"] and not values["seconds"]:
        usual = local.seconds or (known["num_frames"] / rate if rate else 0)
        values["seconds"] = usual if usual > last else last + 1
    warnings = _limit_length(values, local, known)
    seconds = values["num_frames"] / rate if values["num_frames"] and rate else values["seconds"]
    if seconds and last >= seconds:
        raise bad(f"The storyboard's last card is at {last:g} s, but the video has only {seconds:g} s.", "storyboard")
    return warnings


def _cards(board: str) -> list[storyboard.Card]:
    try:
        return storyboard.read(board)
    except storyboard.StoryboardError as error:
        raise bad(summary(error), "storyboard") from None


def _most(local: LocalModel, rate: float) -> float:
    """The model's maximum number of frames; infinite if the owner set no limit."""
    return min(local.max_frames or math.inf, (local.max_seconds or math.inf) * rate)


def _changed(values: Json, local: LocalModel, known: Json, clip: Facts) -> list[str]:
    """Take as many frames of the clip as requested, at the clip's own frame rate if none is."""
    rate = values["fps"] or clip.fps
    asked = values["num_frames"] or (values["seconds"] or math.inf) * rate
    count, most = max(1, round(min(asked, clip.seconds * rate))), _most(local, rate)
    values["num_frames"] = count if count <= most else max(1, int(most))
    values["seconds"] = values["num_frames"] / rate
    kept = values["num_frames"]
    return [f"{count} frames are too many for {local.model}: the first {kept}."] if kept < count else []


def _extended(values: Json, local: LocalModel, known: Json, clip: Facts) -> list[str]:
    """Place the new frames before or after the clip, with CONTEXT_SECONDS of it for the model. The clip stays."""
    if not values["seconds"] and not values["num_frames"]:
        raise bad("'seconds' is missing. Send the length to add.", "seconds", "missing_required_parameter")
    rate, step = clip.fps, known.get("frames", FRAME_STEP)
    asked = values["num_frames"] or values["seconds"] * rate
    context = min(max(1, round(CONTEXT_SECONDS * rate / step)), (clip.frames - 1) // step) * step + 1
    added = max(1, round(asked / step)) * step
    warnings = []
    if context + added > (most := _most(local, rate)):
        fitting = max(1, int((most - context) // step)) * step
        warnings.append(f"{asked:g} frames are too many to add with {local.model} at once: {fitting}.")
        added = fitting
    forward = (values["direction"] or "forward") == "forward"
    values |= {
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
"""Operation (the name of its graph) -> the function that sets the length of its video."""
