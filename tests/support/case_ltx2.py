"""A tiny LTX-2: diffusers' pipeline, its folder, what this pack loads from it, and the two side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tiny
import tiny_ltx2
import torch
from atelier.models.bridge.sampling import empty_shot, sample, with_frame_rate
from atelier.models.loading import load
from atelier.models.loading.identify import OpenedModel, open_model
from atelier.models.timeline.latent import streams_of, video_of
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2Pipeline

FPS, FRAMES, SIZE = 24.0, 17, (64, 96)  # width, height


@dataclass
class Made:
    """A tiny model: diffusers' pipeline, its folder, and what this pack loads from it."""

    version: str
    pipe: LTX2Pipeline
    path: Path
    opened: OpenedModel
    model: object
    clip: object
    vae: object

    def conditioning(self, words: str, latent: dict) -> list:
        return with_frame_rate(self.clip.encode_from_tokens_scheduled(self.clip.tokenize(words)), latent)

    def shot(self) -> dict:
        return empty_shot(self.opened.variant, (*SIZE, FRAMES), FPS)

    def sampled(self, latent: dict, steps: int = 3, guidance: float = 3.0) -> list[torch.Tensor]:
        sigmas = self.opened.family.schedule(self.opened.variant, steps, tuple(video_of(latent["samples"]).shape))
        texts = (self.conditioning(words, latent) for words in (tiny_ltx2.PROMPT, tiny_ltx2.NEGATIVE))
        return sample(self.model, latent, *texts, seed=0, sigmas=sigmas, guidance=guidance)["samples"].unbind()

    def statistics(self) -> tuple:
        vae, audio = self.pipe.vae, self.pipe.audio_vae
        video = (vae.latents_mean.view(1, -1, 1, 1, 1), vae.latents_std.view(1, -1, 1, 1, 1))
        return (*video, audio.latents_mean.view(1, 8, 1, 16), audio.latents_std.view(1, 8, 1, 16))

    def reference(
        self,
        kind: type,
        video: torch.Tensor,
        sound: torch.Tensor,
        steps: int = 3,
        sigmas: torch.Tensor | None = None,
        **guidance,
    ):
        """The pipeline's latents, normalised, by the schedule that Lightricks' code has, or by `sigmas`."""
        mean, std, sound_mean, sound_std = self.statistics()
        fixed = FlowMatchEulerDiscreteScheduler(
            **tiny.SCHEDULER | dict(use_dynamic_shifting=False, shift_terminal=None)
        )
        pipe = kind(**self.pipe.components | {"scheduler": fixed})
        pipe.set_progress_bar_config(disable=True)
        if sigmas is None:
            sigmas = self.opened.family.schedule(self.opened.variant, steps, (1, 128, 3, 1, 1))
        off = dict(guidance_scale=3.0, stg_scale=0.0, modality_scale=1.0, guidance_rescale=0.0)
        off |= {f"audio_{name}": value for name, value in off.items()} | {"spatio_temporal_guidance_blocks": None}
        made = pipe(
            prompt=tiny_ltx2.PROMPT,
            negative_prompt=tiny_ltx2.NEGATIVE,
            max_sequence_length=tiny_ltx2.TOKENS,
            latents=video * std + mean,
            audio_latents=sound * sound_std + sound_mean,
            width=32 * video.shape[4],
            height=32 * video.shape[3],
            num_frames=FRAMES,
            frame_rate=FPS,
            sigmas=sigmas[:-1].tolist(),
            num_inference_steps=len(sigmas) - 1,
            output_type="latent",
            return_dict=False,
            use_cross_timestep=False,
            **off | guidance,
        )
        return (made[0] - mean) / std, (made[1] - sound_mean) / sound_std


def made(version: str, path: Path) -> Made:
    """The folder is written to `path`."""
    pipe = tiny_ltx2.pipeline(version)
    tiny_ltx2.folder(path, version, pipe)
    opened = open_model(path)
    parts = load.load_model(opened, "float32"), load.load_clip(opened), load.load_vae(opened)
    return Made(version, pipe, path, opened, *parts)


def noise(made: Made) -> list[torch.Tensor]:
    """The sampler's: the picture's first, then the sound's, of one generator."""
    generator = torch.manual_seed(0)
    return [torch.randn(stream.shape, generator=generator) for stream in streams_of(made.shot()["samples"])]


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()
