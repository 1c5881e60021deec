"""Compares a sampler step of our MODEL with diffusers' pipelines and with ComfyUI core's MODEL, on the same weights.

A step is everything between two noise levels: conditioning, the network on both halves of the guidance, the guidance,
the Euler update. It is measured in CPU time of one thread, which other programs disturb little.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.figure import Figure, interleaved, ratios, seconds_of
from benchmarks.layout import genmo_network, in_genmo_layout, in_original_layout

NETWORK = {
    "num_layers": 8,
    "num_attention_heads": 16,
    "attention_head_dim": 64,
    "cross_attention_dim": 1024,
    "caption_channels": 1024,
}
SHAPE = (1, 128, 4, 6, 8)
"""192 tokens, twice: with and without the prompt."""
TEXT_WIDTH = 1024
TEXT_TOKENS, PROMPT_TOKENS, GUIDANCE, FPS = 128, 12, 3.0, 25.0
MOCHI_TOKENS = 256
ROUNDS = 15

Step = Callable[[], torch.Tensor]


@dataclass(frozen=True)
class Subject:
    """A network, small enough for a CPU if not said otherwise, and a step of it: from sigmas[0] to sigmas[1].

    shape: of the latents. body(network, subject, variant): the step as in the pipeline's denoising loop, where
    `device` is and in `dtype`. core(weights): ComfyUI's own MODEL with these weights; None if ComfyUI has no such
    network. file: the name of the weights' file, which may give a version. sound: the shape of the latents of its
    sound, if it has sound. parts: configs of the model's further parts.
    """

    name: str
    pipeline: str
    config: dict[str, Any]
    body: Callable[..., Step]
    shape: tuple[int, ...] = SHAPE
    text_tokens: int = TEXT_TOKENS
    prompt_tokens: int = PROMPT_TOKENS
    sigmas: tuple[float, float] = (1.0, 0.9)
    core: Callable[[dict[str, torch.Tensor]], Any] | None = None
    file: str = "random"
    text_width: int = TEXT_WIDTH
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    sound: tuple[int, ...] = ()
    parts: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def noise(self) -> Any:
        """A tensor, or core's NestedTensor of picture and sound."""
        generator = torch.Generator().manual_seed(1)
        return _together([torch.randn(shape, generator=generator).to(self.device) for shape in self.shapes])

    def empty(self) -> Any:
        return _together([torch.zeros(shape, device=self.device) for shape in self.shapes])

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [self.shape, *([self.sound] if self.sound else [])]

    def texts(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Positive and negative text [1, tokens, width], with masks [1, tokens]."""
        generator = torch.Generator().manual_seed(2)
        mask = (torch.arange(self.text_tokens) < self.prompt_tokens).long()[None]
        shape = (1, self.text_tokens, self.text_width)
        texts = [torch.randn(shape, generator=generator) for _ in range(2)]
        return [(text.to(self.device, self.dtype), mask.to(self.device)) for text in texts]


def _together(streams: list[torch.Tensor]) -> Any:
    if len(streams) == 1:
        return streams[0]
    from comfy.nested_tensor import NestedTensor

    return NestedTensor(streams)


def step() -> list[Figure]:
    """Our MODEL over the same network called as each pipeline calls it."""
    return [figure for subject in subjects() for figure in _step(subject)]


def _step(subject: Subject) -> list[Figure]:
    model, state = our_model(subject)
    theirs = subject.body(diffusers_network(subject, state), subject, model.model.variant)
    return in_sampler(model, subject, lambda ours: _compare_with_pipeline(subject, ours, theirs))


def step_core() -> list[Figure]:
    """Our MODEL over core's with the same weights, with core's attention for CPUs and with torch's."""
    return [figure for subject in subjects() if subject.core for figure in _step_core(subject)]


def _step_core(subject: Subject) -> list[Figure]:
    model, state = our_model(subject)
    core, name = subject.core(state), subject.name.replace("step", "step_core")
    return in_sampler(
        model, subject, lambda ours: in_sampler(core, subject, lambda theirs: _compare_with_core(name, ours, theirs))
    )


def _compare_with_pipeline(subject: Subject, ours: Step, theirs: Step) -> list[Figure]:
    seconds = _timed({"ours": ours, subject.pipeline: theirs})
    note = f"{seconds_of(seconds)}; latents differ by {_relative(ours(), theirs()):.1e}"
    return [Figure(subject.name, ratios(*seconds.values()), 1.02, note=note)]


def _compare_with_core(figure: str, ours: Step, theirs: Step) -> list[Figure]:
    from comfy.ldm.modules import attention

    def with_torch_attention() -> torch.Tensor:
        with ExitStack() as patches:
            for name in ("optimized_attention", "optimized_attention_masked"):
                patches.enter_context(patch.object(attention, name, attention.attention_pytorch))
            return theirs()

    seconds = _timed({"ours": ours, "core": theirs, "core, torch attention": with_torch_attention})
    against_core = ratios(seconds["ours"], seconds["core"])
    against_torch = ratios(seconds["ours"], seconds["core, torch attention"])
    name = attention.optimized_attention.__name__
    note = f"core as it runs on a processor ({name}); latents differ by {_relative(ours(), theirs()):.1e}"
    return [
        Figure(figure, against_core, 1.0, note=f"{seconds_of(seconds)}; {note}"),
        Figure(f"{figure}, sdpa", against_torch, note="core under --use-pytorch-cross-attention; for comparison"),
    ]


def _timed(contenders: dict[str, Step]) -> dict[str, list[float]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return interleaved(ROUNDS, contenders, time.process_time)
    finally:
        torch.set_num_threads(threads)


def our_model(
    subject: Subject, state: dict[str, torch.Tensor] | None = None, storage: torch.dtype | None = None
) -> tuple[Any, dict[str, torch.Tensor]]:
    """Our MODEL with these weights or random ones, and the weights. storage: their dtype, if not the subject's."""
    from atelier.models.bridge.patcher import make_model
    from atelier.models.bridge.weights import load_weights

    family, variant = variant_of(subject)
    network = family.network(variant)
    state = _random_weights(network, subject) if state is None else state
    load_weights(network, dict(state), storage or subject.dtype, subject.dtype)
    return make_model(family, variant, network, subject.dtype, reload=(our_model, (subject,))), state


def variant_of(subject: Subject) -> tuple[Any, Any]:
    """The family and the variant that our loader finds by the network's config and the file's name."""
    from atelier.models.loading.identify import identify
    from atelier.models.weights.checkpoint import Checkpoint, Component

    component = Component("network", (), {}, config=subject.config)
    parts = {name: Component(name, (), {}, config=config) for name, config in subject.parts.items()}
    return identify(Checkpoint(Path(subject.file), component, parts=parts))


def _random_weights(network: torch.nn.Module, subject: Subject) -> dict[str, torch.Tensor]:
    generator = torch.Generator(subject.device).manual_seed(0)
    place = {"device": subject.device, "dtype": subject.dtype}
    return {
        name: torch.ones(weight.shape, **place)
        if "norm" in name and weight.ndim == 1
        else torch.randn(weight.shape, generator=generator, **place) / max(1, weight.shape[-1]) ** 0.5
        for name, weight in network.state_dict().items()
    }


def core_ltx(
    state: dict[str, torch.Tensor], network: dict[str, Any] = NETWORK, dtype: torch.dtype = torch.float32
) -> Any:
    """ComfyUI's own MODEL with these weights, loaded as its loader nodes do."""
    import comfy.sd

    metadata = {"config": json.dumps({"transformer": network})}
    return comfy.sd.load_diffusion_model_state_dict(in_original_layout(state), {"dtype": dtype}, metadata)


def core_mochi(
    state: dict[str, torch.Tensor], network: dict[str, Any] | None = None, dtype: torch.dtype = torch.float32
) -> Any:
    """The same for Mochi. ComfyUI's loader assumes the published depth and text width, so they are patched to ours."""
    import comfy.sd
    from comfy import model_detection

    network = network or MOCHI
    detect = model_detection.detect_unet_config
    ours = {"depth": network["num_layers"], "t5_feat_dim": network["text_embed_dim"]}
    weights = in_genmo_layout(state, genmo_network(network["num_layers"]))
    with patch.object(model_detection, "detect_unet_config", lambda *args, **kwargs: detect(*args, **kwargs) | ours):
        return comfy.sd.load_diffusion_model_state_dict(weights, {"dtype": dtype})


def in_sampler(model: Any, subject: Subject, measure: Callable[[Step], list[Figure]]) -> list[Figure]:
    """Start ComfyUI's sampling with `model` and, inside it, measure a step of the Euler sampler."""
    import comfy.sample
    import comfy.samplers

    figures = []

    def sampler(denoise: Callable, x: torch.Tensor, sigmas: torch.Tensor, extra_args: dict, **_: Any) -> torch.Tensor:
        sigma, following, ones = sigmas[0], sigmas[1], x.new_ones(x.shape[0])

        def euler() -> torch.Tensor:
            velocity = (x - denoise(x, sigma * ones, **extra_args)) / sigma
            return x + velocity * (following - sigma)

        with torch.no_grad():
            figures.extend(measure(euler))
        return x

    comfy.sample.sample_custom(
        model,
        subject.noise(),
        GUIDANCE,
        comfy.samplers.KSAMPLER(lambda *args, **kwargs: sampler(*args[:3], **kwargs)),
        torch.tensor([*subject.sigmas, 0.0]),
        *([[text, {"attention_mask": mask, "frame_rate": FPS}]] for text, mask in subject.texts()),
        subject.empty(),
        disable_pbar=True,
        seed=0,
    )
    return figures


def diffusers_network(subject: Subject, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    import diffusers

    arguments = {name: value for name, value in subject.config.items() if name != "_class_name"}
    with torch.device("meta"):
        network = getattr(diffusers, subject.config["_class_name"])(**arguments)
    network.load_state_dict({name: state[name] for name in network.state_dict()}, assign=True)
    return network.requires_grad_(False).eval()


def _ltx_step(network: torch.nn.Module, subject: Subject, variant: Any) -> Step:
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler()
    grid, (_, _, time, height, width) = variant.grid, subject.shape
    latents = subject.noise().flatten(2).transpose(1, 2)
    (text, mask), (negative, negative_mask) = subject.texts()
    embeds, masks = torch.cat([negative, text]), torch.cat([negative_mask, mask])

    def euler() -> torch.Tensor:
        scheduler.set_timesteps(sigmas=[1.0, 0.9])
        both = torch.cat([latents] * 2).to(embeds.dtype)
        with torch.no_grad(), network.cache_context("cond_uncond"):
            prediction = network(
                hidden_states=both,
                encoder_hidden_states=embeds,
                timestep=scheduler.timesteps[0].expand(both.shape[0]).to(both.device),
                encoder_attention_mask=masks,
                num_frames=time,
                height=height,
                width=width,
                rope_interpolation_scale=(grid.temporal / FPS, grid.spatial, grid.spatial),
                return_dict=False,
            )[0]
        stepped = scheduler.step(_guided(prediction), scheduler.timesteps[0], latents, return_dict=False)[0]
        return stepped.transpose(1, 2).unflatten(2, (time, height, width))

    return euler


def _cogvideox_step(network: torch.nn.Module, subject: Subject, variant: Any) -> Step:
    from atelier.models.families.cogvideox.network import centred
    from diffusers import CogVideoXDDIMScheduler
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    scheduler = CogVideoXDDIMScheduler.from_config(dict(variant.scheduler), **COGVIDEOX_SCHEDULER)
    scheduler.set_timesteps(COGVIDEOX_STEPS)
    timestep = scheduler.timesteps[COGVIDEOX_STEPS // 2]
    _, _, time, height, width = subject.shape
    size = (height // 2, width // 2)
    crops = centred(size, (network.config.sample_height // 2, network.config.sample_width // 2))
    rotary = get_3d_rotary_pos_embed(network.config.attention_head_dim, crops, size, time, device=subject.device)
    first, following = subject.sigmas
    latents = (subject.noise() * first / (1 + first**2) ** 0.5).transpose(1, 2)  # an all-zero clip, noised
    (text, _), (negative, _) = subject.texts()
    embeds = torch.cat([negative, text])

    def ddim() -> torch.Tensor:
        both = scheduler.scale_model_input(torch.cat([latents] * 2), timestep).to(embeds.dtype)
        with torch.no_grad(), network.cache_context("cond_uncond"):
            prediction = network(
                hidden_states=both,
                encoder_hidden_states=embeds,
                timestep=timestep.expand(both.shape[0]).to(both.device),
                image_rotary_emb=rotary,
                return_dict=False,
            )[0]
        stepped = scheduler.step(_guided(prediction), timestep, latents, return_dict=False)[0]
        return stepped.transpose(1, 2) * (1 + following**2) ** 0.5

    return ddim


def _mochi_step(network: torch.nn.Module, subject: Subject, variant: Any) -> Step:
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler, latents = FlowMatchEulerDiscreteScheduler(invert_sigmas=True), subject.noise()
    (text, mask), (negative, negative_mask) = subject.texts()
    embeds, masks = torch.cat([negative, text]), torch.cat([negative_mask, mask]).bool()

    def euler() -> torch.Tensor:
        scheduler.set_timesteps(sigmas=list(subject.sigmas))
        both = torch.cat([latents] * 2).to(embeds.dtype)
        with torch.no_grad(), network.cache_context("cond_uncond"):
            prediction = network(
                hidden_states=both,
                encoder_hidden_states=embeds,
                timestep=scheduler.timesteps[0].expand(both.shape[0]).to(both.device),
                encoder_attention_mask=masks,
                return_dict=False,
            )[0]
        return scheduler.step(_guided(prediction), scheduler.timesteps[0], latents, return_dict=False)[0]

    return euler


def _ltx2_step(network: torch.nn.Module, subject: Subject, variant: Any) -> Step:
    from diffusers import FlowMatchEulerDiscreteScheduler

    schedulers = [FlowMatchEulerDiscreteScheduler() for _ in range(2)]
    (_, _, time, height, width), length = subject.shape, subject.sound[2]
    video, sound = subject.noise().unbind()
    streams = [video.flatten(2).transpose(1, 2), sound.transpose(1, 2).flatten(2)]
    (text, _), (negative, _) = subject.texts()
    widths = [network.config.cross_attention_dim, network.config.audio_cross_attention_dim]
    texts = torch.cat([negative, text]).split(widths, dim=-1)
    places = {
        "video_coords": network.rope.prepare_video_coords(2, time, height, width, subject.device, fps=FPS),
        "audio_coords": network.audio_rope.prepare_audio_coords(2, length, subject.device),
    }

    def euler() -> torch.Tensor:
        for scheduler in schedulers:
            scheduler.set_timesteps(sigmas=[1.0, 0.9])
        moment = schedulers[0].timesteps[0]
        both, both_sounds = (torch.cat([stream] * 2).to(text.dtype) for stream in streams)
        with torch.no_grad(), network.cache_context("cond_uncond"):
            predictions = network(
                hidden_states=both,
                audio_hidden_states=both_sounds,
                encoder_hidden_states=texts[0],
                audio_encoder_hidden_states=texts[1],
                timestep=moment.expand(2),
                sigma=moment.expand(2),
                num_frames=time,
                height=height,
                width=width,
                fps=FPS,
                audio_num_frames=length,
                use_cross_timestep=False,
                return_dict=False,
                **places,
            )
        moved = [
            scheduler.step(_guided(prediction), moment, stream, return_dict=False)[0]
            for scheduler, prediction, stream in zip(schedulers, predictions, streams, strict=True)
        ]
        picture = moved[0].transpose(1, 2).unflatten(2, (time, height, width))
        heard = moved[1].unflatten(2, (sound.shape[1], -1)).transpose(1, 2)
        return torch.cat([picture.flatten(1), heard.flatten(1)], dim=1)[None]

    return euler


def _guided(prediction: torch.Tensor) -> torch.Tensor:
    without, conditional = prediction.float().chunk(2)
    return without + GUIDANCE * (conditional - without)


COGVIDEOX_STEPS = 50
COGVIDEOX_SCHEDULER = {"timestep_spacing": "trailing", "prediction_type": "v_prediction", "clip_sample": False}
COGVIDEOX = {
    "num_layers": 6,
    "num_attention_heads": 16,
    "attention_head_dim": 64,
    "time_embed_dim": 512,
    "text_embed_dim": TEXT_WIDTH,
    "use_rotary_positional_embeddings": True,
    "sample_width": 90,
    "sample_height": 60,
}
MOCHI = {
    "num_layers": 2,
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "pooled_projection_dim": 1536,
    "text_embed_dim": TEXT_WIDTH,
    "time_embed_dim": 256,
}
"""The published width, which ComfyUI's own network requires, and 2 of the 48 layers."""


LTX2 = {
    "num_layers": 6,
    "num_attention_heads": 16,
    "attention_head_dim": 64,
    "cross_attention_dim": 1024,
    "audio_num_attention_heads": 16,
    "audio_attention_head_dim": 32,
    "audio_cross_attention_dim": 512,
    "caption_channels": TEXT_WIDTH,
    "rope_type": "split",
    "gated_attn": True,
    "audio_gated_attn": True,
    "cross_attn_mod": True,
    "audio_cross_attn_mod": True,
    "use_prompt_embeddings": False,
}
"""As LTX-2.3, whose text comes from its connectors as the network reads it."""
LTX2_CONNECTORS = {
    "per_modality_projections": True,
    "video_connector_num_attention_heads": 16,
    "video_connector_attention_head_dim": 64,
    "audio_connector_num_attention_heads": 16,
    "audio_connector_attention_head_dim": 32,
}


def subjects() -> list[Subject]:
    """LTX Video and CogVideoX (in the middle of its 50 steps) with 192 tokens; Mochi 1, with larger layers, with 72;
    LTX-2 with 192 of the picture and 26 of the sound."""
    from atelier.models.families.cogvideox import family as cogvideox
    from diffusers import CogVideoXDDIMScheduler

    scheduler = CogVideoXDDIMScheduler.from_config(dict(cogvideox.SCHEDULER))
    alphas = scheduler.alphas_cumprod.double()
    last = len(alphas) - 1 - len(alphas) // 2
    middle = tuple(((1 - alphas[t]) / alphas[t]).sqrt().item() for t in (last, last - len(alphas) // COGVIDEOX_STEPS))
    ltx, cog, mochi = (
        {"_class_name": f"{name}Transformer3DModel", **config}
        for name, config in (("LTXVideo", NETWORK), ("CogVideoX", COGVIDEOX), ("Mochi", MOCHI))
    )
    subject = Subject(
        "step, Mochi", "MochiPipeline", mochi, _mochi_step, (1, 12, 3, 8, 12), MOCHI_TOKENS, core=core_mochi
    )
    ltx2 = Subject(
        "step, LTX-2",
        "LTX2Pipeline",
        {"_class_name": "LTX2VideoTransformer3DModel", **LTX2},
        _ltx2_step,
        text_width=1024 + 512,
        sound=(1, 8, 26, 16),
        parts={"connectors": LTX2_CONNECTORS},
    )
    return [
        # The version that LTXPipeline and an LTXV without metadata run: later ones count time otherwise.
        Subject("step", "LTXPipeline", ltx, _ltx_step, core=core_ltx, file="ltx-video-2b-v0.9.1"),
        Subject("step, CogVideoX", "CogVideoXPipeline", cog, _cogvideox_step, (1, 16, 4, 12, 16), 226, sigmas=middle),
        subject,
        replace(subject, name="step, Mochi, longest prompt", prompt_tokens=MOCHI_TOKENS),
        ltx2,
    ]


def _relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()
