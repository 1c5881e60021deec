"""LTX Video's network: diffusers', under ComfyUI's calling convention."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import LTXVideoTransformer3DModel

from ...bridge.guide_tokens import GuideTokens, pixel_places
from ...bridge.network_base import ComfyNetwork
from ...bridge.weights import without_weights
from ...contract.family import Variant
from ...contract.grid import Grid
from ...timeline.relay import penalty
from .attention import BLOCKS, LTXVideoProcessor

CAUSAL = "causal_temporal_positioning"
"""As files' metadata have it: frames are counted (0, 1, 9, ...), instead of latent frames times 8 (0, 8, 16, ...)."""


class LTXVModel(ComfyNetwork, LTXVideoTransformer3DModel):
    """diffusers' LTX transformer under ComfyUI's calling convention. Parameter names are diffusers' own.

    Its class has the name of ComfyUI's: other packs tell by it what blocks return (WaveSpeed's First Block Cache).
    """

    block_kinds, attention_processor = (BLOCKS,), LTXVideoProcessor

    grid: Grid
    causal = False
    caption_projection_first_linear = True
    """As ComfyUI's network has it: KJNodes tells LTX-2.3, whose text comes projected, from the others by it."""

    def denoise(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        context: torch.Tensor,
        *,
        attention_mask: torch.Tensor | None = None,
        frame_rate: float = 25.0,
        first_frame: int = 0,
        relay: torch.Tensor | None = None,
        **others: Any,
    ) -> torch.Tensor:
        """Velocity [B, C, T, H, W] of the latent x [B, C, T, H, W].

        timestep: 0..1000, [B] or one per token [B, T * H * W]. context: text [B, tokens, width], of which
        attention_mask [B, tokens] marks (1) what is prompt. frame_rate: frames per second, which scales positions.
        first_frame: which latent frame of its scene x begins with. relay: [B, 2, tokens], the spans of the text's
        prompts. others: where x's last latent frames are guides, what is known of their tokens (see GuideTokens).
        """
        guides = GuideTokens.of(others)
        _, _, time, height, width = x.shape
        spatial, temporal = self.grid.spatial, self.grid.temporal
        tokens, compute = x.flatten(2).transpose(1, 2), None
        places = self.places(x, frame_rate, first_frame, guides) if self.causal or guides or relay is not None else None
        if guides is not None:
            tokens, places = guides.chosen(tokens), guides.chosen(places, dim=2)
            timestep = guides.chosen(timestep) if timestep.ndim == 2 else timestep
            compute = guides.attention(tokens.shape[1], tokens.dtype)
        if relay is not None:
            frames = (places[:, 0] * frame_rate / temporal).round(decimals=3).ceil()
            attention_mask = -penalty(frames, relay).to(tokens.dtype)  # the text has no padding
        if not self.causal and guides is None:
            places = None
        with self.shared_processor.self_attention(compute):
            predicted = self.reference(
                hidden_states=tokens,
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
        if guides is not None:
            predicted = guides.restored(predicted, time * height * width)
        return predicted.transpose(1, 2).unflatten(2, (time, height, width))

    def places(
        self, x: torch.Tensor, frame_rate: float, first_frame: int, guides: GuideTokens | None = None
    ) -> torch.Tensor:
        """Where each token is, [B, 3, T * H * W]: seconds, and pixels down and across."""
        places = pixel_places(x, self.grid, self.causal, first_frame)
        if guides is not None:
            places[:, :, -guides.places.shape[2] :] = guides.places
        places[:, 0] *= 1.0 / frame_rate
        return places


def build_network(variant: Variant) -> LTXVModel:
    config = dict(variant.network)
    causal = config.pop(CAUSAL, False)
    with without_weights():
        network = LTXVModel(**config)
    network.grid, network.causal = variant.grid, causal
    for block in network.transformer_blocks:
        # A ModuleList in diffusers, which calls its parts in turn. Nodes that feed it parts of a clip call it whole.
        block.ff.net = torch.nn.Sequential(*block.ff.net)
    return network
