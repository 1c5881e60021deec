"""LTX-2's attention: diffusers', open to what other nodes put on a MODEL."""

from __future__ import annotations

import torch
from diffusers.models.transformers.transformer_ltx2 import (
    LTX2Attention,
    apply_interleaved_rotary_emb,
    apply_split_rotary_emb,
)

from ...bridge.guide_tokens import GuidedProcessor
from ...bridge.hooks.blocks import BlockKind

KINDS = ("attn1", "audio_attn1", "attn2", "audio_attn2", "audio_to_video_attn", "video_to_audio_attn")
"""The attentions of a block: of each stream to itself, to the text, and to the other stream."""
PICTURE = "attn1"
"""The attention of the picture to itself."""
BLOCKS = BlockKind(
    kind="double",
    blocks="transformer_blocks",
    names={
        "hidden_states": "img",
        "audio_hidden_states": "audio",
        "encoder_hidden_states": "v_context",
        "audio_encoder_hidden_states": "a_context",
        "temb": "v_timestep",
        "temb_audio": "a_timestep",
        "video_rotary_emb": "v_pe",
        "audio_rotary_emb": "a_pe",
        "encoder_attention_mask": "attention_mask",
    },
    returns=("img", "audio"),
    attentions=("attn1", "attn2"),
    streams=("img", "audio"),
)
ROTATIONS = {"interleaved": apply_interleaved_rotary_emb, "split": apply_split_rotary_emb}


def name_attentions(network: torch.nn.Module) -> None:
    """Tell each attention of the blocks its kind, by which hooks know it."""
    for block in network.transformer_blocks:
        for kind in KINDS:
            getattr(block, kind).kind = kind


class LTX2Processor(GuidedProcessor):
    """Computes what diffusers' LTX2AudioVideoAttnProcessor computes, through the hooks."""

    def __call__(
        self,
        attn: LTX2Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        query_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
        key_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Tokens [B, tokens, width], attending to those of a text or of the other stream if given -> the same shape.

        attention_mask: [B, 1, keys] or [B, 1, 1, keys], added to the scores. key_rotary_emb None: as the queries'.
        """
        read = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.norm_q(attn.to_q(hidden_states)), attn.norm_k(attn.to_k(read)), attn.to_v(read)
        if query_rotary_emb is not None:
            rotated = ROTATIONS[attn.rope_type]
            query, key = rotated(query, query_rotary_emb), rotated(key, key_rotary_emb or query_rotary_emb)
        query, key, value = (x.unflatten(2, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value))
        mask = attention_mask[:, None] if attention_mask is not None and attention_mask.ndim == 3 else attention_mask
        compute = self.computed if attn.kind == PICTURE else None
        out = self.hooks.attention(attn.kind, query, key, value, mask, compute=compute)
        if attn.to_gate_logits is not None:
            gates = 2.0 * torch.sigmoid(attn.to_gate_logits(hidden_states))  # of zero logits: 1
            out = (out.unflatten(2, (attn.heads, -1)) * gates.unsqueeze(-1)).flatten(2)
        return attn.to_out[1](attn.to_out[0](out))
