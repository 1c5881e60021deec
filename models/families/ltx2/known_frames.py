"""How known parts reach LTX-2: clean, each token of picture and sound with a timestep of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ...bridge.guide_tokens import append_guides
from ...contract.grid import Grid
from ...contract.guides import Appended, Guide
from ...contract.known_frames import KnownFrames


@dataclass(frozen=True)
class PerToken(KnownFrames):
    """Known tokens are clean and have timestep 0; a token known in part has the timestep of the noise that it has."""

    clean: bool = True
    guided: bool = True
    keyframes: bool = True
    about: str = ""

    def timestep(self, timestep: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Timesteps [B] and the mask of a stream -> timesteps per token.

        mask: the picture's [B, C, T, H, W] -> [B, T * H * W], or the sound's [B, C, L, bins] -> [B, L]. None: all of
        the stream is generated, and its timesteps stay [B].
        """
        if mask is None:
            return timestep
        tokens = mask[:, 0] if mask.ndim == 5 else mask[:, 0, :, 0]
        return tokens.flatten(1) * timestep[:, None]

    def append(self, guides: Sequence[Guide], grid: Grid, clip: torch.Tensor) -> Appended:
        """Guides are noised to their share of each step's level, also keyframes, as in Lightricks' code."""
        return append_guides([replace(guide, held=False) for guide in guides], grid, clip)
