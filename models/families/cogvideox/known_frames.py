"""How known frames reach CogVideoX I2V and CogVideoX-Fun: as extra channels beside the noisy latent."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...contract.known_frames import HOLES, LAST, STILL, KnownFrames


@dataclass(frozen=True)
class Concatenated(KnownFrames):
    """CogVideoX I2V: the first latent frame is passed as extra channels beside the noisy latent.

    The network keeps that frame itself, so the sampler does not enforce the first `frames` latent frames. It was not
    trained on other known frames: those are re-noised. scale: factor of the passed latents.
    """

    frames: int = 1
    scale: float = 1.0
    about: str = "trained with a known first frame: others are re-noised"

    def channels(
        self, latent: torch.Tensor, mask: torch.Tensor | None, clip: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The known first latent frame in [B, C, T, H, W], zeros elsewhere."""
        given = torch.zeros_like(latent)
        if mask is not None:
            given[:, :, :1] = self.scale * ((1 - mask) * latent)[:, :, :1]
        return given

    def enforced(self, mask: torch.Tensor | None) -> torch.Tensor | None:
        """The mask without the first frames; None if nothing else is known."""
        if mask is None:
            return None
        rest = mask.clone()
        rest[:, :, : self.frames] = 1.0
        return None if rest.eq(1).all() else rest


@dataclass(frozen=True)
class Ends(Concatenated):
    """CogVideoX-Interpolation: the first and the last frame, each encoded as a picture, go beside the noisy latent.

    Without a picture of the last frame (no VAE was paired with the MODEL), its last latent frame is passed.
    """

    encoded: str = LAST
    about: str = "trained with a known first and last frame: others are re-noised"

    def channels(
        self, latent: torch.Tensor, mask: torch.Tensor | None, clip: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The known first and last latent frame in [B, C, T, H, W], zeros elsewhere."""
        given = super().channels(latent, mask)
        if mask is not None:
            last = latent[:, :, -1:] if clip is None else clip[:, :, -1:]
            given[:, :, -1:] = (1 - mask[:, :, -1:]) * last
        return given

    def enforced(self, mask: torch.Tensor | None) -> torch.Tensor | None:
        """The mask without the first and the last frame; None if nothing else is known."""
        rest = super().enforced(mask)
        if rest is not None:
            rest[:, :, -1:] = 1.0
        return None if rest is None or rest.eq(1).all() else rest


@dataclass(frozen=True)
class Held(Concatenated):
    """NimVideo's image to video: a clip that repeats the first frame is passed beside the noisy clip.

    If that clip could not be encoded (no VAE was paired with the MODEL), the first latent frame is repeated instead.
    """

    encoded: str = STILL

    def channels(
        self, latent: torch.Tensor, mask: torch.Tensor | None, clip: torch.Tensor | None = None
    ) -> torch.Tensor:
        """[B, C, T, H, W]: the still clip; zeros if the first frame is not known."""
        if mask is None or mask[:, :, :1].eq(1).all():
            return torch.zeros_like(latent)
        return latent[:, :, :1].expand_as(latent) if clip is None else clip.expand_as(latent)


@dataclass(frozen=True)
class Inpainted(KnownFrames):
    """CogVideoX-Fun InP: a mask of the known frames and the clip with black holes are passed beside the noisy clip.

    The network keeps known frames itself. scale: factor of the mask's channel. If the clip could not be encoded (no VAE
    was paired with the MODEL), its holes are zeros.
    """

    encoded: str = HOLES
    scale: float = 1.0
    about: str = ""

    def channels(
        self, latent: torch.Tensor, mask: torch.Tensor | None, clip: torch.Tensor | None = None
    ) -> torch.Tensor:
        """[B, 1 + C, T, H, W]: the mask of what is known (scaled), then the clip. All zeros if nothing is known."""
        holes = torch.ones_like(latent[:, :1]) if mask is None else mask[:, :1]
        if holes.eq(1).all():
            return torch.cat([torch.zeros_like(holes), torch.zeros_like(latent)], dim=1)
        clip = (1 - holes) * latent if clip is None else clip.expand_as(latent)
        return torch.cat([self.scale * (1 - holes), clip], dim=1)

    def enforced(self, mask: torch.Tensor | None) -> torch.Tensor | None:
        return None


@dataclass(frozen=True)
class Controlled(KnownFrames):
    """CogVideoX-Fun Control and Pose: a control clip is passed beside the noisy one, and the network follows it.

    It was not trained on known frames: they are re-noised.
    """

    controlled: bool = True
    about: str = "trained to follow a control clip (Control Video): known frames are re-noised"

    def channels(
        self, latent: torch.Tensor, mask: torch.Tensor | None, clip: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The control clip's latents; zeros if there is none."""
        return torch.zeros_like(latent) if clip is None else clip.expand_as(latent)
