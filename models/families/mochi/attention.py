"""Mochi's attention: computed as in diffusers, with the hooks through which other nodes change it."""

from __future__ import annotations

from functools import partial
from itertools import groupby

import torch
from diffusers.models.attention_processor import MochiAttention

from ...bridge.hooks.attention import Attend, Hooks
from ...bridge.hooks.blocks import BlockKind

BLOCKS = BlockKind(
    kind="double",
    blocks="transformer_blocks",
    names={
        "hidden_states": "img",
        "encoder_hidden_states": "txt",
        "temb": "vec",
        "encoder_attention_mask": "attention_mask",
        "image_rotary_emb": "pe",
    },
    returns=("img", "txt"),
)

Rows = tuple[tuple[slice, int], ...]
"""(rows of the batch, how many prompt tokens each of them has)."""


class MochiProcessor:
    """Computes what diffusers' MochiAttnProcessor2_0 computes, through the hooks.

    rows: set before each forward, so that no block reads the prompts' mask, which would make the host wait for the GPU.
    """

    rows: Rows

    def __init__(self, hooks: Hooks) -> None:
        self.hooks = hooks

    def __call__(
        self,
        attn: MochiAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Picture and text tokens [B, tokens, width] -> the same shapes. The joint sequence begins with the picture."""
        picture = hidden_states.shape[1]
        own = self._projected(attn, hidden_states, ("to_q", "to_k", "to_v"), (attn.norm_q, attn.norm_k))
        if image_rotary_emb is not None:
            own = *(rotated(x, *image_rotary_emb) for x in own[:2]), own[2]
        added = ("add_q_proj", "add_k_proj", "add_v_proj")
        text = self._projected(attn, encoder_hidden_states, added, (attn.norm_added_q, attn.norm_added_k))
        query, key, value = (torch.cat(pair, dim=1).transpose(1, 2) for pair in zip(own, text, strict=True))
        compute = partial(self._by_prompt_length, picture)
        out = self.hooks.attention("attn1", query, key, value, picture=(0, picture), compute=compute)
        hidden_states, encoder_hidden_states = out.tensor_split([picture], dim=1)
        hidden_states = attn.to_out[1](attn.to_out[0](hidden_states))
        if hasattr(attn, "to_add_out"):
            encoder_hidden_states = attn.to_add_out(encoder_hidden_states)
        return hidden_states, encoder_hidden_states

    @staticmethod
    def _projected(
        attn: MochiAttention, x: torch.Tensor, names: tuple[str, ...], norms: tuple
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Query, key and value [B, tokens, heads, head_dim] of tokens [B, tokens, width]."""
        query, key, value = (getattr(attn, name)(x).unflatten(2, (attn.heads, -1)) for name in names)
        return *(norm(y) if norm else y for norm, y in zip(norms, (query, key), strict=True)), value

    def _by_prompt_length(
        self,
        picture: int,
        attend: Attend,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Attention [B, tokens, width] of the picture and the prompt's tokens; zeros for the padding behind them."""
        batch, heads, tokens, dim = query.shape
        out = query.new_zeros(batch, tokens, heads * dim)
        for rows, length in self.rows:
            seen = picture + length
            out[rows, :seen] = attend(*(x[rows, :, :seen] for x in (query, key, value)), mask)
        return out


def rotated(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of x [B, tokens, heads, head_dim]; cosine and sine: [tokens, heads, head_dim / 2]."""
    even, odd = x[..., 0::2].float(), x[..., 1::2].float()
    turned = (even * cosine - odd * sine).to(x.dtype), (even * sine + odd * cosine).to(x.dtype)
    return torch.stack(turned, dim=-1).flatten(-2)


def prompt_rows(lengths: list[int]) -> Rows:
    """The Rows of prompts with these lengths: adjacent prompts of equal length are computed together."""
    rows, start = [], 0
    for length, same in groupby(lengths):
        stop = start + len(list(same))
        rows.append((slice(start, stop), length))
        start = stop
    return tuple(rows)
