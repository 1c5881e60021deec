"""Samples models whose network reads one noise level for a whole clip: known frames are re-noised before each step."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

Text = tuple[Tensor, Tensor]
"""Hidden states [B, L, width] and mask [B, L] of prompts."""


class Level(NamedTuple):
    """A noise level: a noisy clip is signal * clean + noise * noise; timestep as the network counts it."""

    timestep: float
    signal: float
    noise: float

    def mix(self, clean: Tensor, noise: Tensor) -> Tensor:
        return self.signal * clean + self.noise * noise


@dataclass(frozen=True)
class Renoised(ABC):
    """A model folder as a float32 pipeline of diffusers, and its recipe. See `pocket.model.Model`."""

    pipeline: DiffusionPipeline
    recipe: dict[str, Any]
    sizes: ClassVar = {}
    kind: ClassVar[type[DiffusionPipeline]]

    @classmethod
    def load(cls, folder: Path) -> "Renoised":
        """The model in a folder. Raises OSError if a part is missing."""
        pipeline = cls.kind.from_pretrained(folder, dtype=torch.float32)
        return cls(pipeline, json.loads((folder / "recipe.json").read_text()))

    @abstractmethod
    def encode(self, video: Tensor) -> Tensor:
        """Clips [B, 3, T, H, W] in -1..1 -> latents as the network sees them."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Latents as the network sees them -> clips [B, 3, T, H, W] in -1..1."""

    @abstractmethod
    def embed(self, prompts: list[str]) -> Text:
        """What the network reads of prompts."""

    @abstractmethod
    def levels(self, steps: int) -> Sequence[Level]:
        """The schedule's steps + 1 levels, from noise to clean."""

    @abstractmethod
    def noise(self, frames: int, seed: int) -> Tensor:
        """The pipeline's noise [C, T, h, w] for a clip of `frames` frames and a generator of this seed."""

    @abstractmethod
    def estimate(self, x: Tensor, level: Level, text: Text, guidance: float) -> tuple[Tensor, Tensor]:
        """Clean latents and noise, both as predicted with guidance. text: of no prompt and of the prompts."""

    @torch.no_grad()
    def sample(
        self,
        prompts: list[str],
        guidance: float,
        steps: int,
        seed: int = 0,
        frames: int | None = None,
        known: Tensor | None = None,
        batch: int = 32,
    ) -> Tensor:
        """Prompts -> clips [B, 3, frames, 64, 64] in -1..1; clip i equals the pipeline's with the seed `seed + i`.

        known: latents [B, C, K, h, w] of the first K latent frames, which stay unchanged.
        """
        parts = []
        for start in range(0, len(prompts), batch):
            chosen = slice(start, start + batch)
            given = None if known is None else known[chosen]
            count = frames or self.recipe["frames"]
            noise = torch.stack([self.noise(count, seed + start + i) for i in range(len(prompts[chosen]))])
            parts.append(self.decode(self._latents(prompts[chosen], guidance, steps, noise, given)))
        return torch.cat(parts)

    def _latents(self, prompts: list[str], guidance: float, steps: int, noise: Tensor, known: Tensor | None) -> Tensor:
        text = self.embed([""] * len(prompts) + prompts)
        levels = self.levels(steps)
        x = self._with_known(noise, levels[0], noise, known)
        for level, following in pairwise(levels):
            clean, predicted = self.estimate(x, level, text, guidance)
            x = self._with_known(following.mix(clean, predicted), following, noise, known)
        return x

    @staticmethod
    def _with_known(x: Tensor, level: Level, noise: Tensor, known: Tensor | None) -> Tensor:
        if known is None:
            return x
        there = known.shape[2]
        return torch.cat([level.mix(known, noise[:, :, :there]), x[:, :, there:]], 2)


def guided(both: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance for predictions without and with the prompt, one after the other in the batch."""
    without, conditional = both.chunk(2)
    return without + guidance * (conditional - without)
