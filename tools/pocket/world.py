"""The pocket model's training data: one coloured shape that moves over a plain background.

A scene is a set of named attributes, from which clips are rendered; a seed determines everything. A frame's shorter
side is 64 units; speeds are per second, so that a clip at another frame rate shows the same motion.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import NamedTuple

import torch
from torch import Tensor

SHAPES = ("circle", "square", "triangle")
COLORS = {
    "red": (0.90, 0.12, 0.12),
    "green": (0.10, 0.72, 0.20),
    "blue": (0.12, 0.25, 0.90),
    "yellow": (0.98, 0.86, 0.10),
    "purple": (0.58, 0.16, 0.78),
    "orange": (1.00, 0.52, 0.05),
}
SIZES = {"small": (9.0, 9.9), "large": (13.2, 14.4)}
MOTIONS = {  # direction of travel in the picture, x to the right and y downwards
    "still": (0, 0),
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
    "grow": (0, 0),
}
BACKGROUNDS = {"black": 0.02, "white": 0.96, "grey": 0.45}
ATTRIBUTES = {
    "color": tuple(COLORS),
    "shape": SHAPES,
    "size": tuple(SIZES),
    "motion": tuple(MOTIONS),
    "background": tuple(BACKGROUNDS),
}

CHANGING = ("color", "shape", "motion")  # what may change in the middle of a clip
LATENT_FRAME = 4  # frames that a latent frame after the first stands for

UNIT = 64  # the shorter side of a frame in world units
SPEED = (6.0, 8.0)  # units per second: 12 to 16 over the standard clip of two seconds
GROWTH = 1.20  # radius factor per second: 1.44 over the standard clip
SQUARE_HALF_SIDE = 0.89  # of the radius; the area of the circle, nearly
TRIANGLE_CIRCUMRADIUS = 1.42  # of the radius; a little less area, so that it fits where a circle fits
WIDE_STARTS = 0.25  # share of clips that may start anywhere; the others start near the centre whatever the motion


@dataclass(frozen=True)
class Scene:
    """What a caption can say about a clip: one name out of each entry of `ATTRIBUTES`."""

    color: str
    shape: str
    size: str
    motion: str
    background: str


class Turn(NamedTuple):
    """A change to another scene within a clip: its first frame, and the new scene."""

    frame: int
    scene: Scene


class Clips(NamedTuple):
    """Rendered clips [B, 3, T, H, W] in -1..1, the scene of each, and its Turn (None if it has none)."""

    video: Tensor
    scenes: list[Scene]
    turns: list[Turn | None]


def is_withheld(scene: Scene) -> bool:
    """True for one in nine combinations of colour, shape and motion, which are withheld from training.

    Every single attribute and every pair of attributes still occurs in training; only the triple is new.
    """
    color, shape = tuple(COLORS).index(scene.color), SHAPES.index(scene.shape)
    motion = tuple(MOTIONS).index(scene.motion)
    return (color + 2 * shape + 3 * motion + color // 3) % 9 == 4


def draw_scenes(count: int, rng: random.Random, withheld: bool | None = False) -> list[Scene]:
    """`count` random scenes: never withheld ones (False, as in training), only those (True), or any (None)."""
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = Scene(**{name: rng.choice(values) for name, values in ATTRIBUTES.items()})
        if withheld is None or is_withheld(scene) == withheld:
            scenes.append(scene)
    return scenes


def draw_turn(scene: Scene, rng: random.Random, frames: int) -> Turn:
    """A scene's change into another at a random frame where a latent frame begins.

    The shape stays at its place. Mostly its motion changes; otherwise its colour, its shape or all three do.
    """
    kind = rng.random()
    names = ("motion",) if kind < 0.5 else ("color",) if kind < 0.65 else ("shape",) if kind < 0.75 else CHANGING
    while True:
        changes = {name: rng.choice([v for v in ATTRIBUTES[name] if v != getattr(scene, name)]) for name in names}
        if not is_withheld(changed := replace(scene, **changes)):
            return Turn(1 + LATENT_FRAME * rng.randrange((frames - 1) // LATENT_FRAME), changed)


def reach(shape: str) -> float:
    """Largest distance from the centre to the outline, in radii, along the axes."""
    return {"circle": 1.0, "square": SQUARE_HALF_SIDE, "triangle": TRIANGLE_CIRCUMRADIUS}[shape]


def coverage(shape: str, x: Tensor, y: Tensor, radius: Tensor, height: int, width: int) -> Tensor:
    """Antialiased masks [N, height, width] in 0..1 of N shapes; x, y and radius [N] in pixels."""
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    dx, dy = columns - x[:, None, None], rows - y[:, None, None]
    radius = radius[:, None, None]
    if shape == "circle":
        distance = torch.sqrt(dx * dx + dy * dy) - radius
    elif shape == "square":
        distance = torch.maximum(dx.abs(), dy.abs()) - SQUARE_HALF_SIDE * radius
    else:
        # Three half planes, apex up; the inscribed radius of an equilateral triangle is half the circumscribed one.
        slope = dx.abs() * math.cos(math.pi / 6) - dy * 0.5
        distance = torch.maximum(dy, slope) - 0.5 * TRIANGLE_CIRCUMRADIUS * radius
    return (0.5 - distance).clamp(0, 1)


def path(
    parts: list[Scene], rng: random.Random, fps: float, span: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Centre x, centre y and radius, each [T] in world units, of a shape that follows each frame's scene.

    span: the frame's (width, height).
    """
    since = torch.tensor([0.0] + [1 / fps] * (len(parts) - 1))  # seconds since the frame before
    radius = rng.uniform(*SIZES[parts[0].size]) * GROWTH ** (
        since * torch.tensor([float(part.motion == "grow") for part in parts])
    ).cumsum(0)
    directions = torch.tensor([MOTIONS[part.motion] for part in parts])
    travel = rng.uniform(*SPEED) * (directions * since[:, None]).cumsum(0)
    longest = SPEED[1] * float(since.sum())
    wide = rng.random() < WIDE_STARTS
    margin = max(reach(part.shape) for part in parts) * float(radius[-1]) + 1
    centre = []
    for moved, length in zip(travel.T, span, strict=True):
        low, high = margin, length - margin
        if wide:  # anywhere from where the whole path stays in the frame
            low, high = low - float(moved.min()), high - float(moved.max())
        else:  # where every motion would stay in the frame, so that the first frame does not reveal the motion
            low, high = low + longest, high - longest
        if low > high - 4:  # too little room: about the middle of what there is
            low, high = (low + high) / 2 - 2, (low + high) / 2 + 2
        centre.append(rng.uniform(low, high) + moved)
    return centre[0], centre[1], radius


def render(
    scenes: list[Scene],
    rng: random.Random,
    frames: int = 17,
    fps: float = 8,
    width: int = 64,
    height: int = 64,
    turns: Sequence[Turn | None] = (),
) -> Tensor:
    """Clips of the scenes, [B, 3, frames, height, width] in -1..1; start, size, speed and tint are drawn from rng."""
    scale = min(width, height) / UNIT
    clips = []
    for scene, turn in zip_longest(scenes, turns):
        first = turn.frame if turn else frames
        parts = [scene] * first + [turn.scene for _ in range(frames - first)]
        track = path(parts, rng, fps, (width / scale, height / scale))
        ground = BACKGROUNDS[scene.background] + rng.uniform(-0.02, 0.02)
        tints, shown = {}, []
        for part, chosen in ((scene, slice(first)), (parts[-1], slice(first, frames))):
            mask = coverage(part.shape, *(values[chosen] * scale for values in track), height, width)
            if part.color not in tints:
                tints[part.color] = torch.tensor([value + rng.uniform(-0.03, 0.03) for value in COLORS[part.color]])
            shown.append(ground + (tints[part.color].clamp(0, 1)[:, None, None, None] - ground) * mask)
        clips.append(torch.cat(shown, 1))
    return torch.stack(clips) * 2 - 1


def clips(count: int, seed: int, withheld: bool | None = False, turning: float = 0.0, **size: float) -> Clips:
    """`count` random clips of a seed, the share `turning` of which turn; `size` is passed on to `render`."""
    rng = random.Random(seed)
    scenes = draw_scenes(count, rng, withheld)
    turns = [draw_turn(scene, rng, size.get("frames", 17)) if rng.random() < turning else None for scene in scenes]
    return Clips(render(scenes, rng, turns=turns, **size), scenes, turns)
