"""LTX Video's network: diffusers', under ComfyUI's calling convention."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import LTXVideoTransformer3DModel

from ...bridge.network_base import ComfyNetwork
from ...bridge.weights import without_weights
from ...contract.family import Variant
from ...contract.grid import Grid
from .attention import BLOCKS, LTXVideoProcessor

CAUSAL = "causal_temporal_positioning"
"""As files' metadata have it: frames are counted (0, 1, 9, ...), instead of latent frames times 8 (0, 8, 16, ...)."""


class LTXVideoNetwork(ComfyNetwork, LTXVideoTransformer3DModel):
    """diffusers' LTX transformer under ComfyUI's calling convention. Parameter names are diffusers' own."""

    block_kinds, attention_processor = (BLOCKS,), LTXVideoProcessor

    grid: Grid
    causal = False

    def denoise(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        context: torch.Tensor,
        *,
        attention_mask: torch.Tensor | None = None,
        frame_rate: float = 25.0,
        first_frame: int = 0,
        **_: Any,
    ) -> torch.Tensor:
        """Velocity [B, C, T, H, W] of the latent x [B, C, T, H, W].

        timestep: 0..1000, [B] or one per token [B, T * H * W]. context: text [B, tokens, width], of which
        attention_mask [B, tokens] marks (1) what is prompt. frame_rate: frames per second, which scales positions.
        first_frame: which latent frame of its scene x begins with.
        """
        _, _, time, height, width = x.shape
        spatial, temporal = self.grid.spatial, self.grid.temporal
        places = self.places(x, frame_rate, first_frame) if self.causal else None
        tokens = self.reference(
            hidden_states=x.flatten(2).transpose(1, 2),
            encoder_hidden_states=context,
            timestep=timestep,
            encoder_attention_mask=attention_mask,
            num_frames=time,
            height=height,
            width=width,
            rope_interpolation_scale=(temporal / frame_rate, spatial, spatial),
            video_coords=places,
            return_dict=False,
        )[0]
        return tokens.transpose(1, 2).unflatten(2, (time, height, width))

    def places(self, x: torch.Tensor, frame_rate: float, first_frame: int) -> torch.Tensor:
        """Where each token is, [B, 3, T * H * W]: seconds, and pixels down and across."""
        batch, _, *size = x.shape
        steps = (self.grid.temporal, self.grid.spatial, self.grid.spatial)
        time, height, width = (torch.arange(n, device=x.device) * step for n, step in zip(size, steps, strict=True))
        time = (time + first_frame * self.grid.temporal + 1 - self.grid.temporal).clamp(min=0) * (1.0 / frame_rate)
        grid = torch.meshgrid(time, height.float(), width.float(), indexing="ij")
        return torch.stack(grid).flatten(1).expand(batch, -1, -1)


def build_network(variant: Variant) -> LTXVideoNetwork:
    config = dict(variant.network)
    causal = config.pop(CAUSAL, False)
    with without_weights():
        network = LTXVideoNetwork(**config)
    network.grid, network.causal = variant.grid, causal
    return network
