"""A network's blocks under the numbers and argument names that other nodes know them by, so that these replace them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.hooks._helpers import TransformerBlockRegistry

from .attention import Hooks


@dataclass(frozen=True)
class BlockKind:
    """Blocks of one kind, numbered from 0.

    kind: "double" where text and picture come as two sequences, else "single". blocks: the ModuleList's name.
    names: the arguments of a block's forward, in its order -> what ComfyUI core calls them; those that core has none
    for are left out. returns: what core calls the things that a block returns, in its order. attentions: "attn1" is
    self-attention or that of text and picture as one sequence, "attn2" a picture's attention to text. streams: those of
    `returns` that are noisy tokens: the picture, and its sound.
    """

    kind: str
    blocks: str
    names: Mapping[str, str]
    returns: tuple[str, ...]
    attentions: tuple[str, ...] = ("attn1",)
    streams: tuple[str, ...] = ("img",)


@dataclass(frozen=True)
class Ends:
    """Whether a block is the first or the last of all `blocks` blocks of its network."""

    first: bool
    last: bool
    blocks: int


class HookedBlock:
    """Put in front of a block's class: its number is set for other nodes, and a replacement runs in its place.

    Under a StepCache the first and the last block report to it, and those behind the first may be skipped.
    """

    hooks: Hooks
    block_kind: BlockKind
    number: int
    total: int
    ends: Ends

    def forward(self, *positional: Any, **given: Any) -> Any:
        cached = self.hooks.cached
        if cached is None or self.ends.blocks == 1:
            return self._patched(*positional, **given)
        kind = self.block_kind
        named = {kind.names.get(name, name): value for name, value in given.items()}
        named |= dict(zip(kind.names.values(), positional, strict=False))
        if cached.skips:
            if self.ends.last:
                streams = cached.completed([named[name] for name in kind.streams])
                named |= dict(zip(kind.streams, streams, strict=True))
            return _as_returned(kind, named)
        made = self._patched(*positional, **given)
        returned = dict(zip(kind.returns, made if isinstance(made, tuple) else (made,), strict=True))
        streams = [returned[name] for name in kind.streams]
        if self.ends.first:
            cached.begin([named[name] for name in kind.streams], streams, self.ends.blocks)
        elif self.ends.last:
            cached.end(streams)
        return made

    def _patched(self, *positional: Any, **given: Any) -> Any:
        """The block, or what other nodes put in its place."""
        options = self.hooks.options
        if options is None:
            return super().forward(*positional, **given)
        kind = self.block_kind
        options["block_type"], options["block_index"], options["total_blocks"] = kind.kind, self.number, self.total
        replaced = (options.get("patches_replace") or {}).get("dit") or {}
        patch = replaced.get((f"{kind.kind}_block", self.number))
        if patch is None:
            return super().forward(*positional, **given)
        given = dict(zip(kind.names, positional, strict=False)) | given
        called = {name: kind.names.get(name, name) for name in given}
        told = {called[name]: value for name, value in given.items()} | {"transformer_options": options}

        def original(told: Mapping[str, Any]) -> dict[str, Any]:
            arguments = {name: told[called[name]] for name in given}
            with self.hooks.during(told.get("transformer_options", options)):
                made = super(HookedBlock, self).forward(**arguments)
            return dict(zip(kind.returns, made if isinstance(made, tuple) else (made,), strict=True))

        return _as_returned(kind, {**told, **patch(told, {"original_block": original})})


def _as_returned(kind: BlockKind, named: Mapping[str, Any]) -> Any:
    """What a block of this kind returns, of things under core's names."""
    out = tuple(named[name] for name in kind.returns)
    return out if len(out) > 1 else out[0]


def hook_blocks(network: torch.nn.Module, kinds: Sequence[BlockKind], hooks: Hooks) -> None:
    """Make a network's blocks HookedBlocks; diffusers' own block caches know them as what they were."""
    every = [block for kind in kinds for block in getattr(network, kind.blocks)]
    for kind in kinds:
        blocks = getattr(network, kind.blocks)
        for number, block in enumerate(blocks):
            block.__class__ = _hooked(type(block))
            block.hooks, block.block_kind, block.number, block.total = hooks, kind, number, len(blocks)
            block.ends = Ends(block is every[0], block is every[-1], len(every))


def _hooked(plain: type) -> type:
    hooked = _HOOKED.get(plain)
    if hooked is None:
        hooked = _HOOKED[plain] = type(plain.__name__, (HookedBlock, plain), {})
        TransformerBlockRegistry._register()
        known = TransformerBlockRegistry._registry.get(plain)
        if known is not None:
            TransformerBlockRegistry._registry[hooked] = known
    return hooked


_HOOKED: dict[type, type] = {}
