"""How known frames reach a network: its timesteps and extra channels, and what the sampler keeps in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .grid import Grid
from .guides import Appended, Guide

HOLES, STILL, LAST = "with black holes", "as a still clip", "last frame alone"
"""How known frames are encoded once before sampling: as a clip whose unknown frames are black, as a clip that repeats
the first frame, or the last frame by itself, as a picture."""


@dataclass(frozen=True)
class KnownFrames:
    """Known frames for a network not trained on them, the default: ComfyUI re-noises them to each step's level.

    clean: the network gets known frames without noise, and a timestep or channels that mark them. controlled: it takes
    a control clip that guides the whole shot. encoded: how the known frames are encoded once before sampling (HOLES,
    STILL, LAST); "" is not at all. noise: the standard deviation of the noise that the known pixels (-1..1) get before
    that. guided: it reads guides, tokens behind the clip's own (see `append`). keyframes: it was trained to read known
    frames so, at any time. about: one line for an artist about how this variant treats known frames, or "".
    """

    clean: bool = False
    controlled: bool = False
    encoded: str = ""
    noise: float = 0.0
    guided: bool = False
    keyframes: bool = False
    about: str = "trained on text alone: known frames are re-noised"

    def timestep(self, timestep: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Timesteps [B] and a mask [B, C, T, H, W] or None -> the timesteps that the network gets."""
        return timestep

    def channels(
        self, latent: torch.Tensor, mask: torch.Tensor | None, clip: torch.Tensor | None = None
    ) -> torch.Tensor | None:
        """The extra input channels beside the noisy latent, from the known latent [B, C, T, H, W]. None: it has none.

        clip: latents [B, C, T, H, W] of the control clip (`controlled`), or of the known frames as `encoded`.
        None: there is no such clip.
        """
        return None

    def enforced(self, mask: torch.Tensor | None) -> torch.Tensor | None:
        """The part of the mask [B, C, T, H, W] that the sampler must enforce. The network itself keeps the rest."""
        return mask

    def unmet(self, mask: torch.Tensor) -> list[str]:
        """What the model cannot follow of the mask [B, 1 or C, T, H, W] of one scene, 1 = generate, 0 = keep.

        Each is a sentence whose subject, the variant's name, is left out. []: it follows all of it.
        """
        return []

    def append(self, guides: Sequence[Guide], grid: Grid, clip: torch.Tensor) -> Appended:
        """The tokens that a network reads behind those of a clip [B, C, T, h, w], for guides, if it is `guided`."""
        raise NotImplementedError
