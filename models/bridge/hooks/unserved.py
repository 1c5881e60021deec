"""What other nodes put on a MODEL and its network does not serve: taken off and named once, or an error in words."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import comfy.model_management as memory
import torch

from .attention import PATCHES


class Unserved:
    """Looks through transformer_options for what a model's network does not serve. name: the model's."""

    def __init__(self, name: str, network: Any) -> None:
        self.name = name
        self.blocks = {kind.kind: len(getattr(network, kind.blocks)) for kind in network.block_kinds}
        self.attentions = {attention for kind in network.block_kinds for attention in kind.attentions}
        self._named: set[str] = set()

    def taken_off(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options without patches that would fail in this network."""
        patches, replaced = options.get("patches") or {}, options.get("patches_replace") or {}
        skipped = options.get("stg_self_attn_blocks") or ()
        if not patches and not replaced and not skipped:
            return options
        for message in (*self._patches(patches), *self._replacements(replaced), *self._skipped(skipped)):
            if message not in self._named:
                self._named.add(message)
                logging.warning("Atelier: %s: %s", self.name, message)
        kept = {name: [p for p in patches[name] if _takes_queries(p)] for name in patches if name in PATCHES[::2]}
        return {**options, "patches": {**patches, **kept}}

    def _patches(self, patches: dict[str, Sequence[Callable]]) -> Iterator[str]:
        for name in patches:
            attention = name.partition("_")[0]
            if name not in PATCHES:
                yield f"a node put '{name}' on this model. Its network has no such place: it changes nothing."
            elif attention not in self.attentions:
                yield (
                    f"a node put '{name}' on this model, whose text and picture are one sequence: there is no "
                    f"{attention}, and it changes nothing."
                )
            elif name in PATCHES[::2] and not all(map(_takes_queries, patches[name])):
                yield (
                    f"a node put a '{name}' on this model that is made for another kind of network (one called without "
                    "q, k, v, pe, attn_mask, extra_options): it is left out."
                )

    def _skipped(self, blocks: Collection[int]) -> Iterator[str]:
        count = self.blocks.get("double", 0)
        for number in sorted(number for number in blocks if number >= count):
            yield f"a node skips the self-attention of block {number}, but it has {count} blocks: it changes nothing."

    def _replacements(self, replaced: dict[str, Any]) -> Iterator[str]:
        for place in replaced.keys() - {"dit"}:
            yield f"a node replaces '{place}' of this model. Its network has no such place: it changes nothing."
        have = " and ".join(f"{count} {kind} blocks" for kind, count in self.blocks.items())
        for kind, number in sorted(replaced.get("dit") or {}):
            if number >= self.blocks.get(kind.removesuffix("_block"), 0):
                yield f"a node replaces its {kind.replace('_', ' ')} {number}, but it has {have}: it changes nothing."


def _takes_queries(patch: Callable) -> bool:
    """Whether an attention patch is called with queries, keys and values (FLUX's contract), not as UNets' are."""
    try:
        inspect.signature(patch).bind(None, None, None, pe=None, attn_mask=None, extra_options=None)
    except TypeError:
        return False
    except ValueError:  # a builtin, which shows no signature
        return True
    return True


@contextmanager
def explaining(name: str, network: torch.nn.Module) -> Iterator[None]:
    """An error inside is said in words if another node's code stands in place of a part of the network `name`.

    Some nodes replace the forward of ComfyUI's own network, or of its layers, with their own version of it. Such code
    reads attributes and takes arguments that a network of diffusers does not have.
    """
    try:
        yield
    except (AttributeError, TypeError, NotImplementedError, RuntimeError) as error:
        replaced = [part or "the whole" for part, module in network.named_modules() if _replaced(module)]
        if not replaced or isinstance(error, memory.OOM_EXCEPTION):
            raise
        raise ValueError(
            f"A node before the sampler replaces code inside {name} ({replaced[0]}, {len(replaced)} in all) with code "
            f"for ComfyUI's own network, which this is not. It failed: {str(error).rstrip('.')}. Remove that node "
            "(TeaCache, Enhance-A-Video and the like)."
        ) from error


def _replaced(module: torch.nn.Module) -> bool:
    """Whether a module's forward is not its class's. ComfyUI puts that back as an attribute of the module."""
    forward = vars(module).get("forward")
    return forward is not None and getattr(forward, "__func__", forward) is not type(module).forward
