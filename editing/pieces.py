"""The part of a clip that the sampler gets, and the clip put together again.

Only the first latent frame of a clip stands for a single frame of video, so a piece out of the middle is not a clip:
it needs an opening, the frame before it encoded as a picture. What a hole does not need for context stays outside, in
the LATENT's entry `around`, and comes back when the shot is joined.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..models.bridge.vae import encode, frames_of, vae_grid
from ..models.contract.grid import Grid
from ..models.timeline.latent import AROUND, LOOP, frame_rate_of, length, mask_of
from .decoding import DECODED

if TYPE_CHECKING:
    import comfy.sd

Opening = Callable[[torch.Tensor, int], torch.Tensor]
"""(latents, n) -> what stands for latent frame n - 1 at the start of a clip, [B, C, 1, h, w]."""


@dataclass(frozen=True)
class Around:
    """What a shot leaves out of its clip: latents [B, C, t, h, w] before and after it (t may be 0).

    Of the sampled shot, `lead` latent frames at the start and `tail` at the end are context that is not part of it.
    """

    before: torch.Tensor
    after: torch.Tensor
    lead: int
    tail: int


def latent_frames(seconds: float, latent: dict, grid: Grid) -> int:
    """The number of latent frames nearest to a length in seconds, at least one, that an autoencoder can take."""
    frames = seconds * frame_rate_of(latent)
    return max(1, round(frames / (grid.temporal * grid.group))) * grid.group


def context_of(overlap: float, latent: dict, grid: Grid) -> int:
    """Latent frames of an overlap in seconds; 0 means all of the clip."""
    return latent_frames(overlap, latent, grid) if overlap else latent["samples"].shape[2]


def window(latent: dict, context: int, grid: Grid, opening: Opening) -> dict:
    """The part of a clip with holes that the sampler needs: the holes, and `context` latent frames on either side.

    `joined` puts everything together again.
    """
    samples, mask = latent["samples"], mask_of(latent)
    holes = mask.amax(dim=(0, 1, 3, 4)).nonzero().flatten().tolist()
    total = samples.shape[2]
    first, end = (holes[0], holes[-1] + 1) if holes else (0, total)
    # Groups of an autoencoder begin with the latent frame after the first.
    begin = max(0, (first - context - 1) // grid.group * grid.group + 1) if first else 0
    stop = min(total, -(-(end + context - 1) // grid.group) * grid.group + 1)
    around = Around(samples[:, :, :first], samples[:, :, end:], first, stop - end)
    if begin > 1:
        lead = opening(samples, begin).to(samples)
        around = Around(around.before, around.after, first - begin + 1, around.tail)
        samples = torch.cat([lead, samples[:, :, begin:]], dim=2)
        mask = torch.cat([torch.zeros_like(mask[:, :, :1]), mask[:, :, begin:]], dim=2)
        stop += 1 - begin
    return {**latent, "samples": samples[:, :, :stop], "noise_mask": mask[:, :, :stop], AROUND: around}


def joined(latent: dict) -> dict:
    """The whole clip of a sampled shot, nothing of it a hole any more. Raises ValueError when it was no part of one."""
    if AROUND not in latent:
        raise ValueError(
            "There is nothing to join to this latent. Join Shot belongs behind the sampler of a shot that Extend Shot, "
            "Loop Shot, Blend Shots or Re-cut Shot made. (A node in between that makes a new latent loses the rest of "
            "the clip.)"
        )
    made, around = latent["samples"], latent[AROUND]
    if made.shape[1] != around.before.shape[1] or made.shape[3:] != around.before.shape[3:]:
        raise ValueError(
            f"The shot has latents of {made.shape[4]} x {made.shape[3]} now, the rest of its clip of "
            f"{around.before.shape[4]} x {around.before.shape[3]}: join it before it is scaled."
        )
    made = made[:, :, around.lead : made.shape[2] - around.tail]
    outside = [part.to(made).expand(len(made), *part.shape[1:]) for part in (around.before, around.after)]
    rest = {key: value for key, value in latent.items() if key not in (AROUND, "noise_mask")}
    return {**rest, "samples": torch.cat([outside[0], made, outside[1]], dim=2)}


def opening_of(vae: comfy.sd.VAE) -> Opening:
    """How a piece from latent frame n on begins: the last frame before n, decoded, and encoded as a picture."""

    def opening(samples: torch.Tensor, at: int) -> torch.Tensor:
        grid, begin = vae_grid(vae), max(0, at - DECODED)
        frames = frames_of(vae, samples[:, :, begin : at + 1])
        return encode(vae, frames[:, [grid.frames(at - begin) - 1]])

    return opening


def shot_of(clip: dict, vae: comfy.sd.VAE, overlap: float) -> tuple[dict, str]:
    """The part of a clip with holes that the sampler gets, and in words what it is to make and sees.

    overlap: seconds of the clip on either side of a hole; 0 = all of it.
    """
    grid = vae_grid(vae)
    shot = window(clip, context_of(overlap, clip, grid), grid, opening_of(vae))
    holes = mask_of(clip).amax(dim=(0, 1, 3, 4)).nonzero().flatten().tolist()
    frames, rate = length(clip, grid), frame_rate_of(clip)
    made, unseen = "nothing is to be made", clip.get(LOOP, 0)
    if holes:
        first, last = (grid.frames(holes[0]) + 1 if holes[0] else 1), grid.frames(holes[-1] + 1)
        made = f"frames {first - unseen} to {last - unseen} are to be made"
    seen = grid.frames(shot["samples"].shape[2])
    sight = f", the model sees {seen}" if seen < frames else ""
    return shot, f"{made}\n{frames} in all = {frames / rate:.2f} s{sight}"
