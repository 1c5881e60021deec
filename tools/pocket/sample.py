"""A batched sampler with the arithmetic of LTXPipeline and LTXImageToVideoPipeline, for scoring many prompts fast.

Clip i of a batch equals what the pipelines make of its prompt with a generator seeded `seed + i`.
"""

import numpy as np
import torch
from diffusers import LTXPipeline
from torch import Tensor

from pocket.autoencoder import decode
from pocket.text_encoder import embed
from pocket.transformer import pack, unpack, velocity


@torch.no_grad()
def sample(
    pipeline: LTXPipeline,
    prompts: list[str],
    guidance: float,
    steps: int,
    seed: int = 0,
    frames: int = 17,
    fps: float = 8,
    width: int = 64,
    height: int = 64,
    known: Tensor | None = None,
    batch: int = 32,
) -> Tensor:
    """Prompts -> clips [B, 3, frames, height, width] in -1..1.

    `known` are normalised latents [B, C, K, h, w] of the first K latent frames, which stay as they are.
    """
    space, time = pipeline.vae.spatial_compression_ratio, pipeline.vae.temporal_compression_ratio
    shape = ((frames - 1) // time + 1, height // space, width // space)
    parts = []
    for start in range(0, len(prompts), batch):
        chosen = slice(start, start + batch)
        first = None if known is None else known[chosen]
        latents = sample_latents(pipeline, prompts[chosen], guidance, steps, seed + start, shape, fps, first)
        parts.append(decode(pipeline.vae, latents))
    return torch.cat(parts)


def sample_latents(
    pipeline: LTXPipeline,
    prompts: list[str],
    guidance: float,
    steps: int,
    seed: int,
    shape: tuple[int, int, int],
    fps: float,
    known: Tensor | None,
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
    pipeline.scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
    sigmas = pipeline.scheduler.sigmas
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        levels = (sigma * unknown).expand(2 * len(prompts), -1)
        both = velocity(pipeline.transformer, pipeline.vae, torch.cat([x, x]), levels, text, shape, fps)
        without, conditional = both.chunk(2)
        guided = without + guidance * (conditional - without)
        x = x + (following - sigma) * guided * unknown[:, None]
    return unpack(x, shape)
