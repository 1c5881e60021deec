"""Puts images into a shot: scales and encodes them, and writes them into its latent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..models.bridge.vae import resized, vae_grid
from ..models.timeline.placing import clip_for, place

if TYPE_CHECKING:
    import comfy.sd


def place_images(
    vae: comfy.sd.VAE, latent: dict, images: torch.Tensor, start: int, strength: float
) -> tuple[dict, int]:
    """The shot with images [N, H, W, 3] placed from latent frame `start` on, and the number of the latent frame after.

    strength: 1 keeps the images unchanged, 0 ignores them.
    """
    grid = vae_grid(vae)
    clip = images[clip_for(len(images), start, grid)]
    height, width = (side * grid.spatial for side in latent["samples"].shape[3:])
    content = vae.encode(resized(clip, width, height))[:, :, min(start, 1) :]
    end = min(start + content.shape[2], latent["samples"].shape[2])
    return place(latent, content, start, strength), end
