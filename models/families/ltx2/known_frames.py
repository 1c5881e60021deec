"""How known parts reach LTX-2: clean, each token of picture and sound with a timestep of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...contract.known_frames import KnownFrames


@dataclass(frozen=True)
class PerToken(KnownFrames):
    """Known tokens are clean and have timestep 0; a token known in part has the timestep of the noise that it has."""

    clean: bool = True
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
