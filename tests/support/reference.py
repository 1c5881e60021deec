"""LTX Video beside diffusers' pipelines: same tiny random weights, noise and prompt; how far apart are the clips?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny
import torch
from atelier.models import bridge, checkpoint, knowns, ltx_video
from diffusers import LTXImageToVideoPipeline, LTXPipeline

WIDTH, HEIGHT, FRAMES, STEPS, GUIDANCE, FPS = 96, 64, 17, 6, 3.0, 24
PROMPT, NEGATIVE = "a red circle moving left", "blurry"


@dataclass(frozen=True)
class Loaded:
    """A diffusers folder loaded by us (MODEL, CLIP, VAE) and as the pipeline it was saved from."""

    model: Any
    clip: Any
    vae: Any
    pipe: LTXPipeline


def load(path: Path, version: str) -> Loaded:
    """Write a folder of one VAE generation (a key of tiny.VERSIONS) to `path` and load it both ways."""
    tiny.folder(path, version)
    pipe = tiny.pipeline(version)
    pipe.set_progress_bar_config(disable=True)
    return Loaded(checkpoint.load_model(path), checkpoint.load_clip(path), checkpoint.load_vae(path), pipe)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def conditioning(clip: Any, text: str) -> list:
    encoded, _ = bridge.encode_text(clip, text)
    return bridge.with_frame_rate(encoded, {"frame_rate": FPS})


def text_to_video(loaded: Loaded) -> tuple[float, float]:
    """Relative errors of latents and of pixels against LTXPipeline."""
    latent = _empty(loaded)
    made = _sampled(loaded, latent, seed=7)
    noise = torch.randn(latent["samples"].shape, generator=torch.manual_seed(7))
    return _errors(loaded, made, _pipeline_made(loaded, loaded.pipe, noise))


def image_to_video(loaded: Loaded) -> tuple[float, float]:
    """Relative errors of latents and of pixels against LTXImageToVideoPipeline."""
    image = torch.rand(1, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(1))
    latent = knowns.place(_empty(loaded), loaded.vae.encode(image), start=0, strength=1.0)
    made = _sampled(loaded, latent, seed=8)
    noise = torch.randn(latent["samples"].shape, generator=torch.manual_seed(8))
    noise[:, :, :1] = latent["samples"][:, :, :1]  # the pipeline is given its starting latents, image included
    pipe = LTXImageToVideoPipeline(**loaded.pipe.components)
    pipe.set_progress_bar_config(disable=True)
    return _errors(loaded, made, _pipeline_made(loaded, pipe, noise, image=image.movedim(-1, 1)))


def _empty(loaded: Loaded) -> dict:
    return bridge.empty_latent(loaded.model.model.variant.grid.latent_shape(WIDTH, HEIGHT, FRAMES), FPS)


def _sampled(loaded: Loaded, latent: dict, seed: int) -> torch.Tensor:
    inner = loaded.model.model
    sigmas = inner.family.schedule(inner.variant, STEPS, tuple(latent["samples"].shape))
    texts = conditioning(loaded.clip, PROMPT), conditioning(loaded.clip, NEGATIVE)
    return bridge.sample(loaded.model, latent, *texts, seed=seed, sigmas=sigmas, guidance=GUIDANCE)["samples"]


def _pipeline_made(loaded: Loaded, pipe: Any, noise: torch.Tensor, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The pipeline's latents and frames for our noise. Text comes from us: its own parity is tested separately."""
    texts = {}
    for name, text in (("prompt", PROMPT), ("negative_prompt", NEGATIVE)):
        ((embeds, options),) = conditioning(loaded.clip, text)
        texts |= {f"{name}_embeds": embeds, f"{name}_attention_mask": options["attention_mask"].bool()}
    common = dict(
        texts,
        height=HEIGHT,
        width=WIDTH,
        num_frames=FRAMES,
        frame_rate=FPS,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        decode_timestep=ltx_video.DECODE_TIMESTEP,
        decode_noise_scale=ltx_video.DECODE_NOISE,
        **kwargs,
    )
    tokens = pipe._pack_latents(noise)
    latents = pipe(**common, latents=tokens.clone(), output_type="latent").frames
    generator = torch.Generator().manual_seed(ltx_video.DECODE_SEED)
    pixels = pipe(**common, latents=tokens.clone(), generator=generator, output_type="pt").frames
    return pipe._unpack_latents(latents, *noise.shape[2:]), pixels[0].movedim(1, -1)


def _errors(loaded: Loaded, made: torch.Tensor, reference: tuple[torch.Tensor, torch.Tensor]) -> tuple[float, float]:
    latents, pixels = reference
    return relative(made, latents), relative(bridge.decode(loaded.vae, made), pixels)
