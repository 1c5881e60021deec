"""Known footage that some networks read beside the shot: each piece as a clip of its own, at its own frame.

Such a network was trained to read a picture at any frame as extra tokens, instead of a latent frame of the shot that
stands for several frames. A LATENT has both: the footage in its samples, for all other networks and samplers, and its
key KEYFRAMES, with which `apart` takes it out of the samples again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from ..contract.grid import Grid
from .latent import KEYFRAMES, mask_of, sound_of, video_of, with_mask, with_streams

PREFIX = 2
"""Latent frames of a clip that are given as extra tokens, as in its authors' pipeline. The rest stays in the shot."""

_of_samples = WeakTensorKeyDictionary()
"""A LATENT's picture -> its keyframes. ComfyUI's own samplers hand on the samples and the mask of a LATENT, no other
entry: a wrapper of theirs finds the keyframes by the tensor, as long as no node made another one of it."""
MARKED = 1e-3
"""Values of a mask that differ by less are the same."""


@dataclass(frozen=True, eq=False)
class Keyframe:
    """Footage at a frame of the shot, and what was in the shot before it was placed.

    latents: [1 or B, C, t, h, w], encoded as a clip: the first latent frame stands for one frame. start, end: the
    latent frames of the shot in which the same footage was placed. samples, mask: what they held before, [B, C or 1,
    end - start, h, w]. frame: the frame of the shot at which the footage begins, from 0; None: the last frame before
    latent frame `start`, as for every clip of several latent frames. strength: 1 keeps it, less keeps it in part.
    """

    latents: torch.Tensor
    start: int
    end: int
    samples: torch.Tensor
    mask: torch.Tensor
    frame: int | None = None
    strength: float = 1.0

    @property
    def place(self) -> tuple[int, int, int | None]:
        """Where in the shot it is."""
        return self.start, self.end, self.frame

    def begins(self, grid: Grid) -> int:
        """The frame of the shot at which the footage begins, from 0."""
        return grid.frames(self.start) - 1 if self.frame is None else self.frame

    def moved(self, by: int, grid: Grid) -> Keyframe:
        """The same, `by` latent frames later in the shot."""
        frame = None if self.frame is None else self.frame + by * grid.temporal
        return replace(self, start=self.start + by, end=self.end + by, frame=frame)


@dataclass(frozen=True)
class Beside:
    """Footage that a network reads beside the shot: latents [1 or B, C, t, h, w] of a clip that begins at `frame`."""

    latents: torch.Tensor
    frame: int
    strength: float


def with_keyframe(before: Mapping[str, Any], placed: dict, latents: torch.Tensor, end: int, **where: Any) -> dict:
    """`placed`, which is the LATENT `before` with footage up to latent frame `end`, and that footage as a keyframe.

    latents: the footage as a clip. where: `start`, and `frame` and `strength` if they are not the defaults.
    """
    span = slice(where["start"], end)
    under = {"samples": video_of(before["samples"])[:, :, span].clone(), "mask": mask_of(dict(before))[:, :, span]}
    keyframe, others = Keyframe(latents, end=end, **under, **where), []
    for each in before.get(KEYFRAMES, ()):
        if each.place == keyframe.place:  # the new footage takes its place, as in the samples
            keyframe = replace(keyframe, samples=each.samples, mask=each.mask)
        else:
            others.append(each)
    return with_keyframes(placed, [*others, keyframe])


def with_keyframes(latent: dict, keyframes: Sequence[Keyframe]) -> dict:
    """The LATENT with these keyframes, and no others; without any, its picture is another tensor."""
    picture = video_of(latent["samples"])
    if keyframes:
        _of_samples[picture] = tuple(keyframes)
        return {**latent, KEYFRAMES: tuple(keyframes)}
    rest = {key: value for key, value in latent.items() if key != KEYFRAMES}
    if picture not in _of_samples:
        return rest
    return {**rest, "samples": with_streams(latent["samples"], picture[:], sound_of(latent["samples"]))}


def keyframes_of(samples: torch.Tensor) -> tuple[Keyframe, ...]:
    """The keyframes of the LATENT that has just these samples, the same tensor; () if it has none."""
    return _of_samples.get(samples, ())


def keyframes_like(latent: dict) -> tuple[Keyframe, ...]:
    """The keyframes of the LATENT of which this is a copy: its picture is the same, and so is the mask of each of them.

    () if there is none.
    """
    samples, mask = latent["samples"], mask_of(latent)

    def marked(each: Keyframe) -> bool:
        return bool((mask[:, :, each.start : each.end] - (1 - each.strength)).abs().max() < MARKED)

    for picture, keyframes in list(_of_samples.items()):
        if picture.shape == samples.shape and all(map(marked, keyframes)):
            if torch.equal(picture.to(samples), samples):
                return keyframes
    return ()


def entered(shot: dict, start: int, opening: torch.Tensor) -> dict:
    """A shot whose known latent frame `start` comes after a hole, with that frame and the one before as a keyframe.

    opening: the frame before it as a picture's latents [B, C, 1, h, w].
    """
    picture = video_of(shot["samples"])
    known = picture[:, :, start : start + 1]
    if start < 2 or not known.shape[2]:
        return shot
    hole = {"samples": torch.zeros_like(picture)}
    return with_keyframe(hole, shot, torch.cat([opening.to(known), known], dim=2), start + 1, start=start)


def within(keyframes: Sequence[Keyframe], begin: int, stop: int, by: int, grid: Grid) -> tuple[Keyframe, ...]:
    """Those in the latent frames `begin` to `stop` (exclusive), moved by `by`."""
    return tuple(each.moved(by, grid) for each in keyframes if begin <= each.start and each.end <= stop)


def over(keyframes: Sequence[Keyframe], samples: torch.Tensor, mask: torch.Tensor) -> tuple[Keyframe, ...]:
    """The keyframes of a shot that was sampled without them in it.

    samples, mask: what its picture holds there now.
    """
    spans = [slice(each.start, each.end) for each in keyframes]
    return tuple(  # copies: a view would keep the tensor alive by which `keyframes_of` finds them
        replace(each, samples=samples[:, :, span].clone(), mask=mask[:, :, span].clone())
        for each, span in zip(keyframes, spans, strict=True)
    )


def apart(latent: dict, grid: Grid) -> tuple[dict, list[Beside]]:
    """A LATENT whose keyframes are not in its samples and mask, and what the network reads beside it.

    Of a clip, latent frames after PREFIX stay in the shot, as in its authors' pipeline. What was placed in an empty
    shot stays in the samples, to be sampled: a sampler that begins with less than full noise needs something there.
    """
    keyframes, samples, mask = latent.get(KEYFRAMES, ()), video_of(latent["samples"]).clone(), mask_of(latent)
    if any(each.latents.shape[3:] != samples.shape[3:] or each.end > samples.shape[2] for each in keyframes):
        logging.warning(
            "Atelier: another node changed the size of this latent after frames were placed in it: they are used as "
            "latent frames of the shot, not as keyframes."
        )
        return latent, []
    for each in reversed(keyframes):
        span = slice(each.start, each.end)
        mask[:, :, span] = each.mask[: len(mask)]
        if each.samples.any():
            samples[:, :, span] = each.samples[: len(samples)].to(samples)
    for each in keyframes:
        inside = each.latents[:, :, PREFIX:][:, :, : samples.shape[2] - each.start - 1]
        span = slice(each.start + 1, each.start + 1 + inside.shape[2])
        samples[:, :, span], mask[:, :, span] = inside.to(samples), 1 - each.strength
    beside = [Beside(each.latents[:, :, :PREFIX], each.begins(grid), each.strength) for each in keyframes]
    whole = with_streams(latent["samples"], samples, sound_of(latent["samples"]))
    return with_mask({**latent, "samples": whole}, mask), beside
