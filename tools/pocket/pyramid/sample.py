"""Samples the pocket Pyramid for the score: many prompts at once, with the pack's own sampler."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from atelier.models.families.pyramid_flow import sampler
from atelier.models.families.pyramid_flow.causal_vae import CausalVideoVAE
from atelier.models.families.pyramid_flow.shot import settings
from atelier.models.families.pyramid_flow.transformer import PyramidFluxTransformer
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast, T5EncoderModel

from pocket.pyramid import autoencoder
from pocket.pyramid.transformer import POOLED
from pocket.shared_text import embed

NETWORK, VAE = "diffusion_transformer_pocket", "causal_video_vae"
CLIP, TEXT_ENCODER, TOKENIZER = "text_encoder", "text_encoder_2", "tokenizer_2"


@dataclass(frozen=True)
class Pyramid:
    """A model folder's parts, float32."""

    network: PyramidFluxTransformer
    vae: CausalVideoVAE
    text_encoder: T5EncoderModel
    tokenizer: PreTrainedTokenizerFast
    recipe: dict[str, Any]
    sizes: ClassVar = {}
    longest: ClassVar = 17
    begun: ClassVar = 9

    @classmethod
    def load(cls, folder: Path) -> "Pyramid":
        """The model in a folder. Raises OSError if a part is missing."""
        return cls(
            PyramidFluxTransformer.from_pretrained(folder / NETWORK, torch_dtype=torch.float32).eval(),
            CausalVideoVAE.from_pretrained(folder / VAE, torch_dtype=torch.float32).eval(),
            T5EncoderModel.from_pretrained(folder / TEXT_ENCODER, dtype=torch.float32).eval(),
            AutoTokenizer.from_pretrained(folder / TOKENIZER),
            json.loads((folder / "recipe.json").read_text()),
        )

    def encode(self, video: Tensor) -> Tensor:
        """Clips [B, 3, T, H, W] in -1..1 -> latents as the network sees them."""
        return autoencoder.encode(self.vae, video)

    def decode(self, latents: Tensor) -> Tensor:
        """Approximately the inverse of `encode`."""
        return autoencoder.decode(self.vae, latents)

    @torch.no_grad()
    def sample(
        self,
        prompts: list[str],
        guidance: float,
        steps: int,
        seed: int = 0,
        frames: int = 17,
        known: Tensor | None = None,
        batch: int = 32,
    ) -> Tensor:
        """Prompts -> clips [B, 3, frames, 64, 64] in -1..1; noise of clip i from seed + i.

        known: latents [B, C, K, h, w] of the first K latent frames, which stay unchanged.
        """
        parts = []
        for start in range(0, len(prompts), batch):
            chosen = slice(start, start + batch)
            given = None if known is None else known[chosen]
            latents = self._latents(prompts[chosen], guidance, steps, seed + start, 1 + (frames - 1) // 8, given)
            parts.append(self.decode(latents))
        return torch.cat(parts)

    def _latents(
        self, prompts: list[str], guidance: float, steps: int, seed: int, frames: int, known: Tensor | None
    ) -> Tensor:
        count, size = len(prompts), (16, frames, 8, 8)
        noise = [torch.randn(size, generator=torch.Generator().manual_seed(seed + i)) for i in range(count)]
        hidden, mask = embed(self.text_encoder, self.tokenizer, [""] * count + prompts)
        pooled = hidden.new_zeros(2 * count, POOLED)
        chosen = settings(steps, guidance)

        def prepare(frame: int, history: list[Tensor], shape: torch.Size) -> sampler.Velocity:
            seen = [clip.repeat(2, 1, 1, 1, 1) for clip in history]
            layout = self.network.layout([*(clip.shape for clip in seen), (2 * count, *shape[1:])], mask)

            def velocity(x: Tensor, timestep: float) -> Tensor:
                clips = [*seen, x.repeat(2, 1, 1, 1, 1)]
                both = self.network(clips, torch.full((2 * count,), timestep), hidden, pooled, layout)
                without, conditional = both.chunk(2)
                return without + chosen.guidance_of(frame) * (conditional - without)

            return velocity

        start, make = None, None
        if known is not None:
            start = torch.zeros(count, *size)
            start[:, :, : known.shape[2]] = known
            make = [frame >= known.shape[2] for frame in range(frames)]
        return sampler.sample(prepare, torch.stack(noise), chosen, sampler.seeded_block_noise(seed ^ 1), start, make)
