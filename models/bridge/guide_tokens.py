"""How a network reads guides: as extra tokens, each with a position and a timestep of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ..contract.grid import Grid
from ..contract.guides import Appended, Guide, joined
from .hooks.attention import Attend, Hooks

UNREAD = -1.0
"""The mask of tokens that the network does not read."""


def append_guides(guides: Sequence[Guide], grid: Grid, clip: torch.Tensor) -> Appended:
    """Guides for a clip [B, C, T, h, w] as the tokens that the network reads behind the clip's own."""
    return joined([_tokens_of(guide, grid, clip) for guide in guides])


def _tokens_of(guide: Guide, grid: Grid, clip: torch.Tensor) -> Appended:
    batch, channels, _, height, width = clip.shape
    small, scale = guide.latents.to(clip), guide.scale
    if small.shape[1] != channels or tuple(side * scale for side in small.shape[3:]) != (height, width):
        raise ValueError(
            f"A guide has latents {[small.shape[1], *small.shape[3:]]} (channels, height, width). Expected: "
            f"{[channels, height // scale, width // scale]}. Encode it at the clip's size with the VAE of this model."
        )
    small = small.expand(batch, -1, -1, -1, -1)
    latents = clip.new_zeros(batch, channels, small.shape[2], height, width)
    mask = torch.full((batch, 1, *latents.shape[2:]), UNREAD)
    latents[..., ::scale, ::scale] = small
    mask[..., ::scale, ::scale] = 1.0 if guide.held else 1 - guide.strength
    levels = torch.full_like(mask, 1 - guide.strength if guide.held else torch.inf)
    places = pixel_places(latents, grid, causal=guide.causal)
    ends = pixel_places(latents, grid, causal=guide.causal, first_frame=1)
    ends[:, 1:] += grid.spatial * scale
    for whole in (places, ends):
        whole[:, 0] += guide.frame
    return Appended(latents, mask, places, ends, levels=levels if guide.held else None)


def pixel_places(latents: torch.Tensor, grid: Grid, causal: bool, first_frame: int = 0) -> torch.Tensor:
    """Where each token of latents [B, C, T, h, w] begins, [B, 3, T * h * w]: frame, pixel row and pixel column.

    causal: the first latent frame stands for one frame (0, 1, 9, ...), instead of as many as each (0, 8, 16, ...).
    first_frame: which latent frame of its scene the first one is.
    """
    batch, _, *size = latents.shape
    steps = (grid.temporal, grid.spatial, grid.spatial)
    time, *sides = (torch.arange(n, device=latents.device) * step for n, step in zip(size, steps, strict=True))
    time = time + first_frame * grid.temporal
    if causal:
        time = (time + 1 - grid.temporal).clamp(min=0)
    places = torch.meshgrid(time.float(), *(side.float() for side in sides), indexing="ij")
    return torch.stack(places).flatten(1).repeat(batch, 1, 1)


@dataclass(frozen=True)
class GuideTokens:
    """The tokens of guides behind those of a clip, in one call of the network.

    places, ends: [B, 3, n], see `contract.guides.Appended`. read: indices [B, m] of those of the n that the network
    reads, None for all. weights: [B, n], how strongly they and the clip's tokens attend to each other, None for 1
    everywhere.
    """

    places: torch.Tensor
    ends: torch.Tensor
    read: torch.Tensor | None = None
    weights: torch.Tensor | None = None

    @classmethod
    def of(cls, conditions: Mapping[str, torch.Tensor]) -> GuideTokens | None:
        """Those of a call, of which `conditions` are the inputs; None if it has no guides."""
        names = ("guide_places", "guide_ends", "guide_read", "guide_weights")
        return cls(*(conditions.get(name) for name in names)) if names[0] in conditions else None

    def chosen(self, tokens: torch.Tensor, dim: int = 1) -> torch.Tensor:
        """Of the tokens of clip and guides, along `dim`, those that the network reads."""
        return tokens if self.read is None else tokens.index_select(dim, self._indices(tokens.shape[dim]))

    def restored(self, tokens: torch.Tensor, count: int) -> torch.Tensor:
        """The inverse: tokens [B, m, C] -> [B, count, C], with zeros for those that were not read."""
        if self.read is None:
            return tokens
        whole = tokens.new_zeros(len(tokens), count, tokens.shape[2])
        return whole.index_copy(1, self._indices(count), tokens)

    def attention(self, count: int, dtype: torch.dtype) -> Callable[..., torch.Tensor] | None:
        """How self-attention over `count` chosen tokens is computed with these weights; None: as without guides."""
        if self.weights is None:
            return None
        weights = self.weights if self.read is None else self.weights.index_select(1, self.read[0])
        return weighed_attention(weights, count, dtype)

    def _indices(self, count: int) -> torch.Tensor:
        clip = count - self.places.shape[2]
        return torch.cat([torch.arange(clip, device=self.read.device), clip + self.read[0]])


class GuidedProcessor:
    """The base of attention processors in whose self-attention tokens may attend to guides by weights."""

    def __init__(self, hooks: Hooks) -> None:
        self.hooks = hooks
        self.computed: Callable[..., torch.Tensor] | None = None

    @contextmanager
    def self_attention(self, compute: Callable[..., torch.Tensor] | None) -> Iterator[None]:
        """Inside, self-attention is computed so; None: once for all tokens. See `Hooks.attention`."""
        self.computed = compute
        try:
            yield
        finally:
            self.computed = None


def weighed_attention(weights: torch.Tensor, count: int, dtype: torch.dtype) -> Callable[..., torch.Tensor]:
    """Attention over `count` tokens, of which the last n and the others attend to each other by weights [B, n].

    The logarithm of the weight is added to the score. Queries are computed in two groups, because a mask of all tokens
    by all tokens would not fit into memory.
    """
    clip, limits = count - weights.shape[1], torch.finfo(dtype)
    scores = torch.where(weights > 0, weights.clamp(min=limits.tiny).log(), limits.min).to(dtype)
    of_clip = torch.nn.functional.pad(scores, (clip, 0))[:, None, None]
    of_guides = torch.nn.functional.pad(scores[:, None, :, None].expand(-1, -1, -1, clip), (0, weights.shape[1]))

    def compute(
        attend: Attend, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        queries = query.tensor_split([clip], dim=2)
        return torch.cat(
            [
                attend(part, key, value, added if mask is None else mask + added)
                for part, added in zip(queries, (of_clip, of_guides), strict=True)
            ],
            dim=1,
        )

    return compute
