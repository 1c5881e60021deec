"""Patches as other nodes apply them to a MODEL: the same functions for ours and for ComfyUI core's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from comfy.ldm.modules import attention
from comfy_extras.nodes_slg import SkipLayerGuidanceDiT

Patched = Callable[[Any], Any]
"""A MODEL -> a clone of it with a patch."""


def with_options(**options: Any) -> Patched:
    def patched(model: Any) -> Any:
        model = model.clone()
        model.model_options["transformer_options"].update(options)
        return model

    return patched


def override(function: Callable) -> Patched:
    return with_options(optimized_attention_override=function)


def zeros(attend: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
    return torch.zeros_like(attend(*args, **kwargs))


def counting(counts: list) -> Patched:
    """Notes the (block_type, block_index) of each call."""

    def function(attend: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        options = kwargs["transformer_options"]
        counts.append((options.get("block_type"), options.get("block_index")))
        return attend(*args, **kwargs)

    return override(function)


def skip_layers(double: str = "", single: str = "") -> Patched:
    def patched(model: Any) -> Any:
        return SkipLayerGuidanceDiT.execute(
            model, scale=3.0, start_percent=0.0, end_percent=1.0, double_layers=double, single_layers=single
        )[0]

    return patched


def normalised(out: torch.Tensor, options: dict[str, Any], scale: float = 40.0, tau: float = 5.0) -> torch.Tensor:
    """Normalized Attention Guidance (arXiv 2505.21179) as an attn1_output_patch: out is [B, tokens, width].

    The picture's tokens of both halves of the guidance become the guided ones, half and half with the positive's.
    Stronger than artists set it: in random networks the halves differ little, and rounding would hide the effect.
    """
    halves, (start, end) = options["cond_or_uncond"], options.get("img_slice") or (0, out.shape[1])
    if set(halves) != {0, 1}:
        return out
    parts = out[:, start:end].chunk(len(halves))
    positive, negative = parts[halves.index(0)], parts[halves.index(1)]
    guided = positive * scale - negative * (scale - 1)
    ratio = guided.norm(p=1, dim=-1, keepdim=True) / positive.norm(p=1, dim=-1, keepdim=True).clamp_min(1e-6)
    guided = guided * ratio.clamp(max=tau) / ratio.clamp_min(1e-6)
    out[:, start:end] = ((guided + positive) / 2).repeat(len(halves), 1, 1)
    return out


def guided_attention(model: Any) -> Any:
    model = model.clone()
    model.set_model_attn1_output_patch(normalised)
    return model


def guided_attention_in_core(picture: Callable[[torch.Tensor], tuple[int, int] | None]) -> Patched:
    """The same through the attention override, for core's networks that ignore attn1_output_patch.

    picture(queries [B, heads, tokens, D] or [B, tokens, width]): the picture's tokens, None for all of them.
    """

    def function(attend: Callable, query: torch.Tensor, key: torch.Tensor, *rest: Any, **kwargs: Any) -> torch.Tensor:
        out = attend(query, key, *rest, **kwargs)
        if query.shape != key.shape:
            return out
        return normalised(out, {**kwargs["transformer_options"], "img_slice": picture(query)})

    return override(function)


def values_passed_on(*blocks: int) -> Patched:
    """Skips the self-attention of blocks as spatio-temporal guidance does, for networks that support it."""
    return with_options(stg_self_attn_blocks=blocks)


def values_passed_on_in_core(*blocks: int) -> Patched:
    """The same for a core that does not: its blocks tell the override which one is running."""

    def function(attend: Callable, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: Any, **kwargs):
        if not kwargs["transformer_options"].get("passes_values_on") or query.shape != key.shape:
            return attend(query, key, value, *rest, **kwargs)
        return value.transpose(1, 2).flatten(2) if value.ndim == 4 else value

    def told(args: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
        options = {**args["transformer_options"], "passes_values_on": True}
        return more["original_block"]({**args, "transformer_options": options})

    def patched(model: Any) -> Any:
        model = override(function)(model)
        for block in blocks:
            model.set_model_patch_replace(told, "dit", "double_block", block)
        return model

    return patched


def values_returned_in(*blocks: int) -> Patched:
    """Lightricks' way to skip self-attention in blocks: while one runs, its first attention returns the values."""

    def called(args: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
        calls: list[int] = []
        kept = attention.optimized_attention, attention.optimized_attention_masked

        def returning(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int, *rest: Any, **kwargs):
            calls.append(1)
            masked = kwargs.get("mask") is not None or (rest and rest[0] is not None)
            return value if len(calls) == 1 else kept[masked](query, key, value, heads, *rest, **kwargs)

        attention.optimized_attention = attention.optimized_attention_masked = returning
        try:
            return more["original_block"](args)
        finally:
            attention.optimized_attention, attention.optimized_attention_masked = kept

    def patched(model: Any) -> Any:
        model = model.clone()
        for block in blocks:
            model.set_model_patch_replace(called, "dit", "double_block", block)
        return model

    return patched
