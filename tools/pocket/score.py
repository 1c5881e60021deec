"""Scores whether a clip shows what its prompt says, from the pixels alone, without a learned model.

The score of freshly rendered clips shows how reliable the scorer is.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from scipy import ndimage
from torch import Tensor

from pocket.captions import caption, short_caption
from pocket.model import Model, Sounding, load
from pocket.world import (
    ATTRIBUTES,
    BACKGROUNDS,
    COLORS,
    MOTIONS,
    SHAPES,
    SIZES,
    SQUARE_HALF_SIDE,
    TRIANGLE_CIRCUMRADIUS,
    UNIT,
    Scene,
    coverage,
    draw_scenes,
    render,
)

HELD_OUT = 70_000_000  # first seed for scoring; training uses lower ones
WITHHELD_SHARE = 0.3  # share of scored prompts with combinations that were withheld from training
LARGE_FROM = 10.95  # radius of the circle of equal area, in world units
ROUNDING, ROUNDING_DB = 0.03, 0.3
Scores = dict[str, dict[str, float]]
SAID_SHORT = ("color", "shape", "motion")
FIGURES = (*ATTRIBUTES, "left_right", "whole", "all", "all_withheld")


def background_of(frames: Tensor) -> tuple[str | None, Tensor]:
    """The background's name for frames [T, H, W, 3] (None if it is not one of BACKGROUNDS), and its colour [3]."""
    edge = torch.cat([frames[:, :2].flatten(0, 2), frames[:, -2:].flatten(0, 2)])
    sides = torch.cat([frames[:, :, :2].flatten(0, 2), frames[:, :, -2:].flatten(0, 2)])
    color = torch.cat([edge, sides]).median(0).values
    name = min(BACKGROUNDS, key=lambda key: abs(BACKGROUNDS[key] - float(color.mean())))
    plain = float((color - BACKGROUNDS[name]).abs().max()) < 0.15
    return (name if plain else None), color


def color_of(frames: Tensor, core: Tensor) -> str | None:
    """The nearest colour name of the pixels [T, H, W, 3] where `core` [T, H, W] is true."""
    color = frames[core].mean(0)
    distance = {name: float((torch.tensor(value) - color).norm()) for name, value in COLORS.items()}
    name = min(distance, key=distance.get)
    return name if distance[name] < 0.4 else None


def shape_of(soft: Tensor, x: Tensor, y: Tensor, area: Tensor) -> str | None:
    """The shape whose outline of equal area and centre fits the soft masks [T, H, W] best; None if none fits.

    x, y and area are [T], in pixels.
    """
    height, width = soft.shape[1:]
    radii = {
        "circle": (area / math.pi).sqrt(),
        "square": area.sqrt() / (2 * SQUARE_HALF_SIDE),
        "triangle": (area / (0.75 * math.sqrt(3))).sqrt() / TRIANGLE_CIRCUMRADIUS,
    }
    fit = {}
    for shape in SHAPES:
        ideal = coverage(shape, x, y, radii[shape], height, width)
        overlap = torch.minimum(ideal, soft).sum((1, 2)) / torch.maximum(ideal, soft).sum((1, 2))
        fit[shape] = float(overlap.mean())
    best = max(fit, key=fit.get)
    return best if fit[best] > 0.6 else None


def slope(values: Tensor, at: Tensor) -> tuple[float, float]:
    """Change of values [N] over 16 frames and its correlation with the frame numbers `at` [N]."""
    at, values = at - at.mean(), values - values.mean()
    change = float((at * values).sum() / (at * at).sum()) * 16
    norm = float(at.norm() * values.norm())
    return change, float((at * values).sum()) / norm if norm else 0.0


def motion_of(x: Tensor, y: Tensor, radius: Tensor, at: Tensor) -> str | None:
    """The motion's name for centre and radius [N] in world units at frame numbers `at`; None if it is unclear."""
    moves = {axis: slope(values, at) for axis, values in (("x", x), ("y", y))}
    growth = math.exp(slope(radius.log(), at)[0])
    axis = max(moves, key=lambda key: abs(moves[key][0]))
    across = moves["y" if axis == "x" else "x"][0]
    change, steadiness = moves[axis]
    if abs(change) > 4:
        clear = abs(steadiness) > 0.9 and abs(across) < abs(change) / 2 and 0.75 < growth < 1.3
        direction = {"x": ("left", "right"), "y": ("up", "down")}[axis][change > 0]
        return direction if clear else None
    if growth > 1.12:
        return "grow"
    return "still" if abs(change) < 3 and growth > 0.9 else None


def is_whole(mask: Tensor) -> bool:
    """Whether the masks [T, H, W] show one connected shape, not several or fragments, in nine frames of ten."""
    single = 0
    for frame in mask.numpy():
        labels, count = ndimage.label(frame)
        sizes = ndimage.sum_labels(frame, labels, range(1, count + 1))
        single += int(count > 0 and max(sizes) > 0.9 * sum(sizes))
    return single >= 0.9 * len(mask)


def analyse(frames: Tensor) -> dict[str, str | bool | float | None]:
    """The attributes of frames [T, H, W, 3] in 0..1: a name (or None) for each, and measurements in world units.

    `whole`: one connected shape throughout; `dx`, `dy`, `growth`: travel and radius factor over 16 frames.
    """
    frames = frames.float().clamp(0, 1)
    count, height, width, _ = frames.shape
    unit = UNIT / min(height, width)
    background, ground = background_of(frames)
    contrast = (frames - ground).abs().amax(-1)
    peak = contrast.flatten().quantile(0.98) if contrast.numel() < 2**24 else contrast.max()
    seen: dict[str, str | bool | float | None] = dict.fromkeys(ATTRIBUTES) | {"background": background, "whole": False}
    mask = contrast > 0.5 * peak
    area = mask.sum((1, 2)).float()
    there = (area * unit**2 > 60) & (area < 0.6 * height * width)
    if peak < 0.15 or there.float().mean() < 0.7:
        return seen
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    x, y = ((mask * grid).sum((1, 2))[there] / area[there] for grid in (columns, rows))
    at, radius = torch.arange(count)[there].float(), (area[there] / math.pi).sqrt()
    soft = (contrast[there] / peak).clamp(0, 1)
    start = radius[: max(1, count // 5)].median() * unit
    seen |= {
        "color": color_of(frames, contrast > 0.8 * peak),
        "shape": shape_of(soft, x, y, area[there]),
        "size": "large" if start > LARGE_FROM else "small",
        "motion": motion_of(x * unit, y * unit, radius * unit, at) if len(at) > 2 else None,
        "whole": is_whole(mask),
        "dx": slope(x * unit, at)[0],
        "dy": slope(y * unit, at)[0],
        "growth": math.exp(slope(radius.log(), at)[0]),
    }
    return seen


def judge(video: Tensor, scene: Scene) -> dict[str, float]:
    """Each attribute of a clip [3, T, H, W] in -1..1 as right (1) or wrong (0), compared with its scene."""
    seen = analyse((video.permute(1, 2, 3, 0) + 1) / 2)
    verdict = {name: float(seen[name] == getattr(scene, name)) for name in ATTRIBUTES}
    verdict["whole"] = float(seen["whole"])
    verdict["all"] = min(verdict.values())
    return verdict


def figures(videos: Tensor, scenes: Sequence[Scene], withheld: Sequence[bool]) -> dict[str, float]:
    """Mean verdicts over clips [B, 3, T, H, W]; `left_right` and `all_withheld` count only such clips."""
    verdicts = [judge(video, scene) for video, scene in zip(videos, scenes, strict=True)]
    means = {name: mean([verdict[name] for verdict in verdicts]) for name in (*ATTRIBUTES, "whole", "all")}
    sideways = [v["motion"] for v, scene in zip(verdicts, scenes, strict=True) if MOTIONS[scene.motion][0]]
    new = [v["all"] for v, is_new in zip(verdicts, withheld, strict=True) if is_new]
    return means | {"left_right": mean(sideways), "all_withheld": mean(new)}


def mean(values: Sequence[float]) -> float:
    """Mean to three digits; not a number if there is nothing to average."""
    return round(sum(values) / len(values), 3) if values else math.nan


def held_out(count: int, seed: int = HELD_OUT) -> tuple[list[Scene], list[str], list[bool]]:
    """Scenes and prompts for scoring, and which of them training withheld."""
    rng = random.Random(seed)
    new = round(count * WITHHELD_SHARE)
    scenes = draw_scenes(new, rng, withheld=True) + draw_scenes(count - new, rng)
    return scenes, [caption(scene, rng) for scene in scenes], [i < new for i in range(count)]


def psnr(a: Tensor, b: Tensor) -> float:
    """Mean over clips of the peak signal-to-noise ratio in dB; values in -1..1."""
    error = (a - b).pow(2).flatten(1).mean(1).clamp(min=1e-8)
    return float((10 * torch.log10(4 / error)).mean())


def sides(model: Model) -> dict[str, int]:
    """The model's usual width and height, as options of `render`."""
    return {name: model.recipe[name] for name in ("width", "height")}


def reconstruction(model: Model, count: int = 100) -> Scores:
    """The figures of freshly rendered clips, and of the same clips after the autoencoder, the upper bound."""
    scenes, _, withheld = held_out(count)
    real = render(scenes, random.Random(HELD_OUT + 1), frames=model.recipe["frames"], **sides(model))
    decoded = model.decode(model.encode(real))
    rows = {
        "real clips": figures(real, scenes, withheld),
        "autoencoder": figures(decoded, scenes, withheld) | {"psnr": round(psnr(real, decoded), 2)},
    }
    if isinstance(model, Sounding):
        for row, waves in zip(rows.values(), model.real_sound(scenes, model.recipe["frames"]), strict=True):
            row["tone"] = tone(model, waves, scenes)
    return rows


def sampled(model: Model, *arguments: Any, **options: Any) -> tuple[Tensor, Tensor | None]:
    """`model.sample`, and the waves [B, 2, samples] of a model that makes sound."""
    if isinstance(model, Sounding):
        return model.sample_both(*arguments, **options)
    return model.sample(*arguments, **options), None


def tone(model: Sounding, waves: Tensor, scenes: Sequence[Scene]) -> float:
    """The share of waves with the pitch of their scene's colour."""
    return mean([float(model.heard(wave) == scene.color) for wave, scene in zip(waves, scenes, strict=True)])


def with_tone(row: dict[str, float], model: Model, waves: Tensor | None, scenes: Sequence[Scene]) -> dict[str, float]:
    """A row of figures, with that of the sound if there is any."""
    return row if waves is None else row | {"tone": tone(model, waves, scenes)}


def text_to_video(
    model: Model,
    guidance: float,
    steps: int,
    prompts: int = 100,
    seeds: Sequence[int] = (0,),
    held_out_seed: int = HELD_OUT,
    **size: float,
) -> dict[str, float]:
    """The figures of clips of a size (`frames`, `fps`, `width`, `height`) sampled from held-out prompts, all seeds."""
    scenes, texts, withheld = held_out(prompts, held_out_seed)
    clips = [sampled(model, texts, guidance, steps, HELD_OUT + 1000 * seed, **size) for seed in seeds]
    shown = figures(torch.cat([video for video, _ in clips]), scenes * len(seeds), withheld * len(seeds))
    waves = None if clips[0][1] is None else torch.cat([sound for _, sound in clips])
    return with_tone(shown, model, waves, scenes * len(seeds))


def short_prompts(model: Model, guidance: float, steps: int) -> dict[str, float]:
    """Figures for every colour, shape and motion, in prompts that say nothing of size and background."""
    named = (dict(zip(SAID_SHORT, values, strict=True)) for values in product(*(ATTRIBUTES[n] for n in SAID_SHORT)))
    scenes = [Scene(**names, size="small", background="black") for names in named]
    videos, _ = sampled(model, [short_caption(scene) for scene in scenes], guidance, steps, HELD_OUT)
    verdicts = [judge(video, scene) for video, scene in zip(videos, scenes, strict=True)]
    right = {name: mean([verdict[name] for verdict in verdicts]) for name in (*SAID_SHORT, "whole")}
    return right | {"all": mean([min(verdict[name] for name in right) for verdict in verdicts])}


def turning(model: Model, guidance: float, steps: int, count: int = 32) -> dict[str, float]:
    """Figures for real clips that are continued after `model.begun` frames with a prompt for another motion."""
    rng = random.Random(HELD_OUT + 4)
    before = draw_scenes(count, rng)
    scenes = [replace(scene, motion=rng.choice([m for m in MOTIONS if m != scene.motion])) for scene in before]
    begun = render(before, rng, frames=model.begun, **sides(model))
    prompts = [caption(scene, rng) for scene in scenes]
    videos = model.sample(prompts, guidance, steps, HELD_OUT, frames=model.longest, known=model.encode(begun))
    result = figures(videos[:, :, model.begun :], scenes, [False] * count)
    return {name: result[name] for name in ("color", "shape", "motion", "background", "whole")}


def centred(scene: Scene, side: int) -> Tensor:
    """A picture [1, 3, 1, side, side] in -1..1 of the scene's shape in the centre, which does not reveal the motion."""
    middle, radius = torch.full((1,), side / 2), torch.full((1,), sum(SIZES[scene.size]) / 2 * side / UNIT)
    mask = coverage(scene.shape, middle, middle, radius, side, side)
    ground = BACKGROUNDS[scene.background]
    return ((ground + (torch.tensor(COLORS[scene.color])[:, None, None, None] - ground) * mask) * 2 - 1)[None]


def image_to_video(model: Model, guidance: float, steps: int, images: int = 12) -> dict[str, float]:
    """Figures for centred pictures with four direction prompts each: motion, and how well the picture is kept."""
    rng = random.Random(HELD_OUT + 2)
    base = draw_scenes(images, rng)
    first = torch.cat([centred(scene, model.recipe["height"]) for scene in base]).repeat_interleave(4, dim=0)
    scenes = [replace(scene, motion=motion) for scene in base for motion in ("left", "right", "up", "down")]
    prompts = [caption(scene, rng) for scene in scenes]
    videos, waves = sampled(model, prompts, guidance, steps, HELD_OUT, known=model.encode(first))
    result = figures(videos, scenes, [False] * len(scenes))
    kept = round(psnr(videos[:, :, :1], first), 2)
    return with_tone({"motion": result["motion"], "whole": result["whole"], "psnr": kept}, model, waves, scenes)


def sound_of_image(model: Sounding, guidance: float, steps: int, images: int = 48) -> dict[str, float]:
    """Whether the sound has the pitch of a picture whose colour the prompt does not tell."""
    rng = random.Random(HELD_OUT + 5)
    scenes = draw_scenes(images, rng)
    first = torch.cat([centred(scene, model.recipe["height"]) for scene in scenes])
    prompts = [caption(scene, rng, ("shape", "motion")) for scene in scenes]
    waves = model.sample_both(prompts, guidance, steps, HELD_OUT, known=model.encode(first)).sound
    return {"tone": tone(model, waves, scenes)}


def extension(model: Model, guidance: float, steps: int, count: int = 32) -> dict[str, float]:
    """Figures for the new frames of real clips that are continued after `model.begun` frames."""
    rng = random.Random(HELD_OUT + 3)
    scenes = draw_scenes(count, rng)
    begun = render(scenes, rng, frames=25, **sides(model))[:, :, : model.begun]
    prompts = [caption(scene, rng) for scene in scenes]
    options = {"frames": model.longest, "known": model.encode(begun)}
    if isinstance(model, Sounding):
        options["known_sound"] = model.encode_sound(scenes, model.begun)
    videos, waves = sampled(model, prompts, guidance, steps, HELD_OUT, **options)
    result = figures(videos[:, :, model.begun :], scenes, [False] * count)
    kept = round(psnr(videos[:, :, : model.begun], begun), 2)
    row = {name: result[name] for name in ("color", "shape", "motion", "background", "whole")} | {"psnr": kept}
    new = None if waves is None else waves[..., round(model.begun / model.recipe["fps"] * model.rate) :]
    return with_tone(row, model, new, scenes)


def score_folder(folder: str | Path, prompts: int = 100, seeds: Sequence[int] = (0,)) -> Scores:
    """All figures of a model folder at the guidance and steps of its recipe."""
    model = load(Path(folder))
    setting = (model, model.recipe["guidance"], model.recipe["steps"])
    return reconstruction(model, prompts) | {
        "sampled": text_to_video(*setting, prompts, seeds),
        **{f"sampled, {name}": text_to_video(*setting, prompts // 2, **size) for name, size in model.sizes.items()},
        "short prompts": short_prompts(*setting),
        "image to video": image_to_video(*setting),
        **({"picture to sound": sound_of_image(*setting)} if isinstance(model, Sounding) else {}),
        "continued": extension(*setting),
        "turned": turning(*setting),
    }


def guidances(folder: str | Path, prompts: int = 60) -> Scores:
    """The figures at several strengths of guidance, on separate prompts. The recipe's guidance was chosen by them."""
    model = load(Path(folder))
    return {
        f"guidance {guidance:g}": text_to_video(
            model, guidance, model.recipe["steps"], prompts, held_out_seed=HELD_OUT + 500_000
        )
        for guidance in (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
    }


def below(scores: Scores, released: Scores) -> list[str]:
    """A line for each figure that is below the released one by more than another CPU's rounding explains."""
    return [
        f"{kind}, {name}: {scores[kind].get(name, math.nan)} instead of {figure}"
        for kind, row in released.items()
        for name, figure in row.items()
        if not scores[kind].get(name, math.nan) >= figure - (ROUNDING_DB if name == "psnr" else ROUNDING)
    ]


def table(scores: Scores) -> str:
    """The figures as a Markdown table, one row per kind of clip."""
    columns = [*FIGURES, *sorted({name for row in scores.values() for name in row} - set(FIGURES))]
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for kind, row in scores.items():
        lines.append(f"| {kind} | " + " | ".join(f"{row[name]:.2f}" if name in row else "" for name in columns) + " |")
    return "\n".join(lines)
