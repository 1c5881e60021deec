"""Guides: clips that a network reads behind the one that it samples, each token at a position of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from .grid import Grid


@dataclass(frozen=True, eq=False)
class Guide:
    """A clip or a still that guides the sampled clip at one of its frames.

    latents: [B, C, t, h, w]; h and w are the sampled clip's, or `scale` times smaller. frame: the frame of the sampled
    clip at which it begins, from 0. strength: 1 keeps it clean; below that, it is noised to the share 1 - strength of
    each step's level, as ComfyUI's nodes do. causal: its first latent frame stands for one frame, as in every encoded
    clip; False for a clip whose first latent frame was cut off. held: it is noised once, to the level 1 - strength, and
    stays so until the steps' level falls below that, as in LTX Video's own pipeline.
    """

    latents: torch.Tensor
    frame: int = 0
    strength: float = 1.0
    scale: int = 1
    causal: bool = True
    held: bool = False


@dataclass(frozen=True, eq=False)
class Appended:
    """Latent frames behind a clip's own: the network reads them, and they are dropped after sampling.

    latents: [B, C, t, h, w], as large as the clip's. mask: [B, 1, t, h, w], the share of noise; below 0 for tokens that
    the network does not read. places, ends: [B or 1, 3, t * h * w], the frame, pixel row and pixel column of the clip
    where each token begins and ends. weights: [1, t * h * w], how strongly the clip's tokens and these attend to each
    other, where 1 is plain attention; None for 1 everywhere. noise: like latents; None: it is drawn. levels: like mask,
    the level at which a token of a held guide stays until the steps reach it, and infinity for others, whose share is
    in the mask; None: there are no held guides.

    Compared by identity: ComfyUI compares conditions, and tensors have no truth value.
    """

    latents: torch.Tensor
    mask: torch.Tensor
    places: torch.Tensor
    ends: torch.Tensor
    weights: torch.Tensor | None = None
    noise: torch.Tensor | None = None
    levels: torch.Tensor | None = None

    @property
    def frames(self) -> int:
        return self.latents.shape[2]

    @property
    def read(self) -> torch.Tensor | None:
        """The indices [n] of the tokens that the network reads; None for all."""
        unread = self.mask[0].flatten() < 0
        return (~unread).nonzero().flatten() if unread.any() else None

    def begin(self, grid: Grid) -> torch.Tensor:
        """The latent frames of the clip in which each of these begins, [t]."""
        first = self.places[0, 0].unflatten(0, (self.frames, -1))[:, 0]
        return (first / grid.temporal).ceil().long()

    def of_window(self, begin: int, until: int, shift: int, grid: Grid) -> Appended | None:
        """The part that begins in the clip's latent frames `begin` to `until` (exclusive), moved by `shift` frames."""
        at = self.begin(grid)
        chosen = ((begin <= at) & (at < until)).nonzero().flatten()
        if not len(chosen):
            return None

        def part(whole: torch.Tensor | None, dim: int) -> torch.Tensor | None:
            return None if whole is None else whole.index_select(dim, chosen)

        def tokens(whole: torch.Tensor | None) -> torch.Tensor | None:
            return None if whole is None else part(whole.unflatten(-1, (self.frames, -1)), -2).flatten(-2)

        places, ends = tokens(self.places).clone(), tokens(self.ends).clone()
        for where in (places, ends):
            where[:, 0] += shift * grid.temporal
        whole = {name: part(getattr(self, name), 2) for name in ("latents", "mask", "noise", "levels")}
        return replace(self, **whole, places=places, ends=ends, weights=tokens(self.weights))


def joined(parts: Sequence[Appended]) -> Appended:
    """Concatenate several in this order. The result has noise only if all of them have."""
    weighed = any(part.weights is not None for part in parts)
    drawn = any(part.noise is None for part in parts)
    held = any(part.levels is not None for part in parts)

    def weights(part: Appended) -> torch.Tensor:
        return torch.ones(1, part.places.shape[2]) if part.weights is None else part.weights

    def levels(part: Appended) -> torch.Tensor:
        return torch.full_like(part.mask, torch.inf) if part.levels is None else part.levels

    return Appended(
        latents=torch.cat([part.latents for part in parts], dim=2),
        mask=torch.cat([part.mask for part in parts], dim=2),
        places=torch.cat([part.places for part in parts], dim=2),
        ends=torch.cat([part.ends for part in parts], dim=2),
        weights=torch.cat([weights(part) for part in parts], dim=1) if weighed else None,
        noise=None if drawn else torch.cat([part.noise for part in parts], dim=2),
        levels=torch.cat([levels(part) for part in parts], dim=2) if held else None,
    )
