"""How known frames reach Pyramid Flow: whole latent frames that are kept are history for the frames after them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...contract.known_frames import KnownFrames

WHOLE = "makes whole frames: frames that the mask keeps only in part are replaced."
BACKWARD = (
    "looks back only: frames before a kept one do not lead up to it. Keep the first frames, or use LTX Video for last "
    "frames and frames in between."
)


def frames_to_make(mask: torch.Tensor) -> list[bool]:
    """For each latent frame of a mask [B, 1 or C, T, h, w], whether it is generated (True) or kept.

    A frame is kept if its mask is nearer to 0 (keep) than to 1 (generate) everywhere.
    """
    return [bool(frame.max() > 0.5) for frame in mask.unbind(2)]


@dataclass(frozen=True)
class History(KnownFrames):
    """Pyramid Flow: kept frames are history for the frames after them, without noise.

    Its own sampler makes one whole latent frame after the other, so it cannot follow every mask (`unmet`).
    """

    about: str = ""

    def unmet(self, mask: torch.Tensor) -> list[str]:
        """Of a mask [B, 1 or C, T, h, w]: frames that are kept only in part, and frames before a kept one."""
        make = frames_to_make(mask)
        partly = any(made and frame.min() <= 0.5 for frame, made in zip(mask.unbind(2), make, strict=True))
        before = True in make and False in make[make.index(True) :]
        return [WHOLE] * partly + [BACKWARD] * before
