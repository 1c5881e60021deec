"""Cuts the part of a clip that the sampler needs (a shot), and joins the sampled shot back into the clip.

Only the first latent frame of a clip stands for a single frame of video, so a piece from the middle is not a valid
clip: it needs an opening, the frame before it encoded as a picture. The rest of the clip travels in the LATENT's entry
`around`, and `joined` puts it back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ..models.bridge.vae import encode, frames_of, vae_grid
from ..models.contract.grid import Grid
from ..models.timeline.keyframes import with_keyframes, within
from ..models.timeline.latent import (
    AROUND,
    KEYFRAMES,
    LOOP,
    frame_rate_of,
    length,
    mask_of,
    picture_of,
    sound_mask_of,
    sound_of,
    sound_rate_of,
    video_of,
    with_mask,
    with_streams,
)
from ..models.timeline.sound import place_of
from .decoding import DECODED

if TYPE_CHECKING:
    import comfy.sd

Opening = Callable[[torch.Tensor, int], torch.Tensor]
"""(latents, n) -> a first latent frame [B, C, 1, h, w] for a clip that begins with latent frame n."""


@dataclass(frozen=True)
class Around:
    """The rest of a shot's clip: latents [B, C, t, h, w] before and after the hole (t may be 0).

    Of the sampled shot, `lead` latent frames at the start and `tail` at the end are context, which `joined` drops.
    sound: the same of the clip's sound, whose latents are [B, C, L, bins]; None for a clip without sound.
    """

    before: torch.Tensor
    after: torch.Tensor
    lead: int
    tail: int
    sound: Around | None = None

    def joined(self, shot: torch.Tensor) -> torch.Tensor:
        """The clip with the sampled shot [B, C, t, ...] in its place."""
        filled = shot[:, :, self.lead : shot.shape[2] - self.tail]
        before, after = (part.to(filled).expand(len(filled), *part.shape[1:]) for part in (self.before, self.after))
        return torch.cat([before, filled, after], dim=2)

    def of_clip(self, place: int) -> Around:
        """That of one clip of a batch."""
        before, after = (part[place : place + 1] if len(part) > 1 else part for part in (self.before, self.after))
        return replace(self, before=before, after=after, sound=self.sound and self.sound.of_clip(place))


def latent_frames(seconds: float, latent: dict, grid: Grid) -> int:
    """Seconds as a number of latent frames: the nearest that the autoencoder can take, at least one group."""
    frames = seconds * frame_rate_of(latent)
    return max(1, round(frames / (grid.temporal * grid.group))) * grid.group


def context_of(overlap: float, latent: dict, grid: Grid) -> int:
    """An overlap in seconds as latent frames; 0 means the whole clip."""
    return latent_frames(overlap, latent, grid) if overlap else picture_of(latent).shape[2]


def window(latent: dict, context: int, grid: Grid, opening: Opening) -> dict:
    """The part of a clip that the sampler needs: its holes and `context` latent frames on either side.

    `joined` puts the whole clip together again.
    """
    samples, mask = picture_of(latent), mask_of(latent)
    holes = mask.amax(dim=(0, 1, 3, 4)).nonzero().flatten().tolist()
    total = samples.shape[2]
    first, end = (holes[0], holes[-1] + 1) if holes else (0, total)
    # An autoencoder's groups begin with latent frame 1.
    begin = max(0, (first - context - 1) // grid.group * grid.group + 1) if first else 0
    stop = min(total, -(-(end + context - 1) // grid.group) * grid.group + 1)
    around = Around(samples[:, :, :first], samples[:, :, end:], first, stop - end)
    moved = max(0, begin - 1)
    sound, sound_mask, around_sound = _sound_window(latent, begin, first, end, stop, grid)
    if begin > 1:
        lead = opening(samples, begin).to(samples)
        around = Around(around.before, around.after, first - begin + 1, around.tail)
        samples = torch.cat([lead, samples[:, :, begin:]], dim=2)
        mask = torch.cat([torch.zeros_like(mask[:, :, :1]), mask[:, :, begin:]], dim=2)
        stop += 1 - begin
    piece = {**latent, "samples": with_streams(latent["samples"], samples[:, :, :stop], sound)}
    piece = {**with_mask(piece, mask[:, :, :stop], sound_mask), AROUND: replace(around, sound=around_sound)}
    if KEYFRAMES in latent:
        piece = with_keyframes(piece, within(latent[KEYFRAMES], begin, stop + moved, -moved, grid))
    return piece


def _sound_window(
    latent: dict, begin: int, first: int, end: int, stop: int, grid: Grid
) -> tuple[torch.Tensor, torch.Tensor, Around] | tuple[None, None, None]:
    """The sound of the latent frames `begin` to `stop`, its mask, and the rest around the hole from `first` to `end`.

    A piece that begins later has the frame before it in front. The sound is as long as that of a clip of these frames.
    """
    sound, frames = sound_of(latent["samples"]), picture_of(latent).shape[2]
    if sound is None:
        return None, None, None
    mask, total = sound_mask_of(latent), sound.shape[2]
    until = min(place_of(stop, latent, grid), total)
    count = round(grid.frames(stop - max(0, begin - 1)) / frame_rate_of(latent) * sound_rate_of(latent))
    start = max(0, until - count) if begin > 1 else 0
    gap, over = place_of(first, latent, grid), min(total, place_of(end, latent, grid)) if end < frames else total
    around = Around(sound[:, :, :gap], sound[:, :, over:], gap - start, max(0, until - over))
    return sound[:, :, start:until], mask[:, :, start:until], around


def joined(latent: dict) -> dict:
    """The whole clip of a sampled shot, without holes. Raises ValueError if the latent is not part of a clip."""
    if AROUND not in latent:
        raise ValueError(
            "There is nothing to join to this latent. Connect Join Shot to the Sample Video that filled a shot of "
            "Extend Shot, Loop Shot, Blend Shots or Re-cut Shot. (A node in between that makes a new latent loses the "
            "rest of the clip.)"
        )
    shot, around = picture_of(latent), latent[AROUND]
    if shot.shape[1] != around.before.shape[1] or shot.shape[3:] != around.before.shape[3:]:
        raise ValueError(
            f"The shot's latents are {shot.shape[4]} x {shot.shape[3]} now, those of the rest of its clip "
            f"{around.before.shape[4]} x {around.before.shape[3]}. Join the shot before you scale it."
        )
    sound = sound_of(latent["samples"])
    if (sound is None) != (around.sound is None):
        raise ValueError(
            "The clip has sound, the sampled shot has none: a node in between kept only its picture. Connect Join Shot "
            "to Sample Video."
        )
    whole = with_streams(latent["samples"], around.joined(shot), around.sound and around.sound.joined(sound))
    rest = {key: value for key, value in latent.items() if key not in (AROUND, KEYFRAMES, "noise_mask")}
    return {**rest, "samples": whole}


def opening_of(vae: comfy.sd.VAE) -> Opening:
    """The Opening that decodes the frame before latent frame n and encodes it as a picture."""

    def opening(samples: torch.Tensor, at: int) -> torch.Tensor:
        grid, begin = vae_grid(vae), max(0, at - DECODED)
        frames = frames_of(vae, samples[:, :, begin : at + 1])
        return encode(vae, frames[:, [grid.frames(at - begin) - 1]])

    return opening


def shot_of(clip: dict, vae: comfy.sd.VAE, overlap: float) -> tuple[dict, str]:
    """The part of a clip with holes that the sampler needs, and a summary: the frames to make, and the context.

    overlap: seconds of context on either side of the holes; 0 = the whole clip.
    """
    grid = vae_grid(vae)
    shot = window(clip, context_of(overlap, clip, grid), grid, opening_of(vae))
    holes = mask_of(clip).amax(dim=(0, 1, 3, 4)).nonzero().flatten().tolist()
    frames, rate = length(clip, grid), frame_rate_of(clip)
    task, hidden = "there is nothing to make", clip.get(LOOP, 0)
    if holes:
        first, last = (grid.frames(holes[0]) + 1 if holes[0] else 1), grid.frames(holes[-1] + 1)
        task = f"to make: frames {first - hidden} to {last - hidden}"
    sampled = grid.frames(video_of(shot["samples"]).shape[2])
    context = f", the sampler gets {sampled}" if sampled < frames else ""
    return shot, f"{task}\n{frames} in all = {frames / rate:.2f} s{context}"
