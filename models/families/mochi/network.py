"""Mochi's network: diffusers' class, adapted to ComfyUI's calling convention."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import MochiTransformer3DModel

from ...bridge.host_mask import Rows, known_rows
from ...bridge.network_base import ComfyNetwork
from ...bridge.weights import without_weights
from ...contract.family import Variant
from .attention import BLOCKS, MochiProcessor, prompt_rows

TIMESTEPS = 1000


class MochiNetwork(ComfyNetwork, MochiTransformer3DModel):
    """diffusers' Mochi transformer under ComfyUI's calling convention. Parameter names are diffusers' own."""

    block_kinds, attention_processor = (BLOCKS,), MochiProcessor

    def denoise(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        context: torch.Tensor,
        *,
        attention_mask: torch.Tensor | None = None,
        host_mask: Rows | None = None,
        **_: Any,
    ) -> torch.Tensor:
        """Velocity [B, C, T, H, W] of the latent x [B, C, T, H, W], towards noise.

        timestep: [B], 1000 is noise. context: text [B, tokens, width]; attention_mask [B, tokens] is 1 at tokens of the
        prompt. host_mask: the same mask in the host's memory. Mochi itself counts time from noise to clip, and its
        velocity points to the clip, so both are reversed here.
        """
        mask = context.new_ones(context.shape[:2]) if attention_mask is None else attention_mask
        lengths = [sum(row) for row in known_rows(context, attention_mask, host_mask)]
        # Text tokens have no positions, so each prompt moves to the front, and padding after the longest is cut off.
        order = mask.bool().int().argsort(dim=1, descending=True, stable=True)[:, : max(1, *lengths)]
        self.shared_processor.rows = prompt_rows(lengths)
        return -self.reference(
            hidden_states=x,
            encoder_hidden_states=context.gather(1, order[..., None].expand(-1, -1, context.shape[2])),
            timestep=TIMESTEPS - timestep,
            encoder_attention_mask=mask.gather(1, order).bool(),
            return_dict=False,
        )[0]


def build_network(variant: Variant) -> MochiNetwork:
    with without_weights():
        return MochiNetwork(**variant.network)
