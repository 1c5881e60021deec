"""How known frames reach LTX Video: clean, each token with a timestep of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ...bridge.guide_tokens import append_guides
from ...contract.grid import Grid
from ...contract.guides import Appended, Guide
from ...contract.known_frames import KnownFrames


@dataclass(frozen=True)
class PerToken(KnownFrames):
    """For a network trained with one timestep per token: known tokens are clean and have timestep 0.

    A mask value m between 0 and 1 is consistent: the token is mixed to m * x_sigma + (1 - m) * clean, which is the
    clean latent noised to level m * sigma, and the network gets the timestep of m * sigma.
    """

    clean: bool = True
    guided: bool = True
    about: str = ""

    def timestep(self, timestep: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Timesteps [B] and mask [B, C, T, H, W] -> timesteps [B, T * H * W], one per token."""
        if mask is None:
            return timestep
        return (mask[:, :1] * timestep.view(-1, 1, 1, 1, 1)).flatten(1)

    def append(self, guides: Sequence[Guide], grid: Grid, clip: torch.Tensor) -> Appended:
        return append_guides(guides, grid, clip)
