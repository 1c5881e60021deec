"""Samples the pocket LTX for the score: many prompts at once, with the arithmetic of LTXConditionPipeline.

Clip i of a batch equals the pipeline's clip for the same prompt with a generator seeded `seed + i`.
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import LTXConditionPipeline
from diffusers.pipelines.ltx.pipeline_ltx_condition import linear_quadratic_schedule
from torch import Tensor

from pocket.autoencoder import SIDE, SPATIAL, decode, encode
from pocket.renoised import guided
from pocket.shared_text import embed
from pocket.transformer import begins, pack, places, unpack, velocity
from pocket.world import LATENT_FRAME


@dataclass(frozen=True)
class LTX:
    """A model folder as a float32 pipeline, and its recipe."""

    pipeline: LTXConditionPipeline
    recipe: dict[str, Any]
    sizes: ClassVar = {
        "25 frames": {"frames": 25},
        "12 fps": {"fps": 12},
        "192x128": {"width": 192},
        "128x192": {"height": 192},
    }
    longest: ClassVar = 25
    begun: ClassVar = 9

    @classmethod
    def load(cls, folder: Path) -> "LTX":
        """The model in a folder. Raises OSError if a part is missing."""
        pipeline = LTXConditionPipeline.from_pretrained(folder, dtype=torch.float32)
        return cls(pipeline, json.loads((folder / "recipe.json").read_text()))

    def encode(self, video: Tensor) -> Tensor:
        """Clips [B, 3, T, H, W] in -1..1 -> latents as the network sees them."""
        return encode(self.pipeline.vae, video)

    def decode(self, latents: Tensor) -> Tensor:
        """Approximately the inverse of `encode`."""
        return decode(self.pipeline.vae, latents)

    def sample(self, prompts: list[str], guidance: float, steps: int, seed: int = 0, **options: Any) -> Tensor:
        """Prompts -> clips [B, 3, T, H, W] in -1..1; options as for `sample`."""
        return sample(self.pipeline, prompts, guidance, steps, seed, **options)


@torch.no_grad()
def sample(
    pipeline: LTXConditionPipeline,
    prompts: list[str],
    guidance: float,
    steps: int,
    seed: int = 0,
    frames: int = 17,
    fps: float = 8,
    width: int = SIDE,
    height: int = SIDE,
    known: Tensor | None = None,
    batch: int = 32,
) -> Tensor:
    """Prompts -> clips [B, 3, frames, height, width] in -1..1.

    known: normalised latents [B, C, K, h, w] of the first K latent frames, which stay unchanged.
    """
    shape = ((frames - 1) // LATENT_FRAME + 1, height // SPATIAL, width // SPATIAL)
    parts = []
    for start in range(0, len(prompts), batch):
        chosen = slice(start, start + batch)
        first = None if known is None else known[chosen]
        latents = sample_latents(pipeline, prompts[chosen], guidance, steps, seed + start, shape, fps, first)
        parts.append(decode(pipeline.vae, latents))
    return torch.cat(parts)


@torch.no_grad()
def sample_latents(
    pipeline: LTXConditionPipeline,
    prompts: list[str],
    guidance: float,
    steps: int,
    seed: int,
    shape: tuple[int, int, int],
    fps: float,
    known: Tensor | None = None,
) -> Tensor:
    """One batch of prompts -> normalised latents [B, C, *shape]."""
    size = (pipeline.transformer.config.in_channels, *shape)
    generators = [torch.Generator().manual_seed(seed + i) for i in range(len(prompts))]
    x = pack(torch.stack([torch.randn(size, generator=generator) for generator in generators]))
    unknown = torch.ones(1)
    if known is not None:
        given = pack(known)
        x[:, : given.shape[1]] = given
        unknown = torch.ones(x.shape[1])
        unknown[: given.shape[1]] = 0
    text = embed(pipeline.text_encoder, pipeline.tokenizer, [""] * len(prompts) + prompts)
    where = places(begins(torch.arange(shape[0]))[None], shape[1:], fps).expand(2 * len(prompts), -1, -1)
    for sigma, following in pairwise([*linear_quadratic_schedule(steps).tolist(), 0.0]):
        levels = (sigma * unknown).expand(2 * len(prompts), -1)
        both = velocity(pipeline.transformer, torch.cat([x, x]), levels, text, where)
        x = x + (following - sigma) * guided(both, guidance) * unknown[:, None]
    return unpack(x, shape)
