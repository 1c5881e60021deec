"""Pyramid Flow's networks, miniflux and SD3, under ComfyUI's calling convention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ...bridge.host_mask import Rows, known_rows
from ...bridge.network_base import ComfyNetwork
from ...bridge.weights import without_weights
from ...contract.family import Variant
from .attention import DOUBLE_BLOCKS, SINGLE_BLOCKS, HookedFrameAttention
from .transformer import PATCH, Layout, PyramidDiffusionMMDiT, PyramidFluxTransformer

# The entry of transformer_options with the network's StageContext.
OPTION = "pyramid_flow"


@dataclass(frozen=True)
class StageContext:
    """What the network reads beside the noisy frame, in transformer_options[OPTION]. It is made once per stage.

    history: clean clips [B, C, T, h, w], oldest first. layouts: the Layout for each combination of prompts
    and device.
    """

    history: Sequence[torch.Tensor]
    layouts: dict[Any, Layout] = field(default_factory=dict)


class PyramidNetwork(ComfyNetwork):
    """ComfyUI's calling convention for either transformer."""

    block_kinds, attention_processor = (DOUBLE_BLOCKS, SINGLE_BLOCKS), HookedFrameAttention
    patch = 1, PATCH

    def denoise(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        context: torch.Tensor,
        *,
        transformer_options: dict[str, Any],
        attention_mask: torch.Tensor | None = None,
        host_mask: Rows | None = None,
        y: torch.Tensor | None = None,
        **_: Any,
    ) -> torch.Tensor:
        """Velocity [B, C, 1, h, w] of a noisy latent frame x, whose history is in transformer_options.

        timestep: [B], 0..1000. context: T5's text [B, tokens, width]; attention_mask [B, tokens] is 1 at tokens of the
        prompt. host_mask: the same mask in the host's memory. y: CLIP's pooled text [B, width]. Raises ValueError if
        the pooled text is another model's.
        """
        encoders = " and ".join(self.pooled)
        width, found = self.config.pooled_projection_dim, 0 if y is None else y.shape[-1]
        if found != width:
            raise ValueError(
                f"Pyramid Flow {self.label} reads CLIP's pooled text {width} wide ({encoders}); this conditioning "
                f"has {found or 'none'}. Encode the prompt with the CLIP that was loaded together with this model."
            )
        stage = transformer_options.get(OPTION) or StageContext([])
        clips = [clip.to(x).repeat(x.shape[0] // clip.shape[0], 1, 1, 1, 1) for clip in stage.history] + [x]
        mask = context.new_ones(context.shape[:2]) if attention_mask is None else attention_mask
        prompts = known_rows(context, attention_mask, host_mask)
        which = prompts, x.device  # halves of the guidance may be computed on two graphics cards
        if which not in stage.layouts:
            stage.layouts[which] = self.layout([clip.shape for clip in clips], mask)
        return self.reference(clips, timestep, context, y, stage.layouts[which])


class MinifluxNetwork(PyramidNetwork, PyramidFluxTransformer):
    """miniflux under ComfyUI's calling convention. Parameter names are the published ones."""

    transformer = PyramidFluxTransformer
    published, label, text_norm, embedder = "PyramidFluxTransformer", "miniflux", "norm_added", "x_embedder"
    pooled = ("clip_l",)


class SD3Network(PyramidNetwork, PyramidDiffusionMMDiT):
    """SD3 under ComfyUI's calling convention. Parameter names are the published ones."""

    transformer = PyramidDiffusionMMDiT
    published, label, text_norm, embedder = "PyramidDiffusionMMDiT", "SD3", "norm_add", "pos_embed.proj"
    pooled = ("clip_l", "clip_g")


def build_network(kind: type, variant: Variant) -> torch.nn.Module:
    with without_weights():
        return kind(**variant.network)
