"""How known frames reach a network: what it is told beside the noisy latent, and what the sampler keeps in place."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Knowns:
    """Known content for a network that was never told of it: ComfyUI re-noises it to each step's level. The default.

    `clean` says whether the network sees known content as it is instead, and learns of it in another way;
    `controlled`, whether it takes a clip that guides the whole shot; `in_one_go`, whether what is known must be encoded
    anew, the clip with its holes black, before it sees it. `about` tells an artist, where there is something
    to tell.
    """

    clean: bool = False
    controlled: bool = False
    in_one_go: bool = False
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


@dataclass(frozen=True)
class PerToken(Knowns):
    """Known content for a network trained with one timestep per token (LTX Video): known tokens are clean, at time 0.

    A mask value m between 0 and 1 is consistent: the token is mixed to m * x_sigma + (1 - m) * clean, which is the
    clean latent noised to level m * sigma, and the network is told m * sigma.
    """

    clean: bool = True
    about: str = ""

    def timestep(self, timestep: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Timesteps [B] and mask [B, C, T, H, W] -> timesteps [B, T * H * W], one per token."""
        if mask is None:
            return timestep
        return (mask[:, :1] * timestep.view(-1, 1, 1, 1, 1)).flatten(1)


@dataclass(frozen=True)
class Concatenated(Knowns):
    """Known content for a network that was given the first latent frame as further channels (CogVideoX I2V).

    It keeps that by itself, so the sampler lets it make the first `frames` latent frames. What is known elsewhere the
    network was never told of: that is re-noised. scale: what the given latents were multiplied with.
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
        """The mask without the first frames; None where nothing else is known."""
        if mask is None:
            return None
        rest = mask.clone()
        rest[:, :, : self.frames] = 1.0
        return None if rest.eq(1).all() else rest


@dataclass(frozen=True)
class Inpainted(Knowns):
    """Known content for a network that sees, beside the noisy clip, where it is known and the clip with black holes.

    CogVideoX-Fun InP. It keeps what is known by itself. scale: what the channel of where it is known is multiplied
    with. Without the clip encoded in one go (no VAE was introduced) it sees zeros in the holes.
    """

    in_one_go: bool = True
    scale: float = 1.0
    about: str = ""

    def channels(
        self, latent: torch.Tensor, mask: torch.Tensor | None, clip: torch.Tensor | None = None
    ) -> torch.Tensor:
        """[B, 1 + C, T, H, W]: what is known (scaled), then the clip. All zeros where nothing is known at all."""
        holes = torch.ones_like(latent[:, :1]) if mask is None else mask[:, :1]
        if holes.eq(1).all():
            return torch.cat([torch.zeros_like(holes), torch.zeros_like(latent)], dim=1)
        clip = (1 - holes) * latent if clip is None else clip.expand_as(latent)
        return torch.cat([self.scale * (1 - holes), clip], dim=1)

    def enforced(self, mask: torch.Tensor | None) -> torch.Tensor | None:
        return None


@dataclass(frozen=True)
class Controlled(Knowns):
    """A network that sees a whole clip beside the noisy one and follows it (CogVideoX-Fun Control and Pose).

    Known frames it was never told of: they are re-noised.
    """

    controlled: bool = True
    about: str = "trained to follow a control clip (Control Video):\nknown frames are re-noised"

    def channels(
        self, latent: torch.Tensor, mask: torch.Tensor | None, clip: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The control clip's latents; zeros where there is none."""
        return torch.zeros_like(latent) if clip is None else clip.expand_as(latent)
