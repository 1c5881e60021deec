"""Measures each tool on one clip: edits it with the pack's nodes, decodes it, and reads the pixels.

Kept frames are compared with the source after the autoencoder, the upper bound.
"""

import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from shots.studio import (
    FPS,
    SIDEWAYS,
    Studio,
    kept,
    other,
    prompt_of,
    rendered,
    source,
    steps_of,
    velocity,
)

GROWN = 6
"""World units by which a mask is larger than the shape it is drawn around."""
BOARD_SEED = 70_800_000
"""Boards from here on belong to this table; neither training nor scoring uses them."""
CARD = 1.5
"""Seconds of a board's card, about: whole latent frames. The first card has one frame more."""
NAMED = {"motion": "motion", "color": "colour"}


@dataclass(frozen=True)
class Made:
    """The result of measuring a tool on one clip: its figures, and clips for the picture."""

    figures: dict[str, float]
    clips: tuple[Any, ...]


def extend(studio: Studio, number: int, direction: str) -> Made:
    length, made = studio.length, studio.whole(1.0)
    scene, whole = source(number, length + made, side=studio.side)
    forward = direction == "forward"
    clip = studio.encoded(whole[:length] if forward else whole[-length:])
    before = studio.decoded(clip)
    inputs = dict(latent=clip, direction=direction, seconds=1.0, overlap=1.0)
    after = studio.filled(studio.nodes.ExtendShot, prompt_of(scene), number, **inputs)
    join = length if forward else made + 1  # the first frame after the join; backward, the clip's first is made anew
    old, new = (after[:length], after[length - 1 :]) if forward else (after[join:], after[: join + 1])
    was, now = velocity(before, scene.motion), velocity(new, scene.motion)
    steps, real = steps_of(after), steps_of(studio.decoded(studio.encoded(whole)))
    figures = {
        "velocity changes by": abs(now - was) / abs(was),
        "step at the join / median step": steps[join - 1] / statistics.median(steps),
        "the same step in the real clip / median step": real[join - 1] / statistics.median(real),
        "kept": kept(old, before if forward else before[1:]),
    }
    return Made(figures, (before, after))


def loop(studio: Studio, number: int, seam: str) -> Made:
    import torch
    from atelier.editing.changes import SEAMS

    made, moved = studio.whole(SEAMS[seam]), studio.step  # frames; half of what is kept comes behind the seam
    scene, frames = source(number, made + 2 * moved + 1, (*SIDEWAYS, "grow"), side=studio.side)
    clip = studio.encoded(frames)
    before = studio.decoded(clip)
    seams = dict(latent=clip, seam=seam, overlap=1.0)
    after = studio.filled(studio.nodes.LoopShot, prompt_of(scene, "motion"), number, **seams)
    steps = steps_of(torch.cat([after, after[:1]]))
    median = statistics.median(steps)
    begin = moved + 1 + studio.temporal // 2  # the frame of the clip that the loop begins with
    seam_at = 2 * moved + 1 - begin
    figures = {
        "step from last to first / median step": steps[-1] / median,
        "the same step in the source / median step": steps_of(before)[begin - 1] / median,
        "largest step in and around the seam / median step": max(steps[seam_at - 1 : seam_at + made]) / median,
        "the source's step from last to first / median step": float((before[-1] - before[0]).abs().mean()) / median,
        "kept before the seam": kept(after[:seam_at], before[begin : begin + seam_at]),
        "kept after the seam": kept(after[seam_at + made :], before[1:begin]),
    }
    return Made(figures, (before, after))


def blend(studio: Studio, number: int, curve: str) -> Made:
    import torch

    length, span = studio.length, studio.whole(1.5)
    scene, frames = source(number, length, side=studio.side)
    another = replace(scene, color=other(number, "color", scene.color), shape=other(number, "shape", scene.shape))
    first, second = studio.encoded(frames), studio.encoded(rendered(another, number, length, studio.side))
    one, two = studio.decoded(first), studio.decoded(second)
    inputs = dict(first=first, second=second, seconds=1.5, curve=curve, points="0:0, 1:1", overlap=1.0)
    made = studio.filled(studio.nodes.BlendShots, prompt_of(another), number, **inputs)
    rest = length - span  # frames of each clip outside the span
    influence = []
    for place in range(rest, length):
        to_one, to_two = (made[place] - one[place]).abs().mean(), (made[place] - two[place - rest + 1]).abs().mean()
        influence.append(float(to_one / (to_one + to_two)))
    falls = [max(0.0, a - b) for a, b in zip(influence, influence[1:], strict=False)]
    share = torch.linspace(0, 1, span + 2)[1:-1].view(-1, 1, 1, 1)
    fade = (1 - share) * one[rest:] + share * two[1 : span + 1]
    steps = steps_of(made)
    figures = {
        "kept of the first": kept(made[:rest], one[:rest]),
        "kept of the second": kept(made[length:], two[span + 1 :]),
        "largest fall of the second's influence": max(falls),
        "largest step / median step": max(steps) / statistics.median(steps),
        "likeness of the span to a cross-fade (dB)": kept(made[rest:length], fade),
    }
    return Made(figures, (one, two, made))


def remix(studio: Studio, number: int) -> Made:
    from pocket.score import analyse

    if studio.model.model.family.sample is not None:
        return Made({}, ())  # its own sampler begins with noise alone; Remix Shot says so
    scene, frames = source(number, studio.length, side=studio.side)
    clip, wanted = studio.encoded(frames), replace(scene, color=other(number, "color", scene.color))
    before = studio.decoded(clip)
    distances, made = [], []
    for strength in ("subtle", "mild", "strong"):
        settings = dict(model=studio.model, latent=clip, strength=strength, custom=1.0)
        latent, denoise = studio.call(studio.nodes.RemixShot, **settings)
        made.append(studio.decoded(studio.sampled(latent, prompt_of(wanted), number, denoise)))
        distances.append(float((made[-1] - before).abs().mean()))
    followed = [float(analyse(clip)["color"] == wanted.color) for clip in made]
    figures = {
        "the new colour is there at strong (share)": followed[2],
        "at mild (share)": followed[1],
        "at subtle (share)": followed[0],
        "subtle < mild < strong in distance (share)": float(distances[0] < distances[1] < distances[2]),
        **{
            f"distance from the source, {name}": d
            for name, d in zip(("subtle", "mild", "strong"), distances, strict=True)
        },
    }
    return Made(figures, (before, *made))


def keyframes(studio: Studio, number: int) -> Made:
    scene, frames = source(number, studio.length, side=studio.side)
    empty = {"samples": studio.encoded(frames)["samples"] * 0, "frame_rate": float(FPS)}
    # The middle image is the last frame of its latent frame, all of which the LTX pocket keeps.
    at = (0, (studio.length - 1) // 2 // studio.step * studio.step, studio.length - 1)
    inputs = dict(images=frames[list(at)], times=f"first, {at[1] / FPS}, last", strengths="1")
    shot = studio.call(studio.nodes.PlaceKeyframes, vae=studio.vae, latent=empty, **inputs)
    made = studio.decoded(studio.sampled(shot, prompt_of(scene), number))
    ceiling = [studio.decoded(studio.encoded(frames[[place] * (1 + studio.step * bool(place))])) for place in at]
    there = [kept(made[place], alone[-1]) for place, alone in zip(at, ceiling, strict=True)]
    figures = {f"kept, {name} image": value for name, value in zip(("first", "middle", "last"), there, strict=True)}
    steps = steps_of(made)
    sides = steps[at[1] - studio.temporal], steps[at[1]]
    figures["largest step into and out of the middle image / median step"] = max(sides) / statistics.median(steps)
    return Made(figures, (frames, made))


def recut(studio: Studio, number: int) -> Made:
    scene, frames = source(number, studio.length, side=studio.side)
    clip = studio.encoded(frames)
    before = studio.decoded(clip)
    gap, end = 1 + studio.step, 1 + 2 * studio.step  # the first frame of the gap, and the first after it
    cuts = f"0 - {gap / FPS}\ngap {studio.step / FPS}\n{end / FPS} -"
    inputs = dict(latent=clip, cuts=cuts, overlap=1.0)
    made = studio.filled(studio.nodes.RecutShot, prompt_of(scene), number, **inputs)
    steps, rest = steps_of(made), [*range(gap), *range(end, studio.length)]
    figures = {
        "largest step in and around the gap / median step": max(steps[gap - 1 : end]) / statistics.median(steps),
        "kept": kept(made[rest], before[rest]),
    }
    return Made(figures, (before, made))


def inpaint(studio: Studio, number: int) -> Made:
    import torch
    from pocket.score import analyse
    from pocket.world import UNIT

    scene, frames = source(number, studio.length, side=studio.side)
    clip, wanted = studio.encoded(frames), replace(scene, color=other(number, "color", scene.color))
    before = studio.decoded(clip)
    seen = (frames - frames[:, :1, :1]).abs().amax(-1).gt(0.1).float()  # where the shape is, frame by frame
    grown = round(GROWN * studio.side / UNIT)
    mask = torch.nn.functional.max_pool2d(seen[:, None], 2 * grown + 1, stride=1, padding=grown)[:, 0]
    shot = studio.call(studio.nodes.InpaintShot, vae=studio.vae, latent=clip, mask=mask, strength=1.0)
    made = studio.decoded(studio.sampled(shot, prompt_of(wanted), number))
    away = torch.nn.functional.interpolate(shot["noise_mask"][0], size=mask.shape[1:], mode="nearest")[0]
    away = torch.cat([away[:1], away[1:].repeat_interleave(studio.temporal, dim=0)]).eq(0)
    figures = {
        "the new colour is there (share)": float(analyse(made)["color"] == wanted.color),
        "kept outside the mask": kept(made[away], before[away]),
    }
    return Made(figures, (before, mask[..., None].expand(-1, -1, -1, 3), made))


def variations(studio: Studio, number: int) -> Made:
    scene, _ = source(number, studio.length, side=studio.side)
    sizes = dict(width=0, height=0, seconds=0.0, frames=0, fps=0.0, batch_size=1)
    empty = studio.call(studio.nodes.EmptyVideoLatent, model=studio.model, **sizes)
    seeds = studio.call(studio.nodes.VariationSeeds, seed=number, count=4)
    made = [studio.decoded(studio.sampled(empty, prompt_of(scene, "size"), seed)) for seed in seeds]
    apart = [kept(a, b) for place, a in enumerate(made) for b in made[:place]]
    return Made({"likeness of the two most alike (dB)": max(apart)}, tuple(made))


def turning(number: int, count: int) -> tuple[str, list[Any]]:
    """Which attribute changes from card to card (motion and colour in turn), and the scenes of `count` cards."""
    from pocket.world import COLORS, draw_scenes

    rng = random.Random(BOARD_SEED + number)
    scenes = [replace(draw_scenes(1, rng)[0], motion=rng.choice(SIDEWAYS), size="small")]
    name, values = (("motion", SIDEWAYS), ("color", tuple(COLORS)))[number % 2]
    while len(scenes) < count:
        used = [getattr(scene, name) for scene in scenes]  # all four motions lead back to where the first began
        value = rng.choice([value for value in values if value not in used])
        scenes.append(replace(scenes[-1], **{name: value}))
    return name, scenes


def storyboard(studio: Studio, number: int) -> Made:
    both = {"flow": board(studio, number, 2, cut=False), "cut": board(studio, number, 2, cut=True)}
    figures = {f"{kind}: {what}": value for kind, made in both.items() for what, value in made.figures.items()}
    return Made(figures, tuple(clip for made in both.values() for clip in made.clips))


def board(studio: Studio, number: int, count: int, cut: bool) -> Made:
    from pocket.score import analyse

    name, scenes = turning(number, count)
    card = studio.whole(CARD)
    starts = [0, *range(card + 1, count * card, card)]
    cards = [f"{at / FPS}s{' cut' if cut else ''}: {prompt_of(one)}" for at, one in zip(starts, scenes, strict=True)]
    sizes = dict(width=0, height=0, seconds=0.0, frames=starts[-1] + card, fps=float(FPS), batch_size=1)
    empty = studio.call(studio.nodes.EmptyVideoLatent, model=studio.model, **sizes)
    texts = dict(board="\n".join(cards), negative_prompt="", style="none")
    positive, negative, shot = studio.call(
        studio.nodes.Storyboard, clip=studio.clip, vae=studio.vae, latent=empty, **texts
    )
    given = dict(model=studio.model, positive=positive, negative=negative, latent=shot)
    made = studio.decoded(
        studio.call(studio.nodes.SampleVideo, **given, seed=number, steps=0, guidance=0.0, denoise=1.0)
    )
    skipped = 0 if cut else studio.temporal  # in which the cards meet
    parts = [made[at + bool(at) * skipped : end] for at, end in pairwise([*starts, len(made)])]
    right = [float(analyse(part)[name] == getattr(one, name)) for part, one in zip(parts, scenes, strict=True)]
    steps = steps_of(made)
    turns = [steps[at - 1] / statistics.median(steps) for at in starts[1:]]
    figures = {
        "every part follows its card (share)": min(right),
        f"every part does, {NAMED[name]} changes (share)": min(right),
        **{f"part {place} does (share)": value for place, value in enumerate(right, 1)},
        f"largest step where {NAMED[name]} changes / median step": max(turns),
    }
    return Made(figures, (made,))


TOOLS: dict[str, tuple[str, Callable[[Studio, int], Made]]] = {
    "Extend, forward": ("AtelierExtendShot", lambda studio, number: extend(studio, number, "forward")),
    "Extend, backward": ("", lambda studio, number: extend(studio, number, "backward")),
    "Loop, normal": ("AtelierLoopShot", lambda studio, number: loop(studio, number, "normal")),
    "Loop, long": ("", lambda studio, number: loop(studio, number, "long")),
    "Blend, linear": ("AtelierBlendShots", lambda studio, number: blend(studio, number, "linear")),
    "Blend, sharp": ("", lambda studio, number: blend(studio, number, "sharp")),
    "Remix": ("AtelierRemixShot", remix),
    "Keyframes": ("AtelierPlaceKeyframes", keyframes),
    "Re-cut": ("AtelierRecutShot", recut),
    "Inpaint": ("AtelierInpaintShot", inpaint),
    "Variations": ("AtelierContactSheet", variations),
    "Storyboard, two cards": ("", storyboard),
    "Storyboard, four cards": ("", lambda studio, number: board(studio, number, 4, cut=False)),
}
"""Name -> the node whose help page shows its first clip, and how it is measured."""
