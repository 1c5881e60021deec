"""The scenes of a clip, which can be sampled apart: a scene behind a cut reads nothing of the footage before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import comfy.model_patcher
import torch

from ..contract.family import Variant
from ..timeline.latent import picture_of, sound_of, video_of, with_streams
from ..timeline.openings import openings_of, with_openings
from ..timeline.sound import frames_before, place_at
from ..timeline.spans import SPAN
from ..timeline.windows import prompt_changes
from .video_model import video_model
from .wrappers.calls import conditioned_frame_rate

Scene = tuple[int, int]
"""Latent frames of a clip: the first, and the one behind the last."""


def scenes(
    model: comfy.model_patcher.ModelPatcher, latent: dict, positive: list, negative: list, sigmas: torch.Tensor
) -> list[Scene]:
    """The scenes of a clip; one if it cannot be sampled apart.

    Sampled with `only` one of them, it has the same latents there as if it was sampled whole: its windows, their noise
    and their shapes are the same. Not so if noise is left at the end, and for a sound that is changed in part: its
    start at a cut holds the sound of the scene before.
    """
    count, entries = picture_of(latent).shape[2], [options for _, options in (*positive, *negative)]
    changed = sound_of(latent["samples"]) is not None and sigmas[0] < 1
    if sigmas[-1] or changed or not any(SPAN in options for options in entries):
        return [(0, count)]
    return between_cuts(video_model(model).variant, entries, count)


def between_cuts(variant: Variant, entries: Sequence[Mapping[str, Any]], count: int) -> list[Scene]:
    """The scenes between the cuts of conditioning, given as its options, over a clip of `count` latent frames."""
    rate = conditioned_frame_rate(entries, variant)
    turns = prompt_changes(entries, [variant.grid.moment(frame, rate) for frame in range(count)])
    return list(pairwise([*(turn.frame for turn in turns if turn.cut), count]))


def joined(
    model: comfy.model_patcher.ModelPatcher, positive: list, negative: list, parts: Sequence[tuple[Scene, Any]]
) -> Any:
    """The samples of a clip from those of its scenes: each part is a whole clip's samples, of which one is finished."""
    variant, (_, first) = video_model(model).variant, parts[0]
    if len(parts) == 1:
        return first
    video = torch.cat([video_of(samples)[:, :, begin:end] for (begin, end), samples in parts], dim=2)
    if sound_of(first) is None:
        return with_openings(video, {at: opening for _, each in parts for at, opening in openings_of(each).items()})
    rate = conditioned_frame_rate([options for _, options in (*positive, *negative)], variant)
    length = sound_of(first).shape[2]

    def place(frame: int) -> int:
        return min(place_at(frames_before(frame, variant.grid), rate, variant.sound.per_second), length)

    sounds = [sound_of(samples)[:, :, place(begin) : place(end)] for (begin, end), samples in parts]
    return with_streams(first, video, torch.cat(sounds, dim=2))
