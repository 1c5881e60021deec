"""How known frames reach a network: what it is told beside the noisy latent, and what the sampler keeps in place."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class KnownFrames:
    """Known frames for a network not trained on them: ComfyUI re-noises them to each step's level. The default.

    clean: the network gets known frames without noise, and a timestep or channels that mark them. controlled: it takes
    a clip that guides the whole shot. in_one_go: the known frames are encoded together, before the network sees them:
    with black holes, or, where it is `held`, as a clip of the first frame alone. noise: of the pixels (-1..1) that are
    known then, the standard deviation of the noise that they get before. about: what an artist should know of this, or
    "".
    """

    clean: bool = False
    controlled: bool = False
    in_one_go: bool = False
    held: bool = False
    noise: float = 0.0
    about: str = "trained on text alone: known frames are re-noised"

    def timestep(self, timestep: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Timesteps [B] -> what the network is given, with mask [B, C, T, H, W] or None."""
        return timestep

    def channels(
        self, latent: torch.Tensor, mask: torch.Tensor | None, clip: torch.Tensor | None = None
    ) -> torch.Tensor | None:
        """What stands beside the noisy latent as further channels, from the known one [B, C, T, H, W].

        clip: the latents [B, C, T, H, W] of the clip that guides the shot (`controlled`), or of what is known, encoded
        `in_one_go`, where there is one.
        """
        return None

    def enforced(self, mask: torch.Tensor | None) -> torch.Tensor | None:
        """What of the mask [B, C, T, H, W] the sampler keeps in place; the network keeps the rest by itself."""
        return mask
