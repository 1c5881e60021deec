"""Samples the pocket with sound for the score, with the arithmetic of LTX2Pipeline and Lightricks' own schedule."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from diffusers import LTX2Pipeline
from torch import Tensor

from pocket import autoencoder
from pocket.ltx2 import audio, sound, text, transformer
from pocket.renoised import guided
from pocket.transformer import pack, unpack
from pocket.world import Scene

MU = 2.05  # the schedule's shift, as Lightricks fix it


class Clips(NamedTuple):
    """Clips [B, 3, T, H, W] in -1..1 and their sound [B, 2, samples] in -1..1."""

    video: Tensor
    sound: Tensor


@dataclass(frozen=True)
class LTX2:
    """A model folder as a float32 pipeline, and its recipe. See `pocket.model.Model`."""

    pipeline: LTX2Pipeline
    recipe: dict[str, Any]
    sizes: ClassVar = {"25 frames": {"frames": 25}}
    longest: ClassVar = 25
    begun: ClassVar = 9

    @classmethod
    def load(cls, folder: Path) -> "LTX2":
        """The model in a folder. Raises OSError if a part is missing."""
        pipeline = LTX2Pipeline.from_pretrained(folder, dtype=torch.float32)
        return cls(pipeline, json.loads((folder / "recipe.json").read_text()))

    @property
    def rate(self) -> int:
        """Samples per second of the sound that it makes."""
        return self.pipeline.vocoder.config.output_sampling_rate

    def encode(self, video: Tensor) -> Tensor:
        return autoencoder.encode(self.pipeline.vae, video)

    def decode(self, latents: Tensor) -> Tensor:
        return autoencoder.decode(self.pipeline.vae, latents)

    @torch.no_grad()
    def hear(self, latents: Tensor) -> Tensor:
        """Sound latents [B, 8, L, 16] as the network sees them -> waves [B, 2, samples]."""
        return self.pipeline.vocoder(audio.decode(self.pipeline.audio_vae, latents))

    def encode_sound(self, scenes: list[Scene], frames: int) -> Tensor:
        return transformer.encode_sound(self.pipeline.audio_vae, scenes, sound.length(frames, self.recipe["fps"]))

    def real_sound(self, scenes: list[Scene], frames: int) -> tuple[Tensor, Tensor]:
        real = sound.waves(scenes, frames / self.recipe["fps"], self.rate).expand(-1, 2, -1)
        return real, self.hear(self.encode_sound(scenes, frames))

    def heard(self, wave: Tensor) -> str | None:
        return sound.color_of(wave, self.rate)

    def sample(self, prompts: list[str], guidance: float, steps: int, seed: int = 0, **options: Any) -> Tensor:
        return self.sample_both(prompts, guidance, steps, seed, **options).video

    @torch.no_grad()
    def sample_both(
        self,
        prompts: list[str],
        guidance: float,
        steps: int,
        seed: int = 0,
        frames: int | None = None,
        known: Tensor | None = None,
        known_sound: Tensor | None = None,
        batch: int = 32,
    ) -> Clips:
        """Prompts -> clips with sound; clip i is that of the prompt alone with the seed `seed + i`.

        known: latents [B, C, K, h, w] of the first K latent frames. known_sound: latents [B, 8, K, 16] of the
        beginning of the sound. Both stay unchanged.
        """
        parts = []
        for start in range(0, len(prompts), batch):
            chosen = slice(start, start + batch)
            given = tuple(None if part is None else part[chosen] for part in (known, known_sound))
            latents = self._latents(
                prompts[chosen], guidance, steps, seed + start, frames or self.recipe["frames"], given
            )
            parts.append(Clips(self.decode(latents[0]), self.hear(latents[1])))
        return Clips(*(torch.cat(streams) for streams in zip(*parts, strict=True)))

    def _latents(
        self, prompts: list[str], guidance: float, steps: int, seed: int, frames: int, known: tuple
    ) -> tuple[Tensor, Tensor]:
        """Latents of picture and sound, as the network sees them."""
        pipeline, fps = self.pipeline, self.recipe["fps"]
        shape = ((frames - 1) // 4 + 1, self.recipe["height"] // 16, self.recipe["width"] // 16)
        sizes = ((pipeline.transformer.config.in_channels, *shape), (audio.CHANNELS, sound.length(frames, fps), 16))
        generators = [torch.Generator().manual_seed(seed + i) for i in range(len(prompts))]
        drawn = [[torch.randn(size, generator=generator) for size in sizes] for generator in generators]
        streams = [torch.stack(parts) for parts in zip(*drawn, strict=True)]
        packers = (pack, transformer.pack_sound)
        x = [packer(stream) for packer, stream in zip(packers, streams, strict=True)]
        unknown = [torch.ones(part.shape[1]) for part in x]
        for stream, packer, given in zip(range(2), packers, known, strict=True):
            if given is not None:
                there = packer(given)
                x[stream][:, : there.shape[1]], unknown[stream][: there.shape[1]] = there, 0
        texts = text.embed(
            pipeline.text_encoder, pipeline.connectors, pipeline.tokenizer, [""] * len(prompts) + prompts
        )
        sigmas = self._sigmas(steps)
        for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
            level = sigma.expand(2 * len(prompts))
            levels = tuple((sigma * free).expand(2 * len(prompts), -1) for free in unknown)
            both = transformer.velocity(
                pipeline.transformer, tuple(torch.cat([part, part]) for part in x), level, levels, texts, shape, fps
            )
            x = [
                part + (following - sigma) * guided(v, guidance) * free[:, None]
                for part, v, free in zip(x, both, unknown, strict=True)
            ]
        return unpack(x[0], shape), transformer.unpack_sound(x[1])

    def _sigmas(self, steps: int) -> Tensor:
        scheduler = self.pipeline.scheduler
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps), mu=MU)
        return scheduler.sigmas
