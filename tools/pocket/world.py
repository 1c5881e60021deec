"""The pocket models' training data: a coloured shape that moves over a plain background.

A scene is a set of named attributes, from which clips are rendered; a seed determines everything. A frame's shorter
side is 64 units; speeds are per second, so that a clip at another frame rate shows the same motion. In richer scenes
the shape has an outline, a second one stands beside it, or the camera pans.
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
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
OUTLINE = 1.2  # thickness of an outline in world units
OTHER_RADIUS = 6.5  # of a second shape, in world units
WIDE_STARTS = 0.25  # share of clips that may start anywhere; the others start near the centre whatever the motion


class Other(NamedTuple):
    """A second, small shape, which stands still in a corner."""

    color: str
    shape: str


@dataclass(frozen=True)
class Scene:
    """What a caption can say about a clip: one name out of each entry of `ATTRIBUTES`, and more in richer scenes.

    outlined: the shape has an outline, black or, on black, white. other: a second shape. pan: where the camera moves,
    one of `OPPOSITE`; everything else moves the other way.
    """

    color: str
    shape: str
    size: str
    motion: str
    background: str
    outlined: bool = False
    other: Other | None = None
    pan: str = ""


class Turn(NamedTuple):
    """A change to another scene within a clip: its first frame, and the new scene.

    back: the frame at which the first scene returns; 0 if it does not.
    """

    frame: int
    scene: Scene
    back: int = 0


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
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centre x, centre y, radius, each [T], and the camera's way [2, T], in world units, of each frame's scene.

    span: the frame's (width, height).
    """
    since = torch.tensor([0.0] + [1 / fps] * (len(parts) - 1))  # seconds since the frame before
    radius = rng.uniform(*SIZES[parts[0].size]) * GROWTH ** (
        since * torch.tensor([float(part.motion == "grow") for part in parts])
    ).cumsum(0)
    pans = torch.tensor([MOTIONS[part.pan or "still"] for part in parts])
    directions = torch.tensor([MOTIONS[part.motion] for part in parts]) - pans
    speed = rng.uniform(*SPEED)
    travel = speed * (directions * since[:, None]).cumsum(0)
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
    return centre[0], centre[1], radius, speed * (pans * since[:, None]).cumsum(0).T


def tint(color: str, rng: random.Random) -> Tensor:
    """A shade [3, 1, 1, 1] of a colour."""
    shade = torch.tensor([value + rng.uniform(-0.03, 0.03) for value in COLORS[color]])
    return shade.clamp(0, 1)[:, None, None, None]


def paint(scene: Scene, at: Sequence[Tensor], size: tuple[int, int], ground: Tensor, color: Tensor) -> Tensor:
    """The shape over `ground` [3, T, H, W] in 0..1; at: x, y and radius [T] in pixels; size: (height, width)."""
    x, y, radius = at
    if scene.outlined:
        edge = float(scene.background == "black")
        thick = OUTLINE * min(size) / UNIT / reach(scene.shape)
        ground = ground + (edge - ground) * coverage(scene.shape, x, y, radius + thick, *size)
    return ground + (color - ground) * coverage(scene.shape, x, y, radius, *size)


def corner(track: Sequence[Tensor], span: tuple[float, float]) -> tuple[float, float]:
    """The middle of a second shape, in world units, in the corner that is farthest from the first's way."""
    inset = OTHER_RADIUS * reach("triangle") + 1
    places = [(x, y) for x in (inset, span[0] - inset) for y in (inset, span[1] - inset)]
    return max(places, key=lambda at: float(((track[0] - at[0]) ** 2 + (track[1] - at[1]) ** 2).min()))


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
    scale, size = min(width, height) / UNIT, (height, width)
    clips = []
    for scene, turn in zip_longest(scenes, turns):
        first, last = (turn.frame, turn.back or frames) if turn else (frames, frames)
        parts = [scene] * first + [turn.scene for _ in range(last - first)] + [scene] * (frames - last)
        track = path(parts, rng, fps, (width / scale, height / scale))
        ground = torch.full((3, frames, *size), BACKGROUNDS[scene.background] + rng.uniform(-0.02, 0.02))
        tints, shown = {scene.color: tint(scene.color, rng)}, []
        if scene.other:
            x, y = corner(track, (width / scale, height / scale))
            at = [x - track[3][0], y - track[3][1], torch.full((frames,), OTHER_RADIUS)]
            alone = replace(scene, shape=scene.other.shape, outlined=False)
            ground = paint(alone, [value * scale for value in at], size, ground, tint(scene.other.color, rng))
        for chosen in (slice(first), slice(first, last), slice(last, frames)):
            if not parts[chosen]:
                continue
            part = parts[chosen][0]
            if part.color not in tints:
                tints[part.color] = tint(part.color, rng)
            at = [values[chosen] * scale for values in track[:3]]
            shown.append(paint(part, at, size, ground[:, chosen], tints[part.color]))
        clips.append(torch.cat(shown, 1))
    return torch.stack(clips) * 2 - 1


def enriched(scene: Scene, rng: random.Random) -> Scene:
    """The scene with a second shape, an outline, or a panning camera about a shape that stands still."""
    kind = rng.choice(("other", "outlined", "pan"))
    if kind == "other":
        return replace(scene, other=Other(rng.choice([c for c in COLORS if c != scene.color]), rng.choice(SHAPES)))
    if kind == "outlined":
        return replace(scene, outlined=True)
    return replace(scene, motion="still", pan=rng.choice(tuple(OPPOSITE)))


def swing(scene: Scene, rng: random.Random, frames: int) -> Turn | None:
    """The way back of a shape that moves, comes back at its own speed, and moves on; None if it moves nowhere."""
    if scene.motion not in OPPOSITE:
        return None
    latent = (frames - 1) // LATENT_FRAME
    first = rng.randint(1, latent - 2)
    back = rng.randint(first + 1, latent - 1)
    turned = replace(scene, motion=OPPOSITE[scene.motion])
    return Turn(1 + LATENT_FRAME * first, turned, 1 + LATENT_FRAME * back)


def clips(
    count: int,
    seed: int,
    withheld: bool | None = False,
    turning: float = 0.0,
    swinging: bool = False,
    rich: float = 0.0,
    **size: float,
) -> Clips:
    """`count` random clips of a seed; `size` is passed on to `render`.

    turning, rich: the shares that turn, and that show more than one shape. swinging: all that move come back and go on.
    """
    rng = random.Random(seed)
    scenes, frames = draw_scenes(count, rng, withheld), size.get("frames", 17)
    if rich:
        scenes = [enriched(scene, rng) if rng.random() < rich else scene for scene in scenes]
    if swinging:
        turns = [swing(scene, rng, frames) for scene in scenes]
    else:
        turns = [draw_turn(scene, rng, frames) if rng.random() < turning else None for scene in scenes]
    return Clips(render(scenes, rng, turns=turns, **size), scenes, turns)
