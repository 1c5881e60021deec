"""Puts images into a shot: scales and encodes them, and writes them into its latent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..models.bridge.vae import reads_keyframes, resized, vae_grid
from ..models.contract.grid import Grid
from ..models.timeline.keyframes import with_keyframe
from ..models.timeline.placing import clip_for, place

if TYPE_CHECKING:
    import comfy.sd


def place_images(
    vae: comfy.sd.VAE, latent: dict, images: torch.Tensor, start: int, frame: int, strength: float
) -> tuple[dict, int]:
    """The shot with images [N, H, W, 3] placed from latent frame `start` on, and the number of the latent frame after.

    frame: the frame of the shot that a single image is, from 0; a clip begins where a latent frame does. strength: 1
    keeps the images unchanged, 0 ignores them.
    """
    grid = vae_grid(vae)
    height, width = (side * grid.spatial for side in latent["samples"].shape[3:])
    content = vae.encode(resized(images[clip_for(len(images), start, grid)], width, height))
    inside = content[:, :, min(start, 1) :]
    end = min(start + inside.shape[2], latent["samples"].shape[2])
    placed = place(latent, inside, start, strength)
    single = len(images) == 1
    if start < (1 if single else 2) or not reads_keyframes(vae):
        return placed, end
    where = {"start": start, "frame": frame if single else None, "strength": strength}
    return with_keyframe(latent, placed, _as_keyframe(vae, content, images, (width, height), grid), end, **where), end


def _as_keyframe(
    vae: comfy.sd.VAE, content: torch.Tensor, images: torch.Tensor, size: tuple[int, int], grid: Grid
) -> torch.Tensor:
    """Images as a clip that begins with the first of them. content: as `clip_for` encodes them, one extra in front.

    The first latent frame of a clip depends on its first frame alone, so a single image is encoded already. Images too
    few for two latent frames keep the extra one.
    """
    if len(images) == 1:
        return content[:, :, :1]
    if len(images) <= grid.temporal:
        return content
    return vae.encode(resized(images[clip_for(len(images), 0, grid)], *size))
