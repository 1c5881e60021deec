"""CogVideoX's attention: computed as in diffusers, with the hooks through which other nodes change it."""

from __future__ import annotations

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import apply_rotary_emb

from ...bridge.hooks.attention import Hooks
from ...bridge.hooks.blocks import BlockKind

BLOCKS = BlockKind(
    kind="double",
    blocks="transformer_blocks",
    names={"hidden_states": "img", "encoder_hidden_states": "txt", "temb": "vec", "image_rotary_emb": "pe"},
    returns=("img", "txt"),
)


class CogVideoXProcessor:
    """Computes what diffusers' CogVideoXAttnProcessor2_0 computes, through the hooks."""

    def __init__(self, hooks: Hooks) -> None:
        self.hooks = hooks

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Picture and text tokens [B, tokens, width] -> the same shapes. In the joint sequence, text comes first."""
        text = encoder_hidden_states.shape[1]
        joint = torch.cat([encoder_hidden_states, hidden_states], dim=1)
        query, key, value = (
            to(joint).unflatten(2, (attn.heads, -1)).transpose(1, 2) for to in (attn.to_q, attn.to_k, attn.to_v)
        )
        if attn.norm_q is not None:
            query, key = attn.norm_q(query), attn.norm_k(key)
        if image_rotary_emb is not None:
            for x in (query, key):
                x[:, :, text:] = apply_rotary_emb(x[:, :, text:], image_rotary_emb)
        out = self.hooks.attention("attn1", query, key, value, picture=(text, joint.shape[1]))
        encoder_hidden_states, hidden_states = attn.to_out[1](attn.to_out[0](out)).tensor_split([text], dim=1)
        return hidden_states, encoder_hidden_states
