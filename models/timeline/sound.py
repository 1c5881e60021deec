"""Cut a clip's sound with its picture: which sound latents an edited clip gets, and which are to be generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..contract.grid import Grid
from .latent import frame_rate_of, sound_of, sound_rate_of, video_of

SAME = 0.02
"""Latents that differ by less stand for the same sound: what a sampler keeps is rounded, what it makes differs by 1."""


@dataclass(frozen=True)
class Stretch:
    """`frames` frames of an edited clip, taken from frame `start` on of the clip with index `clip`.

    clip None: they are to be generated. free: their mask, 1 = generate, 0 = keep.
    """

    frames: int
    start: int = 0
    clip: int | None = 0
    free: float = 0.0


@dataclass(frozen=True, eq=False)
class PlacedSound:
    """A sound that was placed in a shot to be kept: as it was given, and the latents that stand for it.

    waves: [1 or B, channels, samples] in -1..1, `rate` samples per second. latents: [1 or B, C, n, bins], in the shot
    from sound latent `start` on.
    """

    waves: torch.Tensor
    rate: int
    latents: torch.Tensor
    start: int

    def kept(self, sound: torch.Tensor) -> torch.Tensor:
        """Where a clip's sound [B, C, L, bins] is still this one, [B, L]. Not where it was cut, moved or made anew."""
        kept = torch.zeros(len(sound), sound.shape[2], dtype=torch.bool)
        there = sound[:, :, self.start : self.start + self.latents.shape[2]]
        here = self.latents[:, :, : there.shape[2]].to(there)
        if there.shape[1] == here.shape[1] and there.shape[3] == here.shape[3]:
            same = ((there - here).abs() < SAME).all(dim=3).all(dim=1)
            kept[:, self.start : self.start + same.shape[1]] = same.cpu()
        return kept


def hole(frames: int) -> Stretch:
    """Frames to be generated."""
    return Stretch(frames, clip=None, free=1.0)


def frames_before(latent_frame: int, grid: Grid) -> int:
    """How many frames come before those of a latent frame."""
    return grid.frames(latent_frame) if latent_frame > 0 else 0


def place_of(latent_frame: int, latent: dict, grid: Grid) -> int:
    """The sound latent at which a latent frame of the picture begins."""
    return place_at(frames_before(latent_frame, grid), frame_rate_of(latent), sound_rate_of(latent))


def edited(
    latents: Sequence[dict], stretches: Sequence[Stretch]
) -> tuple[torch.Tensor, torch.Tensor] | tuple[None, None]:
    """The sound [B, C, L, bins] of a clip that was put together from stretches of `latents`, and its mask [B, 1, L, 1].

    (None, None) if no LATENT has sound. Raises ValueError if only some of them have.
    """
    sounds = [sound_of(latent["samples"]) for latent in latents]
    if all(sound is None for sound in sounds):
        return None, None
    if any(sound is None for sound in sounds):
        raise ValueError(
            "One of these clips has sound, the other has none, so they are of different models. Encode the frames of "
            "the other one with the VAE of this model."
        )
    batch = max(len(video_of(latent["samples"])) for latent in latents)
    fps, rate, total = frame_rate_of(latents[0]), sound_rate_of(latents[0]), sum(s.frames for s in stretches)
    length, first = max(1, round(total / fps * rate)), sounds[0]
    new = first.new_zeros(batch, first.shape[1], length, first.shape[3])
    mask, begin = torch.ones(batch, 1, length, 1), 0
    for stretch in stretches:
        here = torch.arange(place_at(begin, fps, rate), min(length, place_at(begin + stretch.frames, fps, rate)))
        if stretch.clip is not None and len(here):
            source = sounds[stretch.clip]
            at = torch.floor(here + 0.5 + (stretch.start - begin) / fps * rate).long().clamp(0, source.shape[2] - 1)
            new[:, :, here] = source[:, :, at].to(new).expand(batch, -1, -1, -1)
            mask[:, :, here] = stretch.free
        begin += stretch.frames
    return new, mask


def place_at(frames: int, fps: float, rate: float) -> int:
    """The sound latent nearest to the end of `frames` frames; rate: sound latents a second."""
    return round(frames / fps * rate)
