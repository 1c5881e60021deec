"""How pixels map to latents, and the types for shapes and state dicts that every room uses."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

Shape = tuple[int, ...]
"""The shape of a tensor."""
State = dict[str, torch.Tensor]
"""Weights by name."""


@dataclass(frozen=True)
class SoundGrid:
    """How a clip's sound maps to latents [B, channels, L, bins]: `per_second` of them a second at any frame rate."""

    channels: int
    bins: int
    per_second: float = 25.0

    def length(self, frames: int, fps: float) -> int:
        """L: the sound latents of a clip of `frames` frames."""
        return max(1, round(frames / fps * self.per_second))

    def latent_shape(self, frames: int, fps: float, batch: int = 1) -> Shape:
        """Shape [B, channels, L, bins] of the sound of a clip."""
        return (batch, self.channels, self.length(frames, fps), self.bins)


@dataclass(frozen=True)
class Grid:
    """How pixels map to latents: `channels` latent channels, one latent frame per `temporal` frames after the first.

    A clip of F frames, W x H pixels, has latents [channels, (F - 1) / temporal + 1, H / spatial, W / spatial]. The
    autoencoder codes the latent frames after the first `least` in groups of `group`. `patch` is how many latent frames,
    and latent pixels per side, the network reads as one token. `least` and `patch` do not describe the autoencoder, so
    grids are compared without them.
    """

    channels: int
    temporal: int
    spatial: int
    group: int = 1
    patch: tuple[int, int] = field(default=(1, 1), compare=False)
    least: int = field(default=1, compare=False)

    @property
    def whole_tokens(self) -> bool:
        """Whether clips of every legal length are whole tokens of the network."""
        return self.least % self.patch[0] == 0

    def legal_frames(self, frames: float) -> int:
        """The legal frame count nearest to `frames`; at least that of `least` latent frames."""
        step, least = self.temporal * self.group, self.frames(self.least)
        return max(0, round((frames - least) / step)) * step + least

    def legal_side(self, pixels: float) -> int:
        """The legal width or height nearest to `pixels`; at least one token."""
        step = self.spatial * self.patch[1]
        return max(1, round(pixels / step)) * step

    def latent_shape(self, width: int, height: int, frames: int, batch: int = 1) -> Shape:
        """Shape [B, C, T, h, w] of the latents of a clip whose width, height and length are legal."""
        time = (frames - 1) // self.temporal + 1
        return (batch, self.channels, time, height // self.spatial, width // self.spatial)

    def frames(self, latent_frames: int) -> int:
        """How many frames a clip of `latent_frames` latent frames decodes to."""
        return (latent_frames - 1) * self.temporal + 1

    def moment(self, latent_frame: int, fps: float) -> float:
        """The time in seconds at the middle of the frames that the latent frame with this index decodes to."""
        first, last = max(0, self.frames(latent_frame)), latent_frame * self.temporal
        return (first + last + 1) / 2 / fps
