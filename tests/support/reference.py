"""Our clips beside those of diffusers' pipelines: same tiny random weights, noise and words; how far apart are they?

The matrix is family x variant x task x layout of the files. Pyramid Flow, which diffusers does not have, is compared
with recorded runs of its authors' code instead (tests/models/families/pyramid_flow).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import tiny
import tiny_cogvideox
import tiny_mochi
import torch
from atelier.models.bridge.sampling import control, empty_latent, sample, with_options
from atelier.models.bridge.text_encoder import encode_text
from atelier.models.bridge.vae import decode
from atelier.models.bridge.wrappers.known_frames import noise_in_front
from atelier.models.contract.schedule import sigmas_for
from atelier.models.families.cogvideox import family as cogvideox
from atelier.models.families.ltx_video import autoencoder
from atelier.models.loading import load as checkpoint
from atelier.models.loading.identify import open_model
from atelier.models.timeline import placing
from benchmarks.layout import in_original_layout, in_sat_layout
from diffusers import (
    CogVideoXVideoToVideoPipeline,
    FlowMatchEulerDiscreteScheduler,
    LTXConditionPipeline,
    LTXImageToVideoPipeline,
)
from PIL import Image
from safetensors.torch import save_file

T2V, I2V, V2V, CONTROL = "T2V", "I2V", "V2V", "Control"
LAYOUTS = ("folder", "diffusers keys", "original keys")
# CogVideoXDDIMScheduler steps to 1000 // steps timesteps below, which is the next one only where that comes out even.
STEPS, GUIDANCE, DENOISE, FPS = 5, 3.0, 0.6, 24
PROMPT, NEGATIVE = "a red circle moving left", "blurry"
Pair = tuple[torch.Tensor, torch.Tensor]


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


@dataclass(frozen=True)
class Loaded:
    """What the loader gives."""

    model: Any
    clip: Any
    vae: Any

    def conditioning(self, text: str, **added: Any) -> list:
        return with_options(encode_text(self.clip, text)[0], added)

    def sampled(self, latent: dict, seed: int, denoise: float = 1.0, **added: Any) -> torch.Tensor:
        """Latents by our sampler; `added` goes beside both texts."""
        inner, shape = self.model.model, tuple(latent["samples"].shape)
        texts = (self.conditioning(text, frame_rate=FPS, **added) for text in (PROMPT, NEGATIVE))
        sigmas = sigmas_for(inner.family, inner.variant, round(STEPS * denoise), denoise, shape)
        return sample(self.model, latent, *texts, seed=seed, sigmas=sigmas, guidance=GUIDANCE)["samples"]


class Case:
    """A variant of a family: its tiny checkpoint in every layout, what it is asked to do, and the pipeline's answer."""

    family: str
    size: tuple[int, int, int]
    tasks: tuple[str, ...] = (T2V,)
    latents, pixels = 1e-5, 1e-4

    def __init__(self, variant: str, root: Path) -> None:
        self.variant, self.root = variant, root
        self._answers: dict[str, Pair] = {}

    @cached_property
    def pipe(self) -> Any:
        pipe = self.pipeline()
        pipe.set_progress_bar_config(disable=True)
        return pipe

    @cached_property
    def folder(self) -> Loaded:
        self.write_folder(self.root / "folder")
        model = open_model(self.root / "folder")
        return Loaded(*(load(model) for load in (checkpoint.load_model, checkpoint.load_clip, checkpoint.load_vae)))

    @cached_property
    def grid(self) -> Any:
        return self.folder.model.model.variant.grid

    def loaded(self, layout: str) -> Loaded:
        """The checkpoint in that layout; text encoder and VAE are the folder's where the file has none."""
        if layout == "folder":
            return self.folder
        model = checkpoint.load_model(open_model(self.write_file(self.root / f"{layout}.safetensors", layout)))
        return Loaded(model, self.folder.clip, self.folder.vae)

    def empty(self) -> dict:
        return empty_latent(self.grid.latent_shape(*self.size), FPS)

    def images(self, count: int) -> torch.Tensor:
        """Random images [count, H, W, 3] with 8 bits per colour."""
        width, height, _ = self.size
        generator = torch.Generator().manual_seed(count)
        return torch.randint(256, (count, height, width, 3), generator=generator).float() / 255

    def noise(self, shape: torch.Size, seed: int) -> torch.Tensor:
        """The noise of a seed, with what our sampler puts in front where a token lasts several latent frames."""
        noise = torch.randn(shape, generator=torch.manual_seed(seed))
        lead = -noise.shape[2] % self.grid.patch[0]
        return torch.cat([noise_in_front(noise, lead, seed), noise], dim=2)

    def made(self, loaded: Loaded, task: str) -> torch.Tensor:
        """Our latents."""
        if task == I2V:
            known = loaded.vae.encode(self.images(1))
            return loaded.sampled(placing.place(self.empty(), known, start=0, strength=1.0), seed=8)
        if task == V2V:
            return loaded.sampled({"samples": self.clip()}, seed=9, denoise=DENOISE)
        if task == CONTROL:
            empty = self.empty()
            return loaded.sampled(empty, seed=10, **control(loaded.vae, self.images(self.size[2]), empty))
        return loaded.sampled(self.empty(), seed=7)

    def clip(self) -> torch.Tensor:
        """The latents [B, C, T, H, W] that video to video begins with."""
        return torch.randn(self.empty()["samples"].shape, generator=torch.Generator().manual_seed(3))

    def answer(self, task: str) -> Pair:
        """The pipeline's latents [B, C, T, H, W] and frames [F, H, W, 3]."""
        if task not in self._answers:
            self._answers[task] = self.ask(task)
        return self._answers[task]

    def errors(self, layout: str, task: str) -> tuple[float, float]:
        """Relative errors of latents and of pixels."""
        loaded, (latents, pixels) = self.loaded(layout), self.answer(task)
        made = self.made(loaded, task)
        frames = decode(loaded.vae, made)
        assert made.shape == latents.shape and frames.shape == pixels.shape
        return relative(made, latents), relative(frames, pixels)

    def common(self) -> dict[str, Any]:
        width, height, frames = self.size
        return dict(width=width, height=height, num_frames=frames, guidance_scale=GUIDANCE, num_inference_steps=STEPS)

    def write_file(self, path: Path, layout: str) -> Path:
        state = self.network().state_dict() if layout == "diffusers keys" else self.original()
        save_file({key: weight.contiguous() for key, weight in state.items()}, path, self.metadata())
        return path

    def metadata(self) -> dict[str, str]:
        return {}

    # What a family says of itself.
    pipeline: Callable[[], Any]
    network: Callable[[], torch.nn.Module]
    original: Callable[[], dict[str, torch.Tensor]]
    write_folder: Callable[[Path], Any]
    ask: Callable[[str], Pair]


class ChangingPipeline(LTXConditionPipeline):
    """With the places in time that LTXPipeline gives a clip: this one's own begin a latent frame earlier."""

    @staticmethod
    def _scale_video_ids(ids: torch.Tensor, scale_factor: int = 32, scale_factor_t: int = 8, **_: Any) -> torch.Tensor:
        return ids * torch.tensor([scale_factor_t, scale_factor, scale_factor])[None, :, None]


class LTX(Case):
    family, size = "LTX Video", (96, 64, 17)

    def __init__(self, variant: str, root: Path) -> None:
        super().__init__(variant, root)
        self.tasks = (T2V, I2V, V2V) if variant == "0.9.5" else (T2V, I2V)

    def pipeline(self) -> Any:
        return tiny.pipeline(self.variant)

    def network(self) -> torch.nn.Module:
        return self.pipe.transformer

    def original(self) -> dict[str, torch.Tensor]:
        return in_original_layout(self.network().state_dict(), "model.diffusion_model.")

    def metadata(self) -> dict[str, str]:
        return {"config": json.dumps({"transformer": tiny.NETWORK})}

    def write_folder(self, path: Path) -> None:
        tiny.folder(path, self.variant)

    def ask(self, task: str) -> Pair:
        if task == V2V:
            return self._ask(*self._changing())
        noise = self.noise(self.empty()["samples"].shape, 7 if task == T2V else 8)
        if task == T2V:
            return self._ask(self.pipe, latents=self.pipe._pack_latents(noise))
        image = self.images(1)
        noise[:, :, :1] = self.folder.vae.encode(image)  # the pipeline is given its starting latents, image included
        pipe = LTXImageToVideoPipeline(**self.pipe.components)
        return self._ask(pipe, latents=pipe._pack_latents(noise), image=image.movedim(-1, 1))

    def _changing(self) -> tuple[Any, dict[str, Any]]:
        """LTXConditionPipeline, which changes a clip, on our sigmas: of itself it takes another schedule."""
        inner = self.folder.model.model
        sigmas = inner.family.schedule(inner.variant, STEPS, tuple(self.clip().shape))
        pipe = ChangingPipeline(**self.pipe.components | {"scheduler": FlowMatchEulerDiscreteScheduler()})
        timesteps = (1000 * sigmas[:-1]).tolist()
        return pipe, dict(
            timesteps=timesteps, denoise_strength=DENOISE, latents=self.clip(), image_cond_noise_scale=0.0
        )

    def _ask(self, pipe: Any, inputs: dict[str, Any] | None = None, **others: Any) -> Pair:
        """Text comes from us: its own parity is tested separately. The last draws are the decoder's noise."""
        inputs, texts = (inputs or {}) | others, {}
        for name, text in (("prompt", PROMPT), ("negative_prompt", NEGATIVE)):
            ((embeds, options),) = self.folder.conditioning(text)
            texts |= {f"{name}_embeds": embeds, f"{name}_attention_mask": options["attention_mask"].bool()}
        pipe.set_progress_bar_config(disable=True)
        made = pipe(
            **self.common(), **texts, **inputs, frame_rate=FPS, generator=torch.manual_seed(9), output_type="latent"
        ).frames
        latents = made if made.ndim == 5 else pipe._unpack_latents(made, *self.empty()["samples"].shape[2:])
        return latents, self._decoded(latents)

    def _decoded(self, latents: torch.Tensor) -> torch.Tensor:
        """As the end of the pipelines does it."""
        vae, timestep = self.pipe.vae, None
        latents = self.pipe._denormalize_latents(latents, vae.latents_mean, vae.latents_std)
        if vae.config.timestep_conditioning:
            noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(autoencoder.DECODE_SEED))
            latents = torch.lerp(latents, noise, autoencoder.DECODE_NOISE)
            timestep = torch.tensor([autoencoder.DECODE_TIMESTEP])
        with torch.no_grad():
            pixels = vae.decode(latents, timestep, return_dict=False)[0]
        return self.pipe.video_processor.postprocess_video(pixels, output_type="pt")[0].movedim(1, -1)


class CogVideoX(Case):
    family, size = "CogVideoX", (tiny_cogvideox.WIDTH, tiny_cogvideox.HEIGHT, tiny_cogvideox.FRAMES)
    latents = 1e-4

    def __init__(self, variant: str, root: Path) -> None:
        super().__init__(variant, root)
        self.tasks = {"I2V": (I2V,), "Control": (CONTROL,)}.get(variant.split()[-1], (T2V, V2V))

    def pipeline(self) -> Any:
        return tiny_cogvideox.pipeline(self.variant)

    def network(self) -> torch.nn.Module:
        return tiny_cogvideox.network(self.variant)

    def original(self) -> dict[str, torch.Tensor]:
        state = in_sat_layout(self.network().state_dict())
        return {f"model.diffusion_model.{key}": weight for key, weight in state.items()}

    def write_folder(self, path: Path) -> None:
        tiny_cogvideox.folder(path, self.variant)

    def loaded(self, layout: str) -> Loaded:
        # A file of the 2B is told by its 30 heads, which would not be tiny.
        with patch.object(cogvideox, "HEADS_2B", 1 if "2B" in self.variant else 30):
            return super().loaded(layout)

    def clip(self) -> torch.Tensor:
        """Where a token lasts two latent frames, the pipeline takes no other length: it reads T as frames here."""
        clip = super().clip()
        return torch.cat([clip, clip.flip(2)], dim=2) if self.grid.patch[0] == 2 else clip

    def ask(self, task: str, **others: Any) -> Pair:
        frames = self.size[2]
        if task == V2V:
            pipe, inputs = CogVideoXVideoToVideoPipeline(**self.pipe.components), self._changing()
        elif task == CONTROL:
            pictures = [Image.fromarray((image * 255).round().byte().numpy()) for image in self.images(frames)]
            pipe, inputs = self.pipe, {"control_video": pictures, "latents": self._noise(10)}
        elif task == I2V:
            image = self.images(1).movedim(-1, 1)
            pipe, inputs = self.pipe, {"image": image, "latents": self._noise(8), "num_frames": frames}
        else:
            pipe, inputs = self.pipe, {"latents": self._noise(7), "num_frames": frames}
        pipe.set_progress_bar_config(disable=True)
        common = {key: value for key, value in self.common().items() if key != "num_frames"}
        words = dict(prompt=PROMPT, negative_prompt=NEGATIVE)
        made = pipe(**common, **words, **inputs, **others, output_type="latent").frames
        latents = made if task == V2V else made[:, made.shape[1] - self.empty()["samples"].shape[2] :]
        # An even number of latent frames has no first one for the decoder, so it is decoded with another in front.
        even = latents.shape[1] % 2 == 0
        with torch.no_grad():
            pixels = pipe.decode_latents(torch.cat([latents[:, :1], latents], dim=1) if even else latents)
        pixels = pixels[:, :, 4:] if even else pixels
        frames = pipe.video_processor.postprocess_video(pixels, output_type="pt")[0].movedim(1, -1)
        return latents.transpose(1, 2), frames

    def _noise(self, seed: int) -> torch.Tensor:
        return self.noise(self.empty()["samples"].shape, seed).transpose(1, 2)

    def _changing(self) -> dict[str, Any]:
        """The clip, noised as the pipeline noises what it has encoded."""
        clip, scheduler = self.clip(), self.pipe.scheduler
        scheduler.set_timesteps(STEPS)
        first = scheduler.timesteps[STEPS - round(STEPS * DENOISE)]
        noised = scheduler.add_noise(clip, self.noise(clip.shape, 9), first[None])
        return {"latents": noised.transpose(1, 2), "strength": DENOISE}


class Mochi(Case):
    family, size = "Mochi 1", (64, 48, 13)

    def pipeline(self) -> Any:
        return tiny_mochi.pipeline()

    def network(self) -> torch.nn.Module:
        return tiny_mochi.network()

    def original(self) -> dict[str, torch.Tensor]:
        state = tiny_mochi.original(self.network().state_dict())
        return {tiny_mochi.PREFIX + key: weight for key, weight in state.items()}

    def write_folder(self, path: Path) -> None:
        tiny_mochi.folder(path)

    def ask(self, task: str) -> Pair:
        words = dict(prompt=PROMPT, negative_prompt=NEGATIVE)
        noise = self.noise(self.empty()["samples"].shape, 7)
        latents = self.pipe(**self.common(), **words, latents=noise, output_type="latent").frames
        vae = self.pipe.vae
        mean, std = (
            torch.tensor(values).view(1, -1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std)
        )
        with torch.no_grad():
            pixels = vae.decode(latents * std / vae.config.scaling_factor + mean, return_dict=False)[0]
        return latents, self.pipe.video_processor.postprocess_video(pixels, output_type="pt")[0].movedim(1, -1)


COGVIDEOX = ("2B", "5B", "1.5 5B", "5B I2V", "1.5 5B I2V", "Fun 2B Control", "Fun 5B Control")
VARIANTS: tuple[tuple[type[Case], str], ...] = (
    *((LTX, version) for version in tiny.VERSIONS),
    *((CogVideoX, variant) for variant in COGVIDEOX),
    (Mochi, "preview"),
)


def layouts(variant: str) -> tuple[str, ...]:
    """5B-I2V stores the places of 720 x 480 pixels, so a file of it makes no tiny clip."""
    return LAYOUTS[:1] if variant == "5B I2V" else LAYOUTS


def cases(root: Path) -> Iterator[Case]:
    for number, (kind, variant) in enumerate(VARIANTS):
        yield kind(variant, root / str(number))
