"""Cut a clip's sound with its picture: which sound latents an edited clip gets, and which are to be generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ..contract.grid import Grid
from .latent import PLACED, EditedSound, frame_rate_of, sound_of, sound_rate_of, video_of

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
    """A sound in a clip as it was given, by Place Sound or with its footage, and the latents that stand for it.

    waves: [1 or B, channels, samples] in -1..1, `rate` samples per second, from `begin` seconds of the clip on.
    latents: [1 or B, C, n, bins], in the clip from sound latent `start` on; NaN where they stand for another sound.
    """

    waves: torch.Tensor
    rate: int
    latents: torch.Tensor
    start: int
    begin: float

    def between(self, first: float, end: float) -> torch.Tensor:
        """The waves from `first` to `end` seconds of the clip. They begin and end where the sound does."""
        places = (max(0, round((seconds - self.begin) * self.rate)) for seconds in (first, end))
        return self.waves[..., slice(*places)]

    def of_clip(self, place: int) -> PlacedSound:
        """That of one clip of a batch."""
        one = {name: getattr(self, name) for name in ("waves", "latents")}
        return replace(self, **{name: x[place : place + 1] if len(x) > 1 else x for name, x in one.items()})

    def kept(self, sound: torch.Tensor) -> torch.Tensor:
        """Where a clip's sound [B, C, L, bins] is still this one, [B, L]. Not where it was cut, moved or made anew."""
        kept = torch.zeros(len(sound), sound.shape[2], dtype=torch.bool)
        there = sound[:, :, self.start : self.start + self.latents.shape[2]]
        here = self.latents[:, :, : there.shape[2]].to(there)
        if len(here) in (1, len(there)) and (there.shape[1], there.shape[3]) == (here.shape[1], here.shape[3]):
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


def edited(latents: Sequence[dict], stretches: Sequence[Stretch]) -> EditedSound:
    """The sound of a clip that was put together from stretches of `latents`.

    Raises ValueError if only some of them have sound.
    """
    sounds = [sound_of(latent["samples"]) for latent in latents]
    if all(sound is None for sound in sounds):
        return EditedSound()
    if any(sound is None for sound in sounds):
        raise ValueError(
            "One of these clips has sound, the other has none, so they are of different models. Encode the frames of "
            "the other one with the VAE of this model."
        )
    batch = max(len(video_of(latent["samples"])) for latent in latents)
    fps, rate, total = frame_rate_of(latents[0]), sound_rate_of(latents[0]), sum(s.frames for s in stretches)
    length, first = max(1, round(total / fps * rate)), sounds[0]
    new = first.new_zeros(batch, first.shape[1], length, first.shape[3])
    mask, begin, placed = torch.ones(batch, 1, length, 1), 0, []
    for stretch in stretches:
        here = torch.arange(place_at(begin, fps, rate), min(length, place_at(begin + stretch.frames, fps, rate)))
        if stretch.clip is not None and len(here):
            source = sounds[stretch.clip]
            at = torch.floor(here + 0.5 + (stretch.start - begin) / fps * rate).long().clamp(0, source.shape[2] - 1)
            new[:, :, here] = source[:, :, at].to(new).expand(batch, -1, -1, -1)
            mask[:, :, here] = stretch.free
            span = stretch.start / fps, (stretch.start + stretch.frames) / fps
            placed += _moved(latents[stretch.clip], span, begin / fps, at, new[:, :, here], int(here[0]))
        begin += stretch.frames
    return EditedSound(new, mask, tuple(placed))


def _moved(
    clip: dict, span: tuple[float, float], begin: float, at: torch.Tensor, new: torch.Tensor, start: int
) -> list[PlacedSound]:
    """What is known as waves of the sound in a span of a clip (seconds), which begins at `begin` in the edited clip.

    new: its latents [B, C, n, bins] there, from sound latent `start` on. at: [n], which of the clip's they are.
    """
    moved = []
    for placed in clip.get(PLACED, ()):
        kept, first = placed.kept(sound_of(clip["samples"]))[:, at], max(span[0], placed.begin)
        waves = placed.between(first, span[1])
        if kept.any() and waves.shape[-1]:
            latents = torch.where(kept[:, None, :, None].to(new.device), new, torch.nan)
            moved.append(PlacedSound(waves, placed.rate, latents, start, begin + first - span[0]))
    return moved


def place_at(frames: int, fps: float, rate: float) -> int:
    """The sound latent nearest to the end of `frames` frames; rate: sound latents a second."""
    return round(frames / fps * rate)
