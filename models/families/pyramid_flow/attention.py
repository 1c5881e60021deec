"""Pyramid Flow's attention, with the hooks through which other nodes change it."""

from __future__ import annotations

from functools import partial

import torch

from ...bridge.hooks.attention import Hooks
from ...bridge.hooks.blocks import BlockKind
from .transformer import FrameAttention, Layout, by_frames

DOUBLE_BLOCKS = BlockKind(
    kind="double",
    blocks="transformer_blocks",
    names={"text": "txt", "image": "img", "temb": "vec", "layout": "pe"},
    returns=("txt", "img"),
)
SINGLE_BLOCKS = BlockKind(
    kind="single",
    blocks="single_transformer_blocks",
    names={"x": "img", "temb": "vec", "layout": "pe"},
    returns=("img",),
)


class HookedFrameAttention(FrameAttention):
    """FrameAttention, computed through the hooks."""

    def __init__(self, hooks: Hooks) -> None:
        self.hooks = hooks

    def computed(self, layout: Layout, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """As in FrameAttention. Overrides are called for each frame and prompt length, patches once for all of them."""
        picture = layout.text_order.shape[1], query.shape[2]
        compute = partial(by_frames, layout)
        return self.hooks.attention("attn1", query, key, value, picture=picture, compute=compute)
