"""Mochi's network: diffusers', under ComfyUI's calling convention."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import MochiTransformer3DModel

from ...bridge.network_base import ComfyNetwork
from ...bridge.weights import without_weights
from ...contract.family import Variant

TIMESTEPS = 1000


class MochiNetwork(ComfyNetwork, MochiTransformer3DModel):
    """diffusers' Mochi transformer under ComfyUI's calling convention. Parameter names are diffusers' own."""

    def denoise(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        context: torch.Tensor,
        *,
        attention_mask: torch.Tensor | None = None,
        **_: Any,
    ) -> torch.Tensor:
        """Velocity [B, C, T, H, W] of the latent x [B, C, T, H, W], towards noise.

        timestep: [B], 1000 is noise. context: text [B, tokens, width], of which attention_mask [B, tokens] marks (1)
        what is prompt. Mochi itself counts time from noise to clip, and its velocity points that way.
        """
        mask = context.new_ones(context.shape[:2]) if attention_mask is None else attention_mask
        read = _prompt_length(mask)
        return -self.reference(
            hidden_states=x,
            encoder_hidden_states=context[:, :read],
            timestep=TIMESTEPS - timestep,
            encoder_attention_mask=mask[:, :read].bool(),
            return_dict=False,
        )[0]


def _prompt_length(mask: torch.Tensor) -> int:
    """How many of the tokens [B, tokens] go up to the last one that is prompt: nothing reads those behind it."""
    prompt = mask.any(dim=0).nonzero()
    return int(prompt.max()) + 1 if len(prompt) else 1


def build_network(variant: Variant) -> MochiNetwork:
    with without_weights():
        return MochiNetwork(**variant.network)
