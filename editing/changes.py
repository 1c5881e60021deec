"""An editor's tools on shots: extending, looping, blending, re-cutting. Each only says where a clip has holes.

Only the first latent frame of a clip stands for a single frame of video, so a piece out of the middle is not a clip:
it needs an opening, the frame before it encoded as a picture. What a hole does not need for context stays outside, in
the LATENT's entry `around`, and comes back when the shot is joined.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..models import bridge
from ..models.contract.grid import Grid
from ..models.timeline.latent import AROUND, CUTS, LOOP, finished, frame_rate_of, length, mask_of, with_holes

if TYPE_CHECKING:
    import comfy.sd

Opening = Callable[[torch.Tensor, int], torch.Tensor]
"""(latents, n) -> what stands for latent frame n - 1 at the start of a clip, [B, C, 1, h, w]."""

SEAMS = {"short": 0.5, "normal": 1.0, "long": 2.0}
"""Seconds of a loop's end that are made anew."""
CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda at: at,
    "ease": lambda at: at**2 * (3 - 2 * at),
    "sharp": lambda at: np.clip(5 * at - 2, 0, 1),
}
"""How the second clip's influence (0..1) grows with the place in a blend (0..1)."""
_SECONDS = r"([0-9]{1,9}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})"
GAP, PIECE = re.compile(rf"gap\s+{_SECONDS}", re.IGNORECASE), re.compile(rf"{_SECONDS}?\s*-\s*{_SECONDS}?")
MOST_FRAMES = 100_000
DECODED = 4  # latent frames decoded around a frame that is needed: enough for the decoder to show it
POINTS_LOOK = "for example 0:0, 0.5:0.2, 1:1."
CUT_LOOK = "Write pieces like 0-1.5 and gaps like gap 0.5, in seconds, one a line or with commas between."


@dataclass(frozen=True)
class Around:
    """What a shot leaves out of its clip: latents [B, C, t, h, w] before and after it (t may be 0).

    Of the sampled shot, `lead` latent frames at the start and `tail` at the end are context that is not part of it.
    """

    before: torch.Tensor
    after: torch.Tensor
    lead: int
    tail: int


def latent_frames(seconds: float, latent: dict, grid: Grid) -> int:
    """The number of latent frames nearest to a length in seconds, at least one, that an autoencoder can take."""
    frames = seconds * frame_rate_of(latent)
    return max(1, round(frames / (grid.temporal * grid.group))) * grid.group


def extended(latent: dict, count: int, forward: bool) -> dict:
    """A clip with a hole of `count` latent frames after it, or before it.

    Before it, the clip's first frame is part of the hole: it becomes the last frame of a latent frame that holds
    several.
    """
    clip = finished(latent)
    made = clip.new_zeros(*clip.shape[:2], count + (not forward), *clip.shape[3:])
    kept = clip if forward else clip[:, :, 1:]
    parts = [kept, made] if forward else [made, kept]
    mask = torch.cat([torch.full((part.shape[2],), float(part is made)) for part in parts])
    cuts = {CUTS: [cut + (0 if forward else count) for cut in latent[CUTS]]} if CUTS in latent else {}
    return {**with_holes(latent, torch.cat(parts, dim=2), mask), **cuts}


def looped(latent: dict, count: int, moved: int, opening: Opening, grid: Grid) -> dict:
    """A clip as a loop: its last `count` latent frames are a hole, its first `moved` (but for its first) come after it.

    So the loop begins later than the clip; where it jumps back, two latent frames of the clip meet as they always did,
    and the hole has known frames on both sides. Latent frame 0 stands for the frame before the loop's first one, and
    `frames` does not show it. Where the hole leaves room, they are shown from the middle of a latent frame on: a
    player that stumbles when it jumps back is noticed least where frames are most alike.
    """
    clip = finished(latent)
    kept, beginning = clip[:, :, moved + 1 : clip.shape[2] - count], clip[:, :, 1 : moved + 1]
    made = clip.new_zeros(*clip.shape[:2], count, *clip.shape[3:])
    mask = torch.zeros(clip.shape[2])
    mask[1 + kept.shape[2] : 1 + kept.shape[2] + count] = 1
    whole = torch.cat([opening(clip, moved + 1).to(clip), kept, made, beginning], dim=2)
    return {**with_holes(latent, whole, mask), LOOP: 1 + (grid.temporal // 2 if kept.shape[2] else 0)}


def blended(first: dict, second: dict, influence: torch.Tensor) -> dict:
    """Two clips that overlap in the latent frames of `influence` (0 = all the first, 1 = all the second).

    A latent frame of the span begins as the clip with more influence and is kept as far as its influence goes beyond
    a half: where both have the same, the model is free. The second clip goes on from its second frame.
    """
    one, other = finished(first), finished(second)
    if one.shape[1:2] + one.shape[3:] != other.shape[1:2] + other.shape[3:]:
        raise ValueError(
            f"The first clip has latents of {one.shape[1]} channels, {one.shape[4]} x {one.shape[3]}, the second of "
            f"{other.shape[1]} channels, {other.shape[4]} x {other.shape[3]}. Make both with the same model and size: "
            "decode the second one and encode its frames at the size of the first."
        )
    span, batch = len(influence), max(len(one), len(other))
    if span > min(one.shape[2], other.shape[2]) - 1:
        raise ValueError(
            f"The clips have {one.shape[2]} and {other.shape[2]} latent frames; they cannot overlap in {span}, because "
            "the first frame of each stays. Blend over a shorter span."
        )
    one, other = (clip.expand(batch, *clip.shape[1:]) for clip in (one, other))
    before, leaving = one[:, :, :-span], one[:, :, -span:]
    arriving, after = other[:, :, 1 : span + 1].to(one), other[:, :, span + 1 :].to(one)
    nearer = torch.where(influence.to(one).view(1, 1, -1, 1, 1) < 0.5, leaving, arriving)
    mask = torch.cat([torch.zeros(before.shape[2]), 1 - (2 * influence - 1).abs(), torch.zeros(after.shape[2])])
    return with_holes(first, torch.cat([before, nearer, after], dim=2), mask)


def influence_of(curve: str, points: str, count: int) -> torch.Tensor:
    """Influence [count] of the second clip over a blend's latent frames: a curve by name, or the artist's points.

    Raises ValueError naming the point that cannot be read.
    """
    at = (np.arange(count) + 1) / (count + 1)
    values = CURVES[curve](at) if curve in CURVES else np.interp(at, *read_points(points))
    return torch.from_numpy(values).float()


def read_points(text: str) -> tuple[list[float], list[float]]:
    """Times and values of points like "0:0, 0.5:0.2, 1:1"; both 0..1. Raises ValueError naming what cannot be read."""
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


def window(latent: dict, context: int, grid: Grid, opening: Opening) -> dict:
    """The part of a clip with holes that the sampler needs: the holes, and `context` latent frames on either side.

    `joined` puts everything together again.
    """
    samples, mask = latent["samples"], mask_of(latent)
    holes = mask.amax(dim=(0, 1, 3, 4)).nonzero().flatten().tolist()
    total = samples.shape[2]
    first, end = (holes[0], holes[-1] + 1) if holes else (0, total)
    # Groups of an autoencoder begin with the latent frame after the first.
    begin = max(0, (first - context - 1) // grid.group * grid.group + 1) if first else 0
    stop = min(total, -(-(end + context - 1) // grid.group) * grid.group + 1)
    around = Around(samples[:, :, :first], samples[:, :, end:], first, stop - end)
    if begin > 1:
        lead = opening(samples, begin).to(samples)
        around = Around(around.before, around.after, first - begin + 1, around.tail)
        samples = torch.cat([lead, samples[:, :, begin:]], dim=2)
        mask = torch.cat([torch.zeros_like(mask[:, :, :1]), mask[:, :, begin:]], dim=2)
        stop += 1 - begin
    return {**latent, "samples": samples[:, :, :stop], "noise_mask": mask[:, :, :stop], AROUND: around}


def joined(latent: dict) -> dict:
    """The whole clip of a sampled shot, nothing of it a hole any more. Raises ValueError when it was no part of one."""
    if AROUND not in latent:
        raise ValueError(
            "There is nothing to join to this latent. Join Shot belongs behind the sampler of a shot that Extend Shot, "
            "Loop Shot, Blend Shots or Re-cut Shot made. (A node in between that makes a new latent loses the rest of "
            "the clip.)"
        )
    made, around = latent["samples"], latent[AROUND]
    if made.shape[1] != around.before.shape[1] or made.shape[3:] != around.before.shape[3:]:
        raise ValueError(
            f"The shot has latents of {made.shape[4]} x {made.shape[3]} now, the rest of its clip of "
            f"{around.before.shape[4]} x {around.before.shape[3]}: join it before it is scaled."
        )
    made = made[:, :, around.lead : made.shape[2] - around.tail]
    outside = [part.to(made).expand(len(made), *part.shape[1:]) for part in (around.before, around.after)]
    rest = {key: value for key, value in latent.items() if key not in (AROUND, "noise_mask")}
    return {**rest, "samples": torch.cat([outside[0], made, outside[1]], dim=2)}


def recut(text: str, frames: int, frame_rate: float, grid: Grid) -> list[int | None]:
    """Which of a clip's frames to show, in order; None is a frame to be made. The length is one of the grid's.

    text: pieces "from-to" and "gap length" in seconds, one a line or with commas between. Where the length is not
    legal, the last gap is made longer; without a gap, frames at the end are left out. Raises ValueError naming the
    piece that cannot be read or holds no frame.
    """
    order: list[int | None] = []
    for piece in filter(None, (part.strip() for part in re.split(r"[,\n]", text))):
        gap, ends = GAP.fullmatch(piece), PIECE.fullmatch(piece)
        if gap:
            taken: list[int | None] = [None] * min(round(float(gap[1]) * frame_rate), MOST_FRAMES + 1)
        elif ends:
            begin, end = (float(number) * frame_rate if number else None for number in ends.groups())
            taken = list(range(round(begin or 0), frames if end is None else min(round(end), frames)))
            if not taken:
                raise ValueError(
                    f"The piece '{piece}' holds no frame: the clip goes from 0 to {frames / frame_rate:g} seconds. "
                    + CUT_LOOK
                )
        else:
            raise ValueError(f"'{piece}' is neither a piece nor a gap. {CUT_LOOK}")
        order += taken
        if len(order) > MOST_FRAMES:
            raise ValueError(f"At '{piece}' the new clip has more than {MOST_FRAMES:,} frames. Cut it in parts.")
    if all(frame is None for frame in order):
        raise ValueError(f"There is no piece of the clip here. {CUT_LOOK}")
    step = grid.temporal * grid.group
    spare = (len(order) - 1) % step
    if spare and None in order:
        last_gap = len(order) - order[::-1].index(None)
        return order[:last_gap] + [None] * (step - spare) + order[last_gap:]
    return order[: len(order) - spare]


def held(order: list[int | None]) -> list[int]:
    """The order with gaps filled, for the encoder: half of each holds the frame before it, the rest that after it."""
    known = torch.tensor([place for place, frame in enumerate(order) if frame is not None])
    places = torch.arange(len(order))
    after = torch.searchsorted(known, places).clamp(max=len(known) - 1)
    before = (after - 1).clamp(min=0)
    nearer = torch.where((known[after] - places).abs() < (places - known[before]).abs(), after, before)
    return [order[place] for place in known[nearer]]


def assembled(latent: dict, order: list[int | None], vae: comfy.sd.VAE) -> dict:
    """The clip cut anew, as `recut` says: its frames decoded, put in order, and encoded; holes where frames are None.

    A latent frame is a hole as soon as one of its frames is one.
    """
    clip = finished(latent)
    shown = torch.cat(list(_scenes_apart(vae, clip, latent.get(CUTS, ())))).unflatten(0, (len(clip), -1))
    samples = bridge.encode(vae, shown[:, held(order)])
    missing = torch.tensor([frame is None for frame in order]).float()
    step = bridge.vae_grid(vae).temporal
    mask = torch.cat([missing[:1], missing[1:].view(-1, step).amax(dim=1)])
    return with_holes(latent, samples, mask)


def picked(latents: list[dict], number: int) -> dict:
    """One clip of LATENTs that may hold several, counted from 1 over all. Raises ValueError when there is none."""
    places = [(latent, place) for latent in latents for place in range(len(latent["samples"]))]
    if not 1 <= number <= len(places):
        raise ValueError(f"There are {len(places)} variations; number {number} is none of them.")
    latent, place = places[number - 1]
    parts = {key: _one(latent[key], place) for key in ("samples", "noise_mask") if key in latent}
    if AROUND in latent:
        around = latent[AROUND]
        parts[AROUND] = replace(around, before=_one(around.before, place), after=_one(around.after, place))
    return {**latent, **parts}


def _one(batch: torch.Tensor, place: int) -> torch.Tensor:
    return batch[place : place + 1] if len(batch) > 1 else batch


# ------------------------------------------------------------------------------------------------ openings


def opening_of(vae: comfy.sd.VAE, samples: torch.Tensor, at: int) -> torch.Tensor:
    """The last frame before latent frame `at`, encoded as a picture [B, C, 1, h, w]: a piece from `at` on begins so."""
    grid, begin = bridge.vae_grid(vae), max(0, at - DECODED)
    frames = bridge.frames_of(vae, samples[:, :, begin : at + 1])
    return bridge.encode(vae, frames[:, [grid.frames(at - begin) - 1]])


# ------------------------------------------------------------------------------------------------ decoding


def frames(vae: comfy.sd.VAE, latent: dict) -> Iterator[torch.Tensor]:
    """A LATENT's frames [f, H, W, 3] in 0..1, some at a time, clip after clip; a loop's as they are played for ever.

    A loop's first frames are decoded after its last ones, and its last before its first: what a decoder makes of a
    frame depends on both.
    """
    samples = latent["samples"]
    if LOOP not in latent:
        yield from _scenes_apart(vae, samples, latent.get(CUTS, ()))
        return
    grid, turn = bridge.vae_grid(vae), samples[:, :, 1:]
    context = min(DECODED, turn.shape[2])
    around = torch.cat([samples[:, :, :1], turn[:, :, -context:], turn, turn[:, :, :context]], dim=2)
    first = grid.temporal * context + latent[LOOP]
    for clip in around.split(1):
        yield from _between(bridge.decode_stream(vae, clip), first, first + length(latent, grid))


def _scenes_apart(vae: comfy.sd.VAE, samples: torch.Tensor, cuts: Sequence[int]) -> Iterator[torch.Tensor]:
    """The frames of clips [B, C, T, h, w]. Around a cut, a decoder that sees both scenes shows both in one frame."""
    if not cuts:
        yield from bridge.decode_stream(vae, samples)
        return
    for clip in samples.split(1):
        for scene, shown in scenes(clip, cuts, bridge.vae_grid(vae)):
            yield from _between(bridge.decode_stream(vae, scene), shown.start, shown.stop)


def scenes(clip: torch.Tensor, cuts: Sequence[int], grid: Grid) -> Iterator[tuple[torch.Tensor, range]]:
    """The scenes of a clip [B, C, T, h, w], each as a clip that a decoder takes, and which of its frames to show.

    The first latent frame of a clip stands for one frame, so a later scene begins with its first one twice.
    """
    inner = sorted({cut for cut in cuts if 0 < cut < clip.shape[2]})
    for start, end in pairwise([0, *inner, clip.shape[2]]):
        scene, lead = clip[:, :, start:end], int(start > 0)
        count = lead + end - start
        filled = [scene[:, :, :1]] * lead + [scene] + [scene[:, :, -1:]] * (-(count - 1) % grid.group)
        yield torch.cat(filled, dim=2), range(lead, grid.frames(count))


def _between(chunks: Iterator[torch.Tensor], first: int, end: int) -> Iterator[torch.Tensor]:
    """The frames from number `first` to before `end` of chunks [f, H, W, 3]."""
    place = 0
    for chunk in chunks:
        if place + len(chunk) > first:
            yield chunk[max(0, first - place) : end - place]
        place += len(chunk)
        if place >= end:
            return


# ------------------------------------------------------------------------------------------------ space and time


def masked(latent: dict, mask: torch.Tensor, strength: float, grid: Grid) -> dict:
    """A clip in which `mask` [1 or F, height, width] (1 = make anew) is a hole, in space and time.

    Whatever touches a latent pixel of a latent frame counts for all of it. A mask of another size is scaled; one of
    another length is stretched over the clip, frame by frame.
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
    return {**latent, "samples": clip, "noise_mask": holes[None, None].expand(len(clip), -1, -1, -1, -1).clone()}
