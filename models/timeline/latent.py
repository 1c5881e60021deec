"""A LATENT of a clip: its mask, frame rate and length, and the keys that this pack adds to it."""

from __future__ import annotations

import torch

from ..contract.grid import Grid

DEFAULT_FPS = 25.0
"""Frames per second of a LATENT that has no "frame_rate"."""
CUTS = "cuts"
"""LATENT key: the latent frames at which the second and later scenes begin. Scenes are decoded separately."""
LOOP = "loop"
"""LATENT key of a loop: how many decoded frames come before the first one that is shown."""
AROUND = "around"
"""LATENT key of a shot that was cut out of a clip: the rest of that clip (editing's Around)."""

KEYFRAMES = "keyframes"
"""LATENT key: footage in the shot that some networks read beside it (timeline.keyframes)."""


def frame_rate_of(latent: dict) -> float:
    """Frames per second of a LATENT."""
    return latent.get("frame_rate", DEFAULT_FPS)


def mask_of(latent: dict) -> torch.Tensor:
    """The mask [B, 1, T, H, W] of a LATENT: 1 = generate, 0 = keep. Without a mask, all of it is generated.

    Masks of other nodes ([H, W], [B, H, W], any size) are repeated over time and resized.
    """
    samples = latent["samples"]
    batch, _, *size = samples.shape
    mask = latent.get("noise_mask")
    if mask is None:
        return torch.ones(batch, 1, *size)
    mask = mask.float()
    if mask.ndim < 5:
        mask = mask.reshape(1, 1, -1, *mask.shape[-2:])
    mask = torch.nn.functional.interpolate(mask[:, :1], size=tuple(size), mode="trilinear")
    return mask.expand(batch, -1, -1, -1, -1).clone()


def length(latent: dict, grid: Grid) -> int:
    """How many frames of video a clip shows."""
    return grid.frames(latent["samples"].shape[2]) - (LOOP in latent)


def finished(latent: dict) -> torch.Tensor:
    """The latents [B, C, T, h, w] of a whole clip. Raises ValueError for a picture's latent or an unjoined shot."""
    samples = latent["samples"]
    if AROUND in latent:
        raise ValueError(
            "This latent is a piece that an editing node cut out of a clip. Put Join Shot between Sample Video and "
            "this node: its output is the whole clip."
        )
    if samples.ndim != 5:
        raise ValueError(
            f"This latent has shape {list(samples.shape)}. Expected: a video latent [batch, channels, frames, height, "
            "width], from Sample Video, Join Shot or Encode Video."
        )
    return samples


def with_holes(latent: dict, samples: torch.Tensor, mask: torch.Tensor) -> dict:
    """A LATENT like `latent` with samples [B, C, T, h, w] and a mask [T]: 1 = generate, 0 = keep."""
    shape = (samples.shape[0], 1, *samples.shape[2:])
    rest = {key: value for key, value in latent.items() if key not in (LOOP, CUTS, KEYFRAMES)}
    return {**rest, "samples": samples, "noise_mask": mask.to(samples).view(1, 1, -1, 1, 1).expand(shape).clone()}
