"""LTX Video's attention: diffusers', open to what other nodes put on a MODEL."""

from __future__ import annotations

import torch
from diffusers.models.transformers.transformer_ltx import LTXAttention, apply_rotary_emb

from ...bridge.guide_tokens import GuidedProcessor
from ...bridge.hooks.blocks import BlockKind

BLOCKS = BlockKind(
    kind="double",
    blocks="transformer_blocks",
    names={
        "hidden_states": "img",
        "encoder_hidden_states": "txt",
        "temb": "vec",
        "image_rotary_emb": "pe",
        "encoder_attention_mask": "attention_mask",
    },
    returns=("img",),
    attentions=("attn1", "attn2"),
)


class LTXVideoProcessor(GuidedProcessor):
    """Computes what diffusers' LTXVideoAttnProcessor computes, through the hooks."""

    def __call__(
        self,
        attn: LTXAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Picture tokens [B, tokens, width], attending to the text's if these are given -> the same shape.

        attention_mask: [B, 1, text tokens], added to the scores.
        """
        own = encoder_hidden_states is None
        read = hidden_states if own else encoder_hidden_states
        query, key, value = attn.norm_q(attn.to_q(hidden_states)), attn.norm_k(attn.to_k(read)), attn.to_v(read)
        if image_rotary_emb is not None:
            query, key = (apply_rotary_emb(x, image_rotary_emb) for x in (query, key))
        query, key, value = (x.unflatten(2, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value))
        mask = None if attention_mask is None else attention_mask[:, None]
        compute = self.computed if own else None
        out = self.hooks.attention("attn1" if own else "attn2", query, key, value, mask, compute=compute)
        return attn.to_out[1](attn.to_out[0](out))
