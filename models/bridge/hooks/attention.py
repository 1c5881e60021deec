"""A network's attention as ComfyUI and other nodes change it: the kind chosen at start, an override, patches.

Every attention of a network computes through `Hooks.attention`, which a family's processor calls with queries, keys and
values. With nothing put on, that is torch's scaled_dot_product_attention, number for number what diffusers computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from comfy.cli_args import args
from comfy.ldm.modules import attention

from .step_cache import CachedCall

Attend = Callable[..., torch.Tensor]
"""Queries, keys and values [B, heads, tokens, head_dim] and a mask or None -> [B, tokens, heads * head_dim]."""

PATCHES = ("attn1_patch", "attn1_output_patch", "attn2_patch", "attn2_output_patch")
"""The attention patches of `transformer_options["patches"]` that are served; see `BlockKind.attentions`."""
UNMASKED = ("attention_sage", "attention_flash")
"""ComfyUI's attention functions whose kernels take no mask: Sage ignores it, Flash fails and warns at each call."""


class Hooks:
    """What other nodes put on a network, during one forward: shared by its blocks and attention processors.

    options: ComfyUI's transformer_options; None where they ask nothing of blocks and attention, which then run as if
    there were no hooks. A plain attribute on purpose: torch.compile breaks its graph at a ContextVar, and guards on a
    threading.local crash it. Copies of a network for further GPUs have Hooks of their own. cached: this forward in the
    run's StepCache; None where it has none.
    """

    options: dict[str, Any] | None = None
    cached: CachedCall | None = None

    @contextmanager
    def during(self, options: dict[str, Any] | None, cached: CachedCall | None = None) -> Iterator[None]:
        """Inside, these transformer_options hold."""
        before = self.options, self.cached
        self.options, self.cached = options if options and asked(options) else None, cached
        try:
            yield
        finally:
            self.options, self.cached = before

    def attention(
        self,
        kind: str,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None = None,
        picture: tuple[int, int] | None = None,
        compute: Callable[..., torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Attention with everything that was put on it: [B, heads, tokens, head_dim] each -> [B, tokens, width].

        kind: "attn1" or "attn2", see `BlockKind.attentions`; those of a sound stream begin with "audio_". mask: added
        to the scores, [B, 1, 1 or queries, keys]. picture: first token and last + 1 of the picture where text and
        picture are one sequence. compute(attend, query, key, value, mask): how the family uses `attend`, if not once
        for the whole batch.
        """
        options = self.options
        if options is None:
            attend = attention_for(None)
            return attend(query, key, value, mask) if compute is None else compute(attend, query, key, value, mask)
        if kind.endswith("attn1") and passes_values_on(options):
            return value.transpose(1, 2).flatten(2)
        patches = options.get("patches") or {}
        extra = {**options, "n_heads": query.shape[1], "dim_head": query.shape[-1]}
        if picture is not None:
            extra["img_slice"] = list(picture)
        for patch in patches.get(f"{kind}_patch", ()):
            changed = patch(query, key, value, pe=None, attn_mask=mask, extra_options=extra)
            query, key, value = (changed.get(n, x) for n, x in (("q", query), ("k", key), ("v", value)))
            mask = changed.get("attn_mask", mask)
        attend = attention_for(options)
        out = attend(query, key, value, mask) if compute is None else compute(attend, query, key, value, mask)
        for patch in patches.get(f"{kind}_output_patch", ()):
            out = patch(out, extra)
        return out


def asked(options: Mapping[str, Any]) -> bool:
    """Whether transformer_options ask anything of blocks or attention."""
    return bool(
        (options.get("patches_replace") or {}).get("dit")
        or "optimized_attention_override" in options
        or options.get("stg_self_attn_blocks")
        or any(name in PATCHES for name in options.get("patches") or ())
    )


def passes_values_on(options: Mapping[str, Any]) -> bool:
    """Whether this block's self-attention is to return its values (spatio-temporal guidance skips it so)."""
    skipped = options.get("stg_self_attn_blocks")
    return bool(skipped) and options.get("block_type") == "double" and options["block_index"] in skipped


def attention_for(options: dict[str, Any] | None) -> Attend:
    """The attention function to call: the one chosen at start, in which ComfyUI honours an override in `options`."""

    def attend(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        heads, chosen = query.shape[1], chosen_attention(mask is not None)
        out = chosen(query, key, value, heads, mask=mask, skip_reshape=True, transformer_options=options)
        # A function that skips attention by returning the values (Lightricks' STG) returns them as they came.
        return out if out.ndim == 3 else out.transpose(1, 2).flatten(2)

    return attend


def chosen_attention(masked: bool) -> Callable[..., torch.Tensor]:
    """ComfyUI's function for the attention that was chosen at start, looked up at each call: older nodes replace it.

    On a machine without a GPU where nothing was chosen, ComfyUI takes sub-quadratic attention. Torch's own is faster
    there and is the reference's, so it is taken instead.
    """
    chosen = attention.optimized_attention_masked if masked else attention.optimized_attention
    not_chosen = chosen is attention.attention_sub_quad and not args.use_quad_cross_attention
    takes_no_mask = masked and any(chosen is getattr(attention, name, None) for name in UNMASKED)
    return attention.attention_pytorch if not_chosen or takes_no_mask else chosen


def hook_attention(network: torch.nn.Module, processor: Any) -> None:
    """Give every attention of a network this processor."""
    for module in network.modules():
        if hasattr(module, "processor"):
            module.processor = processor
