"""Extends, loops, blends and masks a clip as a LATENT. Each function makes holes, which the sampler fills."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from ..models.contract.grid import Grid
from ..models.timeline.keyframes import entered, with_keyframes
from ..models.timeline.latent import (
    CUTS,
    LOOP,
    finished,
    frame_rate_of,
    sound_of,
    with_holes,
    with_mask,
)
from ..models.timeline.sound import Stretch, edited, frames_before, hole
from .pieces import Opening, context_of, latent_frames

SEAMS = {"short": 0.5, "normal": 1.0, "long": 2.0}
"""Seconds of a loop's end that are regenerated."""
CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda at: at,
    "ease": lambda at: at**2 * (3 - 2 * at),
    "sharp": lambda at: np.clip(5 * at - 2, 0, 1),
}
"""Place in a blend (0..1) -> influence of the second clip (0..1)."""
POINTS_LOOK = "for example 0:0, 0.5:0.2, 1:1."


def extended(latent: dict, count: int, forward: bool, grid: Grid) -> dict:
    """A clip with a hole of `count` latent frames after it (forward) or before it.

    Backward, the clip's first frame is part of the hole: it becomes the last frame of a latent frame that holds
    several.
    """
    clip = finished(latent)
    empty = clip.new_zeros(*clip.shape[:2], count + (not forward), *clip.shape[3:])
    kept = clip if forward else clip[:, :, 1:]
    parts = [kept, empty] if forward else [empty, kept]
    mask = torch.cat([torch.full((part.shape[2],), float(part is empty)) for part in parts])
    cuts = {CUTS: [cut + (0 if forward else count) for cut in latent[CUTS]]} if CUTS in latent else {}
    frames, new = grid.frames(clip.shape[2]), count * grid.temporal
    stretches = [Stretch(frames), hole(new)] if forward else [hole(new + 1), Stretch(frames - 1, start=1)]
    longer = {**with_holes(latent, torch.cat(parts, dim=2), mask, edited([latent], stretches)), **cuts}
    return longer if forward else entered(longer, empty.shape[2], clip[:, :, :1])


def looped(latent: dict, count: int, moved: int, opening: Opening, grid: Grid) -> dict:
    """A clip as a loop: its last `count` latent frames are a hole, and latent frames 1 to `moved` move behind the hole.

    So the hole has known frames on both sides, and where the player jumps back, two latent frames meet that were
    neighbours in the clip. Latent frame 0 stands for the frame before the loop's first one; `decoding.frames` does not
    show it. If the hole leaves room, the loop begins in the middle of a latent frame: players may stutter as they jump
    back, and there the frames are most alike.
    """
    clip = finished(latent)
    kept, beginning = clip[:, :, moved + 1 : clip.shape[2] - count], clip[:, :, 1 : moved + 1]
    empty = clip.new_zeros(*clip.shape[:2], count, *clip.shape[3:])
    mask = torch.zeros(clip.shape[2])
    mask[1 + kept.shape[2] : 1 + kept.shape[2] + count] = 1
    whole = torch.cat([opening(clip, moved + 1).to(clip), kept, empty, beginning], dim=2)
    start = frames_before(moved + 1, grid)
    stretches = [
        Stretch(1 + kept.shape[2] * grid.temporal, start - 1),
        hole(count * grid.temporal),
        Stretch(moved * grid.temporal, 1),
    ]
    loop = with_holes(latent, whole, mask, edited([latent], stretches))
    loop = entered(loop, 1 + kept.shape[2] + count, clip[:, :, :1])
    return {**loop, LOOP: 1 + (grid.temporal // 2 if kept.shape[2] else 0)}


def loop_of(latent: dict, seam: str, overlap: float, opening: Opening, grid: Grid) -> tuple[dict, str]:
    """A clip as a loop with a seam of SEAMS, and a note on where the loop begins in the clip.

    overlap: seconds of context on either side of the hole; 0 = the whole clip. Raises ValueError if the clip is too
    short.
    """
    total = finished(latent).shape[2]
    asked, room = latent_frames(SEAMS[seam], latent, grid), total - 1 - grid.group
    if room < grid.group:
        raise ValueError(
            f"A clip of {grid.frames(total)} frames is too short for a loop; it needs at least "
            f"{grid.frames(1 + 2 * grid.group)}. Extend it first."
        )
    count = min(asked, room)
    half = max(1, (total - count) // 2 // grid.group) * grid.group
    moved = min(context_of(overlap, latent, grid), half)
    loop = looped(latent, count, moved, opening, grid)
    begins = f"begins at {(moved * grid.temporal + loop[LOOP]) / frame_rate_of(latent):g} s of the clip"
    return loop, begins if count == asked else f"{begins}; too short for a longer seam"


def blended(first: dict, second: dict, influence: torch.Tensor, grid: Grid, opening: Opening | None = None) -> dict:
    """Two clips that overlap over the latent frames of `influence` [span] (0 = the first clip, 1 = the second).

    A latent frame of the span starts as the clip with more influence, and the mask frees it by 1 - |2 x influence - 1|:
    at 0.5 the model is free. The second clip starts with its second frame. Cuts outside the span stay. opening: for
    networks that read keyframes, to which the end of the span leads.
    """
    one, other = finished(first), finished(second)
    if one.shape[1:2] + one.shape[3:] != other.shape[1:2] + other.shape[3:]:
        raise ValueError(
            f"The first clip has latents of {one.shape[1]} channels, {one.shape[4]} x {one.shape[3]}, the second of "
            f"{other.shape[1]} channels, {other.shape[4]} x {other.shape[3]}. Both must have the same model and size: "
            "decode the second one and encode its frames at the size of the first."
        )
    span, batch = len(influence), max(len(one), len(other))
    if span > min(one.shape[2], other.shape[2]) - 1:
        raise ValueError(
            f"The clips have {one.shape[2]} and {other.shape[2]} latent frames; they cannot overlap by {span}, because "
            "the first frame of each is kept. Blend over a shorter span."
        )
    one, other = (clip.expand(batch, *clip.shape[1:]) for clip in (one, other))
    before, leaving = one[:, :, :-span], one[:, :, -span:]
    arriving, after = other[:, :, 1 : span + 1].to(one), other[:, :, span + 1 :].to(one)
    nearer = torch.where(influence.to(one).view(1, 1, -1, 1, 1) < 0.5, leaving, arriving)
    free = 1 - (2 * influence - 1).abs()
    mask = torch.cat([torch.zeros(before.shape[2]), free, torch.zeros(after.shape[2])])
    stretches = [Stretch(grid.frames(before.shape[2]))]
    for number, (share, part) in enumerate(zip(influence.tolist(), free.tolist(), strict=True)):
        clip, start = (0, before.shape[2] + number) if share < 0.5 else (1, 1 + number)
        stretches.append(Stretch(grid.temporal, frames_before(start, grid), clip, part))
    stretches.append(Stretch(after.shape[2] * grid.temporal, frames_before(span + 1, grid), 1))
    sound = edited([first, second], stretches)
    cuts = [cut for cut in first.get(CUTS, ()) if cut <= before.shape[2]]
    cuts += [cut + before.shape[2] - 1 for cut in second.get(CUTS, ()) if cut > span]
    blend = with_holes(first, torch.cat([before, nearer, after], dim=2), mask, sound)
    blend = {**blend, CUTS: cuts} if cuts else blend
    if opening is None or not (after.shape[2] and free[-1]):
        return blend
    return entered(blend, before.shape[2] + span, opening(other, span + 1))


def influence_of(curve: str, points: str, count: int) -> torch.Tensor:
    """Influence [count] of the second clip over a blend's latent frames, from a curve's name or the artist's points.

    Raises ValueError, which names the point that cannot be read.
    """
    at = (np.arange(count) + 1) / (count + 1)
    values = CURVES[curve](at) if curve in CURVES else np.interp(at, *read_points(points))
    return torch.from_numpy(values).float()


def read_points(text: str) -> tuple[list[float], list[float]]:
    """Times and values, both 0..1, of points such as "0:0, 0.5:0.2, 1:1". Raises ValueError, which names the point."""
    times, values = [], []
    for point in filter(None, (part.strip() for part in text.split(","))):
        try:
            time, value = (float(number) for number in point.split(":"))
        except ValueError:
            time = value = math.nan
        if not (0 <= time <= 1 and 0 <= value <= 1):
            raise ValueError(f"The point '{point}' is not time:influence, both from 0 to 1, {POINTS_LOOK}")
        if times and time <= times[-1]:
            raise ValueError(
                f"The point '{point}' is not later than the one before. Write them in order, {POINTS_LOOK}"
            )
        times.append(time)
        values.append(value)
    if not times:
        raise ValueError(f"There are no points. Write them as time:influence, {POINTS_LOOK}")
    return times, values


def masked(latent: dict, mask: torch.Tensor, strength: float, grid: Grid) -> dict:
    """A clip with a hole where `mask` [1 or F, height, width] is 1, in space and time.

    A latent pixel gets the largest mask value that touches it. A mask of another size is scaled; one of another length
    is stretched over the clip, frame by frame. The clip's sound is kept.
    """
    clip = finished(latent)
    frames, (time, height, width) = grid.frames(clip.shape[2]), clip.shape[2:]
    size = (height * grid.spatial, width * grid.spatial)
    pixels = mask.float().reshape(-1, 1, *mask.shape[-2:])
    if pixels.shape[-2:] != size:
        pixels = torch.nn.functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    pixels = torch.nn.functional.adaptive_max_pool2d(pixels, (height, width))[:, 0]
    at = torch.linspace(0, len(pixels) - 1, frames).round().long()
    pixels = torch.cat([pixels[at[:1]].expand(grid.temporal - 1, -1, -1), pixels[at]])  # the first frame stands alone
    holes = pixels.view(time, grid.temporal, height, width).amax(dim=1).clamp(0, 1) * strength
    sound = sound_of(latent["samples"])
    kept = None if sound is None else torch.zeros(len(sound), 1, sound.shape[2], 1)
    return with_mask(with_keyframes(latent, ()), holes[None, None].expand(len(clip), -1, -1, -1, -1).clone(), kept)
