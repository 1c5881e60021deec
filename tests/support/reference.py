"""Compares our clips with those of diffusers' pipelines, on the same tiny random weights, noise and words.

The matrix is family x variant x task x layout of the files. Pyramid Flow, which diffusers does not have, is compared
with recorded runs of its authors' code instead (tests/models/families/pyramid_flow).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import published
import tiny
import tiny_cogvideox
import tiny_mochi
import torch
from atelier.models.bridge.control import control
from atelier.models.bridge.sampling import empty_latent, sample, with_options
from atelier.models.bridge.text_encoder import encode_text
from atelier.models.bridge.vae import decode
from atelier.models.bridge.wrappers.known_frames import extra_noise
from atelier.models.contract.schedule import sigmas_for
from atelier.models.families.cogvideox import family as cogvideox
from atelier.models.families.ltx_video import autoencoder
from atelier.models.families.ltx_video import family as ltx_video
from atelier.models.loading import load as checkpoint
from atelier.models.loading.identify import open_model
from atelier.models.timeline import placing
from benchmarks.layout import in_original_layout, in_sat_layout
from comfy.k_diffusion.sampling import default_noise_sampler
from diffusers import CogVideoXVideoToVideoPipeline, LTXImageToVideoPipeline
from diffusers.models.upsampling import CogVideoXUpsample3D
from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition, linear_quadratic_schedule
from PIL import Image
from safetensors.torch import save_file

T2V, I2V, START, V2V, CONTROL = "T2V", "I2V", "a clip at the start", "V2V", "Control"
LAYOUTS = ("folder", "diffusers keys", "original keys")
# CogVideoXDDIMScheduler steps down by 1000 // steps timesteps, which is the next one only if 1000 divides evenly.
STEPS, GUIDANCE, DENOISE, FPS = 5, 3.0, 0.6, 24
PROMPT, NEGATIVE = "a red circle moving left", "blurry"
Pair = tuple[torch.Tensor, torch.Tensor]


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def to_pil(image: torch.Tensor) -> Image.Image:
    """A picture [H, W, 3] in 0..1 with 8 bits per colour."""
    return Image.fromarray((image * 255).round().byte().numpy())


@dataclass(frozen=True)
class Loaded:
    """The loader's results."""

    model: Any
    clip: Any
    vae: Any
    steps: int = STEPS
    guidance: float = GUIDANCE

    def conditioning(self, text: str, **added: Any) -> list:
        return with_options(encode_text(self.clip, text)[0], added)

    def sampled(self, latent: dict, seed: int, denoise: float = 1.0, **added: Any) -> torch.Tensor:
        """Latents of our sampler. `added`: further conditioning for both texts."""
        inner, shape = self.model.model, tuple(latent["samples"].shape)
        texts = (self.conditioning(text, frame_rate=FPS, **added) for text in (PROMPT, NEGATIVE))
        sigmas = sigmas_for(inner.family, inner.variant, round(self.steps * denoise), denoise, shape)
        return sample(self.model, latent, *texts, seed=seed, sigmas=sigmas, guidance=self.guidance)["samples"]


class Case:
    """A variant of a family: its tiny checkpoint in every layout, its task, and the pipeline's result."""

    family: str
    size: tuple[int, int, int]
    tasks: tuple[str, ...] = (T2V,)
    latents, pixels = 1e-5, 1e-4
    steps, guidance = STEPS, GUIDANCE
    folder_name, file_name = "folder", "model.safetensors"

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
        path = self.root / self.folder_name
        self.write_folder(path)
        model = open_model(path)
        parts = (load(model) for load in (checkpoint.load_model, checkpoint.load_clip, checkpoint.load_vae))
        return Loaded(*parts, self.steps, self.guidance)

    @cached_property
    def grid(self) -> Any:
        return self.folder.model.model.variant.grid

    def loaded(self, layout: str) -> Loaded:
        """The checkpoint in that layout. If the file has no text encoder or VAE, the folder's are used."""
        if layout == "folder":
            return self.folder
        (self.root / layout).mkdir(exist_ok=True)
        model = checkpoint.load_model(open_model(self.write_file(self.root / layout / self.file_name, layout)))
        return replace(self.folder, model=model)

    def empty(self) -> dict:
        return empty_latent(self.grid.latent_shape(*self.size), FPS)

    def images(self, count: int) -> torch.Tensor:
        """Random images [count, H, W, 3] with 8 bits per colour."""
        width, height, _ = self.size
        generator = torch.Generator().manual_seed(count)
        return torch.randint(256, (count, height, width, 3), generator=generator).float() / 255

    def noise(self, shape: torch.Size, seed: int) -> torch.Tensor:
        """The noise of a seed, with the frames that our sampler adds in front if tokens last several latent frames."""
        noise = torch.randn(shape, generator=torch.manual_seed(seed))
        lead = -noise.shape[2] % self.grid.patch[0]
        return torch.cat([extra_noise(noise, lead, seed), noise], dim=2)

    def made(self, loaded: Loaded, task: str) -> torch.Tensor:
        """Our latents."""
        if task == I2V:
            known = loaded.vae.encode(self.images(1))
            return loaded.sampled(placing.place(self.empty(), known, start=0, strength=1.0), seed=8)
        if task == START:
            known = loaded.vae.encode(self.images(9))
            return loaded.sampled(placing.place(self.empty(), known, start=0, strength=1.0), seed=11)
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
        return dict(
            width=width, height=height, num_frames=frames, guidance_scale=self.guidance, num_inference_steps=self.steps
        )

    def write_file(self, path: Path, layout: str) -> Path:
        state = self.network().state_dict() if layout == "diffusers keys" else self.original()
        save_file({key: weight.contiguous() for key, weight in state.items()}, path, self.metadata())
        return path

    def metadata(self) -> dict[str, str]:
        return {}

    # The metadata and configs of a family.
    pipeline: Callable[[], Any]
    network: Callable[[], torch.nn.Module]
    original: Callable[[], dict[str, torch.Tensor]]
    write_folder: Callable[[Path], Any]
    ask: Callable[[str], Pair]


@dataclass(frozen=True)
class Guided:
    """What LTX Video's authors do at a step. blocks: those whose self-attention STG leaves out."""

    scale: float = 1.0
    stg: float = 0.0
    rescale: float = 1.0
    blocks: Sequence[int] = ()
    zero_star: bool = False


@contextmanager
def values_alone(network: torch.nn.Module, blocks: Sequence[int]) -> Iterator[None]:
    """Inside, the self-attention of these blocks returns its values (Lightricks' `stg_mode: attention_values`)."""

    def values(attn: Any, hidden_states: torch.Tensor, *others: Any, **more: Any) -> torch.Tensor:
        return attn.to_out[1](attn.to_out[0](attn.to_v(hidden_states)))

    attentions = [network.transformer_blocks[block].attn1 for block in blocks]
    stock = [attention.processor for attention in attentions]
    try:
        for attention in attentions:
            attention.processor = values
        yield
    finally:
        for attention, processor in zip(attentions, stock, strict=True):
            attention.processor = processor


class LTX(Case):
    """A published variant (tests/published), with its config, in the folder and the file it is published as."""

    family, size = "LTX Video", (96, 64, 17)

    def __init__(self, variant: str, root: Path) -> None:
        super().__init__(variant, root)
        self.published = published.config(variant)
        self.late, self.large = published.ltx_is_late(variant), self.published["size"] == "13B"
        self.stochastic = self.published["recipe"].get("stochastic_sampling", False)
        self.file_name = self.published["file"]
        self.folder_name = self.published["folder"] or Path(self.file_name).stem
        self.sigmas = self.published["metadata_config"].get("allowed_inference_steps")
        self.tasks = (T2V, I2V, START, V2V) if self.late else (T2V, I2V)
        if self.sigmas:
            self.steps, self.guidance = len(self.sigmas), self.published["recipe"]["guidance_scale"]
            self.tasks = (T2V, I2V) if self.stochastic else (T2V, I2V, START)

    def pipeline(self) -> Any:
        return published.ltx_pipeline(self.variant)

    def network(self) -> torch.nn.Module:
        return self.pipe.transformer

    def original(self) -> dict[str, torch.Tensor]:
        return in_original_layout(self.network().state_dict(), "model.diffusion_model.")

    def metadata(self) -> dict[str, str]:
        return published.ltx_metadata(self.variant)

    def write_folder(self, path: Path) -> None:
        self.pipe.save_pretrained(path)

    @cached_property
    def folder(self) -> Loaded:
        with self.tiny_sizes():
            return super().folder

    def loaded(self, layout: str) -> Loaded:
        with self.tiny_sizes():
            return super().loaded(layout)

    def tiny_sizes(self) -> Any:
        """A 13B is recognised by its width, which would not be tiny."""
        width = tiny.NETWORK["num_attention_heads"] * tiny.NETWORK["attention_head_dim"]
        return patch.object(ltx_video, "WIDTH_13B", width if self.large else 4096)

    def ask(self, task: str) -> Pair:
        if self.stochastic:
            return self.walked(task)
        if not self.late:
            return self._ask_early(task)
        images = [to_pil(image) for image in self.images(9)]
        seed, inputs = {
            T2V: (7, {}),
            I2V: (8, dict(image=self.images(1).movedim(-1, 1))),
            START: (11, dict(conditions=[LTXVideoCondition(video=images, frame_index=0)])),
            V2V: (9, dict(latents=self.clip(), denoise_strength=DENOISE)),
        }[task]
        inputs["generator"] = torch.Generator().manual_seed(seed)
        if self.sigmas:
            inputs["timesteps"] = [1000 * sigma for sigma in self.sigmas]
        return self._ask(self.pipe, image_cond_noise_scale=0.0, **inputs)

    def _ask_early(self, task: str) -> Pair:
        noise = self.noise(self.empty()["samples"].shape, 7 if task == T2V else 8)
        if task == T2V:
            return self._ask(self.pipe, latents=self.pipe._pack_latents(noise))
        image = self.images(1)
        noise[:, :, :1] = self.folder.vae.encode(image)  # the pipeline is given its starting latents, image included
        pipe = LTXImageToVideoPipeline(**self.pipe.components)
        return self._ask(pipe, latents=pipe._pack_latents(noise), image=image.movedim(-1, 1))

    def texts(self) -> dict[str, torch.Tensor]:
        """The text is ours; its parity is tested separately."""
        texts = {}
        for name, text in (("prompt", PROMPT), ("negative_prompt", NEGATIVE)):
            ((embeds, options),) = self.folder.conditioning(text)
            texts |= {f"{name}_embeds": embeds, f"{name}_attention_mask": options["attention_mask"].bool()}
        return texts

    def _ask(self, pipe: Any, **inputs: Any) -> Pair:
        pipe.set_progress_bar_config(disable=True)
        made = pipe(**self.common(), **self.texts(), **inputs, frame_rate=FPS, output_type="latent").frames
        latents = made if made.ndim == 5 else pipe._unpack_latents(made, *self.empty()["samples"].shape[2:])
        return latents, self._decoded(latents)

    @torch.no_grad()
    def walked(self, task: str, guidance: Callable[[float], Guided] | None = None) -> Pair:
        """Sample a clip step by step, for features that diffusers' pipeline lacks.

        guidance: what is done at a sigma, as in pipeline_ltx_video.py of github.com/Lightricks/LTX-Video. Without it,
        steps are those of Euler ancestral, which the authors' graphs have for distilled models:
        down to sigma'^2 / sigma, then as much noise as brings it back to sigma'.
        """
        seed, known = (7, None) if task == T2V else (8, self.folder.vae.encode(self.images(1)))
        x = self.noise(self.empty()["samples"].shape, seed)
        draw, texts = default_noise_sampler(x, seed=seed + 1), self.texts()
        levels = self.sigmas or linear_quadratic_schedule(self.steps).tolist()
        for sigma, following in pairwise([*levels, 0.0]):
            if known is not None:
                x[:, :, :1] = known
            velocity = self._velocity(x, sigma, known is not None, texts, guidance(sigma) if guidance else Guided())
            clean = x - sigma * velocity
            down = following if guidance else following**2 / sigma
            x = x + (down - sigma) * velocity
            if following and not guidance:
                kept = (1 - following) / (1 - down)
                x = kept * x + (following**2 - (kept * down) ** 2) ** 0.5 * draw(sigma, following)
            x = x if following else clean
        if known is not None:
            x[:, :, :1] = known
        return x, self._decoded(x)

    def _velocity(
        self, x: torch.Tensor, sigma: float, known: bool, texts: dict[str, torch.Tensor], at: Guided
    ) -> torch.Tensor:
        """The prediction with the prompt, as the authors combine it with two others.

        CFG-Zero* (arXiv 2503.18886): the one without the prompt is scaled to the projection of the other onto it. STG
        (arXiv 2411.18664): away from the one in which the self-attention of a few blocks returns its values. Where that
        is on and the rescaling is not 1, the result gets the standard deviation of the prediction with the prompt.
        """
        pipe, shape = self.pipe, x.shape
        ids = pipe._scale_video_ids(pipe._prepare_video_ids(1, *shape[2:])).float()
        ids[:, 0] = ids[:, 0] * (1.0 / FPS)
        times = torch.full((1, 1, *shape[2:]), 1000 * sigma)
        times[:, :, : int(known)] = 0.0

        def predicted(name: str) -> torch.Tensor:
            made = pipe.transformer(
                hidden_states=pipe._pack_latents(x),
                encoder_hidden_states=texts[f"{name}_embeds"],
                encoder_attention_mask=texts[f"{name}_attention_mask"],
                timestep=times.flatten(1),
                video_coords=ids,
                return_dict=False,
            )[0]
            return pipe._unpack_latents(made, *shape[2:])

        wanted = result = predicted("prompt")
        if at.scale > 1:
            unwanted = predicted("negative_prompt")
            if at.zero_star:
                unwanted = unwanted * (wanted * unwanted).sum() / (unwanted**2).sum()
            result = unwanted + at.scale * (wanted - unwanted)
        if at.stg > 0:
            with values_alone(pipe.transformer, at.blocks):
                result = result + at.stg * (wanted - predicted("prompt"))
            if at.rescale != 1:
                result = result * (at.rescale * wanted.std() / result.std() + 1 - at.rescale)
        return result

    def _decoded(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode as the pipelines do at their end."""
        vae, timestep = self.pipe.vae, None
        latents = self.pipe._denormalize_latents(latents, vae.latents_mean, vae.latents_std)
        if vae.config.timestep_conditioning:
            noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(autoencoder.DECODE_SEED))
            latents = torch.lerp(latents, noise, autoencoder.DECODE_NOISE)
            timestep = torch.tensor([autoencoder.DECODE_TIMESTEP])
        with torch.no_grad():
            pixels = vae.decode(latents, timestep, return_dict=False)[0]
        return self.pipe.video_processor.postprocess_video(pixels, output_type="pt")[0].movedim(1, -1)


def fun_positions(embed: Any, height: int, width: int, frames: int, device: Any = None) -> torch.Tensor:
    """What CogVideoX-Fun's own CogVideoXPatchEmbed (github.com/aigc-apps/CogVideoX-Fun) adds to the tokens, and
    diffusers does not: the table of the trained picture, each of its frames resized to this one, as far as it is used.

    height, width: in latent pixels. frames: of video. [1, text + tokens, width]
    """
    words, patch = embed.max_text_seq_length, embed.patch_size
    grid = (embed.sample_height // patch, embed.sample_width // patch)
    places = embed.pos_embedding[:, words:].unflatten(1, (-1, *grid)).permute(0, 4, 1, 2, 3)
    size = (places.shape[2], height // patch, width // patch)
    places = torch.nn.functional.interpolate(places, size, mode="trilinear", align_corners=False)
    places = places.permute(0, 2, 3, 4, 1).flatten(1, 3)
    count = ((frames - 1) // embed.temporal_compression_ratio + 1) * size[1] * size[2]
    return torch.cat([embed.pos_embedding[:, :words], places[:, :count]], dim=1)


@torch.no_grad()
def fun_decoded(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Scaled latents [B, C, T, h, w] -> pixels, as `_decode` of CogVideoX-Fun's autoencoder_magvit.py makes them.

    The first latent frame alone, then two at a time. The layers that double the frame rate are told whether they have
    the first one: it stays one frame, every other becomes two.
    """
    first = True

    def upsampled(layer: Any, x: torch.Tensor) -> torch.Tensor:
        times = 2.0 if layer.compress_time and not first else 1.0
        x = torch.nn.functional.interpolate(x, scale_factor=(times, 2.0, 2.0))
        frames = [layer.conv(frame) for frame in x.unbind(2)]
        return torch.stack(frames, dim=2)

    pairs, single = divmod(latents.shape[2] - 1, 2)
    pixels, cache, raw = [], None, latents / vae.config.scaling_factor
    with patch.object(CogVideoXUpsample3D, "forward", upsampled):
        for piece in raw.split([1] + [2] * pairs + [1] * single, dim=2):
            made, cache = vae.decoder(piece, conv_cache=cache)
            pixels.append(made)
            first = False
    return torch.cat(pixels, dim=2)


class CogVideoX(Case):
    family, size = "CogVideoX", (tiny_cogvideox.WIDTH, tiny_cogvideox.HEIGHT, tiny_cogvideox.FRAMES)
    latents = 1e-4

    def __init__(self, variant: str, root: Path) -> None:
        super().__init__(variant, root)
        self.tasks = {"I2V": (I2V,), "Control": (CONTROL,)}.get(variant.split()[-1], (T2V, V2V))

    def pipeline(self) -> Any:
        pipe = tiny_cogvideox.pipeline(self.variant)
        if self.variant.startswith("Fun 2B"):
            embed = pipe.transformer.patch_embed
            embed._get_positional_embeddings = partial(fun_positions, embed)
        return pipe

    def network(self) -> torch.nn.Module:
        return tiny_cogvideox.network(self.variant)

    def original(self) -> dict[str, torch.Tensor]:
        state = in_sat_layout(self.network().state_dict())
        return {f"model.diffusion_model.{key}": weight for key, weight in state.items()}

    def write_folder(self, path: Path) -> None:
        tiny_cogvideox.folder(path, self.variant)

    def loaded(self, layout: str) -> Loaded:
        # A 2B file is recognised by its 30 heads, which would not be tiny.
        with patch.object(cogvideox, "HEADS_2B", 1 if "2B" in self.variant else 30):
            return super().loaded(layout)

    def clip(self) -> torch.Tensor:
        """If a token lasts two latent frames, the pipeline reads T as frames, so other lengths are not possible."""
        clip = super().clip()
        return torch.cat([clip, clip.flip(2)], dim=2) if self.grid.patch[0] == 2 else clip

    def ask(self, task: str, **others: Any) -> Pair:
        frames = self.size[2]
        if task == V2V:
            pipe, inputs = CogVideoXVideoToVideoPipeline(**self.pipe.components), self._changing()
        elif task == CONTROL:
            pictures = [to_pil(image) for image in self.images(frames)]
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
            if self.variant.startswith("Fun"):
                pixels = fun_decoded(pipe.vae, latents.transpose(1, 2))
            else:
                pixels = pipe.decode_latents(torch.cat([latents[:, :1], latents], dim=1) if even else latents)
                pixels = pixels[:, :, 4:] if even else pixels
        frames = pipe.video_processor.postprocess_video(pixels, output_type="pt")[0].movedim(1, -1)
        return latents.transpose(1, 2), frames

    def _noise(self, seed: int) -> torch.Tensor:
        return self.noise(self.empty()["samples"].shape, seed).transpose(1, 2)

    def _changing(self) -> dict[str, Any]:
        """The clip, noised as the pipeline does after encoding."""
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
    *((LTX, variant) for variant in published.LTX),
    *((CogVideoX, variant) for variant in COGVIDEOX),
    (Mochi, "preview"),
)


IN_ALL_LAYOUTS = ("ltx-2b-0.9.0", "ltx-2b-0.9.1", "ltx-2b-0.9.5", "ltx-13b-0.9.8-dev")


def layouts(variant: str) -> tuple[str, ...]:
    """5B-I2V stores the places of 720 x 480 pixels, so a file of it makes no tiny clip.

    LTX Video's layouts are the same for all of one generation: the others come as they are published.
    """
    if variant in published.LTX and variant not in (
        "ltx-2b-0.9.0",
        "ltx-2b-0.9.1",
        "ltx-2b-0.9.5",
        "ltx-13b-0.9.8-dev",
    ):
        return LAYOUTS[:1] if published.config(variant)["folder"] else LAYOUTS[2:]
    return LAYOUTS[:1] if variant == "5B I2V" else LAYOUTS


def cases(root: Path) -> Iterator[Case]:
    for number, (kind, variant) in enumerate(VARIANTS):
        yield kind(variant, root / str(number))
