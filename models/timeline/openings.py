"""The frame before each later scene of a clip, as the network made it with the scene.

A scene that begins after a cut is sampled with an opening, a latent frame in front of its own that stands for a single
frame (`windows.Window`). The clip has no place for it, but a decoder needs it: a frame depends on those beside it. The
openings are found by the tensor of the clip, so that a node that makes another clip of it gets none that are not its.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.utils.weak import WeakTensorKeyDictionary

_of_samples = WeakTensorKeyDictionary()


def with_openings(clip: torch.Tensor, openings: Mapping[int, torch.Tensor]) -> torch.Tensor:
    """The clip [B, C, T, h, w], the same tensor, with the openings [B, C, 1, h, w] of scenes by their first frames."""
    if openings:
        _of_samples[clip] = dict(openings)
    return clip


def openings_of(clip: torch.Tensor) -> Mapping[int, torch.Tensor]:
    """The openings of the clip that is just this tensor, by the first latent frames of their scenes; {} if unknown."""
    return _of_samples.get(clip, {})
