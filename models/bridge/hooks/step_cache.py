"""First-block caching: a step of which the first block tells little new takes what the other blocks added before.

A network's blocks add to its tokens. What the first one adds is compared with what it added in the last step that was
computed whole; if they differ by less than a threshold, the sum of what all others added then is added again, and
these blocks do not run. Sources: diffusers' FirstBlockCache; github.com/chengzeyi/ParaAttention.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...contract.guidance import ISOLATED

Streams = tuple[torch.Tensor, ...]
"""The tokens of a picture, and of its sound if it has sound."""
STEP_CACHE = "atelier_step_cache"
"""Where in transformer_options the StepCache of a run is."""


@dataclass
class Computed:
    """What the blocks added to the tokens of one entry of the conditioning, when they last all ran.

    first, rest: [rows, tokens, width] of each stream, of the first block and of all others. used: the number of the
    evaluation that last read or wrote it. options: of that call; holding them keeps the ids in its key from being given
    to others.
    """

    first: Streams
    rest: Streams
    used: int
    options: Mapping[str, Any]

    def fits(self, added: Streams) -> bool:
        def same(one: torch.Tensor, other: torch.Tensor) -> bool:
            return one.shape == other.shape and one.dtype == other.dtype and one.device == other.device

        return all(map(same, self.first, added))


class StepCache:
    """What one run of a sampler remembers of its steps. A run makes its own, so nothing of another run is in it.

    threshold: the largest change, relative to what the first block added, at which the other blocks are left out.
    Each entry of the conditioning is remembered by itself, in each pass over it and in each context window, so it does
    not matter which of them ComfyUI computes in one batch.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.calls: list[tuple[int, int]] = []
        self._computed: dict[Hashable, Computed] = {}
        self._evaluation = 0

    @property
    def saved(self) -> float:
        """The share of block evaluations that were left out, 0..1."""
        return sum(left_out for _, left_out in self.calls) / max(1, sum(blocks for blocks, _ in self.calls))

    def next_evaluation(self) -> None:
        """The sampler asks for the next prediction: what the one before did not use is forgotten."""
        self._evaluation += 1
        self._computed = {key: kept for key, kept in self._computed.items() if kept.used >= self._evaluation - 1}

    def start_afresh(self) -> None:
        """Forget all steps: what follows is another clip, or another size of it."""
        self._computed = {}

    def call(self, shapes: Sequence[torch.Size], patch: tuple[int, int], options: Mapping[str, Any]) -> CachedCall:
        """A call with a latent [B, C, T, H, W], and the sound [B, C, L, bins] of a network with sound, whose latents
        are a token each. patch: latent frames, and latent pixels per side, of a token of the picture.
        """
        (_, _, time, height, width), *sounds = shapes
        frames, side = time // patch[0], patch[1]
        sizes = [(frames, frames * (height // side) * (width // side)), *((shape[2], shape[2]) for shape in sounds)]
        return CachedCall(self, sizes, options)

    def recalled(self, keys: list[Hashable], added: Iterable[Streams]) -> list[Computed] | None:
        """What is remembered under these keys; None if something is missing or of another size."""
        found = [self._computed.get(key) for key in keys]
        if not all(kept is not None and kept.fits(new) for kept, new in zip(found, added, strict=True)):
            return None
        return found

    def keep(self, key: Hashable, first: Streams, rest: Streams, options: Mapping[str, Any]) -> None:
        self._computed[key] = Computed(first, rest, self._evaluation, options)

    def read(self, kept: list[Computed]) -> None:
        for one in kept:
            one.used = self._evaluation


class CachedCall:
    """One call of a network, to which its first and last blocks report. `skips`: the blocks between do not run.

    sizes: frames and tokens of the noisy latent, and of its sound if it has sound. Its tokens are the last ones of the
    picture; in Pyramid Flow, those of finished frames are before them, on which the result does not depend.
    """

    def __init__(self, cache: StepCache, sizes: list[tuple[int, int]], options: Mapping[str, Any]) -> None:
        self.cache, self.sizes, self.options = cache, sizes, options
        self.skips = False

    def begin(self, before: Sequence[torch.Tensor], after: Sequence[torch.Tensor], blocks: int) -> None:
        """The first of `blocks` blocks turned the tokens [B, tokens, width] of each stream `before` into `after`.

        This decides whether the others are skipped. The host must know, so it waits for the device here, once in each
        call of the network: once a step, or twice where ComfyUI computes the halves of the guidance one by one.
        """
        self._after, self._blocks = self._newest(after), blocks
        self._added = self._differences(self._after, self._newest(before))
        self._keys = self._keys_of(len(after[0]))
        self._kept = self.cache.recalled(self._keys, self._by_key(self._added))
        if self._kept is not None:
            before = (torch.cat(rows) for rows in zip(*(kept.first for kept in self._kept), strict=True))
            changed = [self._changed(*pair) for pair in zip(self._added, before, self.sizes, strict=True)]
            self.skips = not bool(torch.stack(changed).any())

    def end(self, after: Sequence[torch.Tensor]) -> None:
        """The last block ran, and these are the streams behind it: what the blocks added is remembered."""
        rest = self._differences(self._newest(after), self._after)
        for key, *parts in zip(self._keys, self._by_key(self._added), self._by_key(rest), strict=True):
            self.cache.keep(key, *parts, self.options)
        self.cache.calls.append((self._blocks, 0))

    def completed(self, streams: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The streams behind the first block -> behind the last one, with what the others added before."""
        self.cache.read(self._kept)
        self.cache.calls.append((self._blocks, self._blocks - 1))
        rests = (torch.cat(rows) for rows in zip(*(kept.rest for kept in self._kept), strict=True))
        made = []
        for stream, newest, rest in zip(streams, self._newest(streams), rests, strict=True):
            made.append(torch.cat([stream[:, : stream.shape[1] - newest.shape[1]], newest + rest], dim=1))
        return made

    def _newest(self, streams: Sequence[torch.Tensor]) -> Streams:
        return tuple(stream[:, -tokens:] for stream, (_, tokens) in zip(streams, self.sizes, strict=True))

    def _differences(self, one: Streams, other: Streams) -> Streams:
        return tuple(a - b for a, b in zip(one, other, strict=True))

    def _by_key(self, streams: Streams) -> list[Streams]:
        """The streams of each entry of the conditioning in the batch."""
        return list(zip(*(stream.chunk(len(self._keys)) for stream in streams), strict=True))

    def _changed(self, new: torch.Tensor, old: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Whether a clip of the batch changed by more than the threshold in one of its frames.

        By frames, because known ones do not change from step to step: in a mean over all, they would hide the others.
        """
        frames = size[0] if new.shape[1] == size[1] else 1

        def length(x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.vector_norm(x.unflatten(1, (frames, -1)), 1, dim=(2, 3), dtype=torch.float32)

        return ~(length(new - old) < self.cache.threshold * length(old)).all()

    def _keys_of(self, rows: int) -> list[Hashable]:
        """A key for each entry of the conditioning in a batch of so many rows."""
        options = self.options
        entries = options.get("uuids") or options.get("cond_or_uncond") or (None,)
        what = tuple(self.sizes), pass_of(options)
        if rows % len(entries):  # a node in between changed the batch
            return [(*entries, what)]
        return [(entry, entries[:n].count(entry), what) for n, entry in enumerate(entries)]


def pass_of(options: Mapping[str, Any]) -> Hashable:
    """What tells one pass over an entry of the conditioning from others in the same step: patches, a context window.

    Skip-layer guidance runs the prompt a second time with some blocks replaced; the two must not share a memory.
    """
    patches, replaced = options.get("patches") or {}, (options.get("patches_replace") or {}).get("dit") or {}
    window = options.get("context_window")
    return (
        tuple((name, *map(id, patches[name])) for name in patches),
        tuple((place, id(patch)) for place, patch in replaced.items()),
        id(options.get("optimized_attention_override")),
        tuple(options.get("stg_self_attn_blocks") or ()),
        tuple(options.get(name, True) for name in ISOLATED),
        None if window is None else tuple(window.index_list),
    )
