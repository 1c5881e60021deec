"""LTX Video's network: diffusers', under ComfyUI's calling convention."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import LTXVideoTransformer3DModel

from ...bridge.network_base import ComfyNetwork
from ...bridge.weights import without_weights
from ...contract.family import Variant
from ...contract.grid import Grid


class LTXVideoNetwork(ComfyNetwork, LTXVideoTransformer3DModel):
    """diffusers' LTX transformer under ComfyUI's calling convention. Parameter names are diffusers' own."""

    grid: Grid

    def denoise(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        context: torch.Tensor,
        *,
        attention_mask: torch.Tensor | None = None,
        frame_rate: float = 25.0,
        **_: Any,
    ) -> torch.Tensor:
        """Velocity [B, C, T, H, W] of the latent x [B, C, T, H, W].

        timestep: 0..1000, [B] or one per token [B, T * H * W]. context: text [B, tokens, width], of which
        attention_mask [B, tokens] marks (1) what is prompt. frame_rate: frames per second, which scales positions.
        """
        _, _, time, height, width = x.shape
        spatial = self.grid.spatial
        tokens = self.reference(
            hidden_states=x.flatten(2).transpose(1, 2),
            encoder_hidden_states=context,
            timestep=timestep,
            encoder_attention_mask=attention_mask,
            num_frames=time,
            height=height,
            width=width,
            rope_interpolation_scale=(self.grid.temporal / frame_rate, spatial, spatial),
            return_dict=False,
        )[0]
        return tokens.transpose(1, 2).unflatten(2, (time, height, width))


def build_network(variant: Variant) -> LTXVideoNetwork:
    with without_weights():
        network = LTXVideoNetwork(**{k: v for k, v in variant.network.items() if k != "causal_temporal_positioning"})
    network.grid = variant.grid
    return network
