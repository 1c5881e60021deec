"""Samples the pocket CogVideoX for the score, with the arithmetic of CogVideoXPipeline and its DDIM scheduler."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from diffusers import CogVideoXPipeline
from torch import Tensor

from pocket.cogvideox import autoencoder, transformer
from pocket.cogvideox.autoencoder import FRAMES, GROUP, NUMBERS
from pocket.renoised import Level, Renoised, Text, guided


class CogVideoX(Renoised):
    """A model folder's pipeline, float32, and its recipe."""

    longest: ClassVar = FRAMES
    begun: ClassVar = 9
    kind: ClassVar = CogVideoXPipeline

    def encode(self, video: Tensor) -> Tensor:
        return autoencoder.encode(self.pipeline.vae, video)

    def decode(self, latents: Tensor) -> Tensor:
        return autoencoder.decode(self.pipeline.vae, latents)

    def embed(self, prompts: list[str]) -> Text:
        hidden = transformer.embed(self.pipeline.text_encoder, self.pipeline.tokenizer, prompts)
        return hidden, hidden.new_ones(hidden.shape[:2])

    def levels(self, steps: int) -> Sequence[Level]:
        self.pipeline.scheduler.set_timesteps(steps)
        timesteps, table = self.pipeline.scheduler.timesteps, transformer.levels()
        return [*(Level(float(t), *table[t].tolist()) for t in timesteps), Level(0.0, 1.0, 0.0)]

    def noise(self, frames: int, seed: int) -> Tensor:
        size = (1, (frames - 1) // GROUP + 1, NUMBERS, 8, 8)
        return torch.randn(size, generator=torch.Generator().manual_seed(seed))[0].transpose(0, 1)

    def estimate(self, x: Tensor, level: Level, text: Text, guidance: float) -> tuple[Tensor, Tensor]:
        timestep = torch.full((2 * len(x),), level.timestep)
        v = guided(transformer.prediction(self.pipeline.transformer, torch.cat([x, x]), timestep, text[0]), guidance)
        return level.signal * x - level.noise * v, level.noise * x + level.signal * v
