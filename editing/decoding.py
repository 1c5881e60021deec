"""A LATENT to frames: scenes apart, and a loop as it is played."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from ..models.bridge.vae import decode_stream, vae_grid
from ..models.contract.grid import Grid
from ..models.timeline.latent import CUTS, LOOP, length

if TYPE_CHECKING:
    import comfy.sd

DECODED = 4
"""Latent frames decoded around a frame that is needed: enough for the decoder to show it."""


def frames(vae: comfy.sd.VAE, latent: dict) -> Iterator[torch.Tensor]:
    """A LATENT's frames [f, H, W, 3] in 0..1, some at a time, clip after clip; a loop's as they are played for ever.

    A loop's first frames are decoded after its last ones, and its last before its first: what a decoder makes of a
    frame depends on both.
    """
    samples = latent["samples"]
    if LOOP not in latent:
        yield from scenes_apart(vae, samples, latent.get(CUTS, ()))
        return
    grid, turn = vae_grid(vae), samples[:, :, 1:]
    context = min(DECODED, turn.shape[2])
    around = torch.cat([samples[:, :, :1], turn[:, :, -context:], turn, turn[:, :, :context]], dim=2)
    first = grid.temporal * context + latent[LOOP]
    for clip in around.split(1):
        yield from _between(decode_stream(vae, clip), first, first + length(latent, grid))


def scenes_apart(vae: comfy.sd.VAE, samples: torch.Tensor, cuts: Sequence[int]) -> Iterator[torch.Tensor]:
    """The frames of clips [B, C, T, h, w]. Around a cut, a decoder that sees both scenes shows both in one frame."""
    if not cuts:
        yield from decode_stream(vae, samples)
        return
    for clip in samples.split(1):
        for scene, shown in scenes(clip, cuts, vae_grid(vae)):
            yield from _between(decode_stream(vae, scene), shown.start, shown.stop)


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
