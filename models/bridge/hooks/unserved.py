"""What other nodes put on a MODEL and its network does not serve: taken off, and named in the log once."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

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
        if not patches and not replaced:
            return options
        for message in (*self._patches(patches), *self._replacements(replaced)):
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
