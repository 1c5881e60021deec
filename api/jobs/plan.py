"""The values of a shot for its graph, computed from the request, the model's limits and the source clip."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from ...editing.changes import read_points
from ...media.probe import Facts
from ...models.timeline import cuts, storyboard
from ..errors import bad, summary
from ..graphs import marks
from ..request import fields
from ..settings import LocalModel

Json = dict[str, Any]

CONTEXT_SECONDS = 1.0
"""Seconds of the source clip that the model sees when it extends it."""
FRAME_STEP = 8
"""The step between legal frame counts if the model's is unknown. LTX Video and Pyramid Flow have 8."""
POINTS = "points"
"""Blend Shots' curve for points."""
TIMES = 2
"""How many times an upscaler enlarges width and height."""
SEAM = "normal"
"""Loop Shot's choice for `loop: true`."""


def plan_shot(
    operation: str, shot: fields.Shot, local: LocalModel, known: Json, clip: Facts | None, second: Facts | None = None
) -> tuple[Json, list[str]]:
    """(values for the marks of `operation`'s graph, warnings about what was reduced). Raises ApiError.

    The values have all of `marks.FIELDS`, "size": (width, height) of the finished video, and "whole": its length in
    seconds, or None. known: the model's record from `catalogue.facts`; its "upscaler" doubles the size of the clip that
    the graph makes first. clip: the clip to edit or extend. second: the one to blend it with.
    """
    upscaler = known.get("upscaler")
    if upscaler:
        known = known | {name: TIMES * known[name] for name in ("width", "height", "sides") if name in known}
    values = {name: getattr(shot, name, None) for name in marks.FIELDS}
    values |= {"model": local.model, "loop": SEAM if shot.loop is True else shot.loop or None}
    if shot.size:
        values["width"], values["height"] = fields.sides(shot.size)
    if clip is not None:
        values |= {"width": values["width"] or clip.width, "height": values["height"] or clip.height}
    elif not values["width"] and not values["height"] and local.size:
        values["width"], values["height"] = fields.sides(local.size)
    if upscaler:
        _round_size(values, known)
    values["storyboard_images"] = None  # a file, if a card names one
    warnings = [] if operation == "recut" else _limit_size(values, local, known)
    if operation == "blend":
        warnings += _blended(values, shot.blend, local, known, clip, second)
    else:
        warnings += _LENGTHS[operation](values, local, known, clip)
    values |= {"upscaler": upscaler, "size": (values["width"], values["height"])}
    if upscaler:
        values |= {side: values[side] // TIMES for side in ("width", "height") if values[side]}
    if values["generate_sound"] and known and not known.get("sound"):
        warnings.append(f"'generate_sound' is not used: {local.model} makes no sound.")
        values["generate_sound"] = None
    if "whole" not in values:
        counted = values["num_frames"] / values["fps"] if values["num_frames"] and values["fps"] else None
        values["whole"] = values["seconds"] or counted
    return values, warnings


def _round_size(values: Json, known: Json) -> None:
    """Set both sides in place: the model's, if the request names none, in multiples of its step."""
    step = known["sides"]
    for side in ("width", "height"):
        values[side] = max(1, round((values[side] or known[side]) / step)) * step


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


def has_gaps(recut: str) -> bool:
    """Whether a re-cut's text has a gap for the model."""
    return any(cuts.GAP.fullmatch(line.strip()) for line in re.split(r"[,\n]", recut))


def only_longer(recut: str) -> bool:
    """Whether the only gap of a re-cut is its end, so that it extends the clip."""
    lines = [line for line in map(str.strip, re.split(r"[,\n]", recut)) if line]
    return not has_gaps("\n".join(lines[:-1]))


def _order(values: Json, clip: Facts) -> cuts.Order:
    try:
        return cuts.read_order(values["recut"], clip.frames, clip.fps)
    except ValueError as error:
        raise bad(summary(error), "recut") from None


def _recut(values: Json, local: LocalModel, known: Json, clip: Facts) -> list[str]:
    """Put the clip's frames in their new order. No model takes part, so it has no limits."""
    order = _order(values, clip)
    values |= {"num_frames": len(order), "seconds": len(order) / clip.fps, "whole": len(order) / clip.fps}
    values |= {"recut": cuts.text_of(order, clip.fps), "width": clip.width, "height": clip.height}
    return []


def _filled(values: Json, local: LocalModel, known: Json, clip: Facts) -> list[str]:
    """Give the model the gaps of a re-cut with CONTEXT_SECONDS of the clip on either side."""
    asked, rate, step = _order(values, clip), clip.fps, known.get("frames", FRAME_STEP)
    try:
        filling = cuts.filling(asked, step, round(CONTEXT_SECONDS * rate), _most(local, rate))
    except ValueError as error:
        raise bad(summary(error), "recut") from None
    (begin, end), holes = filling.window, filling.holes
    window = [None if hole else place for place, hole in enumerate(holes)]
    values |= {
        "num_frames": len(filling.order),
        "seconds": len(filling.order) / rate,
        "whole": len(filling.order) / rate,
        "recut": cuts.text_of(filling.order, rate),
        "recut_kept": cuts.text_of(filling.kept, rate),
        "recut_holes": cuts.text_of(window, rate),
        "context_start": begin / rate,
        "context_seconds": (end - begin) / rate,
    }
    gaps, made = asked.count(None), filling.order.count(None)
    return [f"The gaps are {made / rate:g} s, not {gaps / rate:g} s: the model makes so many frames at a time."] * (
        gaps != made
    )


def _blended(
    values: Json, blend: fields.Blend, local: LocalModel, known: Json, clip: Facts, second: Facts
) -> list[str]:
    """Let the clip's end overlap the second clip's start, with CONTEXT_SECONDS of both around."""
    if blend.points is not None:
        try:
            read_points(blend.points)
        except ValueError as error:
            raise bad(summary(error), "blend") from None
    rate, step = clip.fps, known.get("frames", FRAME_STEP)
    other, most = round(second.seconds * rate), _most(local, rate)
    longest = min((clip.frames - 1) // step, (other - 2) // step) * step
    if longest < step or step + step + 1 > most:
        raise bad(
            f"The clips are {clip.seconds:.2f} s and {second.seconds:.2f} s; both must have at least {step + 2} frames "
            f"at {rate:g} fps to be blended.",
            "blend",
        )
    span = min(longest, max(1, round(blend.seconds * rate / step)) * step)
    if span + 1 > most:
        span = int((most - 1) // step) * step
    spare = min(most, clip.frames + other) - span - 1
    context = min(round(CONTEXT_SECONDS * rate), int(spare // 2)) // step * step
    before = min(context, (clip.frames - span - 1) // step * step)
    after = min(context, (other - span - 2) // step * step)
    first = 1 + before + span
    whole = clip.frames + other - span - 1
    values |= {
        "fps": rate,
        "num_frames": whole,
        "seconds": whole / rate,
        "whole": whole / rate,
        "blend_seconds": span / rate,
        "blend_curve": POINTS if blend.points is not None else blend.curve,
        "blend_points": blend.points,
        "context_start": (clip.frames - first) / rate,
        "context_seconds": first / rate,
        "second_seconds": (1 + span + after) / rate,
        "new_start": (first - span) / rate,
        "new_end": first / rate,
        "first_end": (clip.frames - span) / rate,
        "second_start": (span + 1) / rate,
    }
    if span == max(1, round(blend.seconds * rate / step)) * step:
        return []
    return [f"The clips overlap by {span / rate:g} s: {blend.seconds:g} s is more than they or {local.model} allow."]


_LENGTHS: dict[str, Callable[[Json, LocalModel, Json, Facts | None], list[str]]] = {
    "generate": _generated,
    "storyboard": _boarded,
    "edit": _changed,
    "loop": _changed,
    "recut": _recut,
    "fill": _filled,
    "extend": _extended,
}
"""Operation (the name of its graph) -> the function that sets the length of its video."""
