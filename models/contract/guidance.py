"""Guidance by step or by stream: as a model's authors publish it, or as an artist writes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise


@dataclass(frozen=True, kw_only=True)
class StepGuidance:
    """The guidance of one step.

    cfg: the scale of classifier-free guidance; 1 is off, None is the sampler's own. stg: the scale of spatio-temporal
    guidance; 0 is off. It needs another prediction, without the self-attention of the blocks `skipped`. rescale: how
    far the result is scaled back to the standard deviation of the prediction with the prompt, 0 (not at all) to 1.
    zero_star: first scale the prediction without the prompt to the projection of the other onto it (CFG-Zero*). zero:
    predict a clip of zeros instead of running the network (CFG-Zero*'s zero init).
    """

    cfg: float | None = None
    stg: float = 0.0
    rescale: float = 0.0
    skipped: tuple[int, ...] = ()
    zero_star: bool = False
    zero: bool = False


@dataclass(frozen=True)
class GuidanceLevel(StepGuidance):
    """The guidance of steps whose sigma is at least `sigma` and below that of the next higher level."""

    sigma: float


@dataclass(frozen=True)
class Guidance:
    """The guidance that a variant's authors publish, as levels from the highest sigma down.

    zero_star: CFG-Zero* at every level.
    """

    levels: tuple[GuidanceLevel, ...]
    zero_star: bool = False

    def at(self, sigma: float) -> GuidanceLevel:
        """The highest level that the sigma reaches, or the lowest level if it reaches none."""
        return next((level for level in self.levels if level.sigma <= sigma + 1e-6), self.levels[-1])

    def steps(self, sigmas: Sequence[float]) -> list[StepGuidance]:
        """The guidance of steps at these sigmas."""
        return [replace(self.at(sigma), zero_star=self.zero_star) for sigma in sigmas]

    def without_stg(self) -> Guidance:
        """Only the scales of classifier-free guidance, and CFG-Zero*."""
        return replace(self, levels=tuple(GuidanceLevel(level.sigma, cfg=level.cfg) for level in self.levels))

    def summary(self) -> list[str]:
        """What it does, in lines."""
        levels = self.levels
        lines = [
            _line("guidance", [level.cfg for level in levels]),
            _line("STG", [level.stg for level in levels]),
            _line("rescale", [level.rescale for level in levels]),
            _blocks_line([level.skipped for level in levels if level.stg]),
            _line("from sigma", [level.sigma for level in levels] if len(levels) > 1 else []),
            "CFG-Zero*" if self.zero_star else "",
        ]
        return [line for line in lines if line]


def _line(name: str, values: Sequence[float]) -> str:
    return f"{name} {', '.join(f'{value:g}' for value in values)}" if any(values) else ""


def _blocks_line(groups: Sequence[tuple[int, ...]]) -> str:
    words = "; ".join(", ".join(map(str, group)) for group in groups)
    return f"STG without the attention of blocks {words}" if words else ""


ISOLATED = {"a2v_cross_attn": False, "v2a_cross_attn": False}
"""ComfyUI's transformer_options by which picture and sound do not attend to each other, under core's names."""


@dataclass(frozen=True)
class StreamScale:
    """How one stream of picture and sound is guided.

    text: the scale of classifier-free guidance; 1 is off. stg: of spatio-temporal guidance, away from a prediction in
    which some blocks have no self-attention; 0 is off. modality: of guidance away from a prediction in which picture
    and sound do not attend to each other; 1 is off. rescale: how far the result is scaled back to the standard
    deviation of the prediction with the prompt, 0 to 1.
    """

    text: float
    stg: float = 0.0
    modality: float = 1.0
    rescale: float = 0.0


@dataclass(frozen=True)
class StreamGuidance:
    """The guidance that a variant's authors publish for picture and sound. skipped: the blocks of `StreamScale.stg`."""

    video: StreamScale
    sound: StreamScale
    skipped: tuple[int, ...] = ()


@dataclass(frozen=True)
class SecondPass:
    """The short pass that a variant's authors run over a clip whose latents were enlarged.

    sigmas: its noise levels, without the 0 at the end. guidance: None is none (1). adain: how far the enlarged latents
    are set back to the mean and deviation of the small ones before it, 0 (not at all) to 1. tone_map: how far they are
    compressed, likewise.
    """

    sigmas: tuple[float, ...]
    guidance: Guidance | None = None
    adain: float = 1.0
    tone_map: float = 0.0


@dataclass(frozen=True)
class Curve:
    """A value over the steps of a run, written as one number, a list of numbers, or a curve.

    points: (share of the run 0..1, value). linear: values change linearly between the points; otherwise every value
    of a list holds for an equal share of the steps.
    """

    points: tuple[tuple[float, float], ...]
    linear: bool = False

    def __str__(self) -> str:
        pairs = (f"{share:g}: {value:g}" if self.linear else f"{value:g}" for share, value in self.points)
        return ", ".join(pairs)

    @property
    def is_zero(self) -> bool:
        return not any(value for _, value in self.points)

    def over(self, steps: int) -> list[float]:
        """The value at each of `steps` steps."""
        values = [value for _, value in self.points]
        if not self.linear:
            return [values[step * len(values) // steps] for step in range(steps)]
        return [self._at(step / max(1, steps - 1)) for step in range(steps)]

    def _at(self, share: float) -> float:
        if share <= self.points[0][0]:
            return self.points[0][1]
        for (start, first), (end, second) in pairwise(self.points):
            if share <= end:
                return first + (second - first) * (share - start) / (end - start)
        return self.points[-1][1]


def curve_of(name: str, text: str, most: float) -> Curve:
    """The Curve that a person wrote: "6", "1, 6, 8, 1" (steps in turn) or "0: 8, 0.4: 6, 1: 1" (share: value).

    Raises ValueError for anything else, for values outside 0..most, and for shares that do not rise.
    """
    parts = [part.strip() for part in text.split(",")]
    try:
        pairs = [tuple(map(float, part.split(":"))) for part in parts]
    except ValueError:
        pairs = []
    kinds = {len(pair) for pair in pairs}
    if kinds not in ({1}, {2}):
        raise ValueError(
            f"{name} '{text}' is not a number, a list or a curve. Write 6 for all steps, 1, 6, 8, 1 for steps in turn, "
            "or 0: 8, 0.5: 4, 1: 1 for a curve (share of the steps: value)."
        )
    wrong = [pair[-1] for pair in pairs if not 0 <= pair[-1] <= most]
    if wrong:
        raise ValueError(f"{name} has {wrong[0]:g}, which is not between 0 and {most:g}.")
    if kinds == {1}:
        return Curve(tuple((0.0, value) for (value,) in pairs))
    shares = [share for share, _ in pairs]
    if not 0 <= shares[0] or not shares[-1] <= 1 or any(after <= before for before, after in pairwise(shares)):
        raise ValueError(f"{name} '{text}': the shares in front of the colons must rise, from 0 to at most 1.")
    return Curve(tuple(pairs), linear=True)


def blocks_of(text: str, count: int) -> tuple[tuple[int, ...], ...]:
    """The blocks that a person wrote, for steps in turn: "19", or "11, 25; 22; 28" with a group for each.

    count: how many blocks the network has. Raises ValueError for anything else.
    """
    try:
        groups = tuple(tuple(int(part) for part in group.split(",")) for group in text.split(";"))
    except ValueError:
        raise ValueError(
            f"stg_blocks '{text}' is not a list of blocks. Write their numbers with commas, such as 11, 25; a "
            "semicolon begins those of later steps."
        ) from None
    wrong = [block for group in groups for block in group if not 0 <= block < count]
    if wrong:
        raise ValueError(f"stg_blocks names block {wrong[0]}, but this model has {count}: 0 to {count - 1}.")
    return groups


@dataclass(frozen=True)
class OwnGuidance:
    """Guidance as an artist writes it. cfg: None is the sampler's own. blocks: groups for steps in turn.

    zero_steps: how many of the first steps predict zeros (CFG-Zero*'s zero init).
    """

    cfg: Curve | None
    stg: Curve
    rescale: Curve
    blocks: tuple[tuple[int, ...], ...] = ()
    zero_star: bool = False
    zero_steps: int = 0

    def steps(self, sigmas: Sequence[float]) -> list[StepGuidance]:
        """The guidance of each of as many steps as there are sigmas."""
        count = len(sigmas)
        cfg = self.cfg.over(count) if self.cfg else [None] * count
        curves = zip(cfg, self.stg.over(count), self.rescale.over(count), strict=True)
        return [
            StepGuidance(
                cfg=scale,
                stg=stg if self.blocks else 0.0,
                rescale=rescale,
                skipped=self.blocks[step * len(self.blocks) // count] if self.blocks else (),
                zero_star=self.zero_star,
                zero=step < self.zero_steps,
            )
            for step, (scale, stg, rescale) in enumerate(curves)
        ]

    def summary(self) -> list[str]:
        """What it does, in lines."""
        stg = bool(self.blocks) and not self.stg.is_zero
        lines = [
            f"guidance {self.cfg or 'of the sampler'}",
            f"STG {self.stg}" if stg else "no STG" + ("" if self.stg.is_zero else ": stg_blocks is empty"),
            f"rescale {self.rescale}" if not self.rescale.is_zero else "",
            _blocks_line(self.blocks) if stg else "",
            "CFG-Zero*" if self.zero_star else "",
            f"the first {self.zero_steps} steps predict zeros" if self.zero_steps else "",
        ]
        return [line for line in lines if line]

    @property
    def changes(self) -> bool:
        """Whether it changes over the steps."""
        curves = (self.cfg, self.stg, self.rescale)
        return len(self.blocks) > 1 or self.zero_steps > 0 or any(curve and len(curve.points) > 1 for curve in curves)
