"""Samples the pocket Mochi for the score, with the arithmetic of MochiPipeline."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from diffusers import MochiPipeline
from diffusers.pipelines.mochi.pipeline_mochi import linear_quadratic_schedule
from torch import Tensor

from pocket.mochi import autoencoder, transformer
from pocket.mochi.autoencoder import BLOCK, FRAMES, NUMBERS
from pocket.renoised import Level, Renoised, Text, guided

THRESHOLD = 0.025  # MochiPipeline's share of the noise that the first half of the steps removes


class Mochi(Renoised):
    """A model folder's pipeline, float32, and its recipe."""

    longest: ClassVar = FRAMES
    begun: ClassVar = 7
    kind: ClassVar = MochiPipeline

    def encode(self, video: Tensor) -> Tensor:
        return autoencoder.encode(self.pipeline.vae, video)

    def decode(self, latents: Tensor) -> Tensor:
        return autoencoder.decode(self.pipeline.vae, latents)

    def embed(self, prompts: list[str]) -> Text:
        return transformer.embed(self.pipeline.text_encoder, self.pipeline.tokenizer, prompts)

    def levels(self, steps: int) -> Sequence[Level]:
        removed = [*(1 - float(sigma) for sigma in linear_quadratic_schedule(steps, THRESHOLD)), 1.0]
        return [Level(transformer.TIMESTEPS * clean, clean, 1 - clean) for clean in removed]

    def noise(self, frames: int, seed: int) -> Tensor:
        size = (1, NUMBERS, (frames - 1) // BLOCK[0] + 1, 8, 8)
        return torch.randn(size, generator=torch.Generator().manual_seed(seed))[0]

    def estimate(self, x: Tensor, level: Level, text: Text, guidance: float) -> tuple[Tensor, Tensor]:
        net = transformer.with_masks(self.pipeline.transformer)
        sigma = torch.full((2 * len(x),), level.noise)
        v = guided(transformer.velocity(net, torch.cat([x, x]), sigma, text), guidance)
        return x + level.noise * v, x - level.signal * v
