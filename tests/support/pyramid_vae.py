"""Pyramid Flow's VAE on whole clips, in pieces and tiles as in the recordings: the first frame, then windows."""

from __future__ import annotations

import torch
from atelier.models.families.pyramid_flow.causal_vae import CausalVideoVAE
from atelier.models.streaming import passes
from atelier.models.streaming.passes import CodingPass, pieces, run


class Cut(passes.Cut):
    """Tiles as the authors cut them: one more begins even if the one before already reaches the end."""

    @property
    def corners(self) -> list[tuple[int, int]]:
        tops, lefts = (range(0, side, self.tile * 3 // 4) for side in self.size)
        return [(top, left) for top in tops for left in lefts]


def encode(vae: CausalVideoVAE, pixels: torch.Tensor, window: int = 0, tile: int | None = None) -> torch.Tensor:
    """Pixels [B, 3, F, H, W] -> moments; a window in frames (0: all at once), a tile in pixels."""
    return coded(vae.encoder_step, pixels, window, tile, tile and tile // vae.spatial)


def decode(vae: CausalVideoVAE, latents: torch.Tensor, window: int = 0, tile: int | None = None) -> torch.Tensor:
    """Latents [B, C, T, h, w] -> pixels; a window in latent frames (0: all at once), a tile in pixels."""
    return coded(vae.decoder_step, latents, window, tile and tile // vae.spatial, tile)


def coded(start, x: torch.Tensor, window: int, tile: int | None, tile_out: int | None) -> torch.Tensor:
    lengths = pieces(window + 1, window, x.shape[2]) if window else [x.shape[2]]
    cut = Cut(tuple(x.shape[3:]), tile, tile_out)
    made = run(lambda: CodingPass(lengths, start()), x.split(lengths, dim=2), cut, tick=lambda share: None, folder=None)
    return torch.cat(list(made), dim=2)
