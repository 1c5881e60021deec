"""One sampler step of our MODEL against LTXPipeline's and against ComfyUI core's own LTXV, on the same weights.

A step is all that a sampler does between two noise levels: conditioning, the network on both halves of the guidance,
the guidance, the Euler update. It is measured in processor time of one thread, which other programs disturb little.
"""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.figure import Figure, interleaved, ratios, seconds_of
from benchmarks.layout import in_original_layout

NETWORK = {
    "num_layers": 8,
    "num_attention_heads": 16,
    "attention_head_dim": 64,
    "cross_attention_dim": 1024,
    "caption_channels": 1024,
}
SHAPE = (1, 128, 4, 6, 8)
"""192 tokens, twice: with and without the prompt."""
TEXT_TOKENS, PROMPT_TOKENS, GUIDANCE, FPS = 128, 12, 3.0, 25.0
ROUNDS = 15

Step = Callable[[], torch.Tensor]


def step() -> list[Figure]:
    """Our MODEL against the same network called as LTXPipeline calls it."""
    model, state = our_model()
    theirs = pipeline_step(model, state)
    return in_sampler(model, lambda ours: _compare_with_pipeline(ours, theirs))


def step_core() -> list[Figure]:
    """Our MODEL against core's LTXV with the same weights, with core's attention for processors and with torch's."""
    model, state = our_model()
    core = core_model(state)
    return in_sampler(model, lambda ours: in_sampler(core, lambda theirs: _compare_with_core(ours, theirs)))


def _compare_with_pipeline(ours: Step, theirs: Step) -> list[Figure]:
    seconds = _timed({"ours": ours, "LTXPipeline": theirs})
    note = f"{seconds_of(seconds)}; latents differ by {_relative(ours(), theirs()):.1e}"
    return [Figure("step", ratios(*seconds.values()), 1.02, note=note)]


def _compare_with_core(ours: Step, theirs: Step) -> list[Figure]:
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
        Figure("step_core", against_core, 1.0, note=f"{seconds_of(seconds)}; {note}"),
        Figure("step_core, sdpa", against_torch, note="core under --use-pytorch-cross-attention; for comparison"),
    ]


def _timed(contenders: dict[str, Step]) -> dict[str, list[float]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return interleaved(ROUNDS, contenders, time.process_time)
    finally:
        torch.set_num_threads(threads)


def our_model() -> tuple[Any, dict[str, torch.Tensor]]:
    """The MODEL over a random float32 network, and the network's weights."""
    from atelier.models import bridge, checkpoint
    from atelier.models.files import Checkpoint, Component

    config = {"_class_name": "LTXVideoTransformer3DModel", **NETWORK}
    family, variant = checkpoint.identify(Checkpoint(Path("random"), Component("network", (), {}, config=config)))
    network = family.network(variant)
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.ones(weight.shape)
        if "norm" in name
        else torch.randn(weight.shape, generator=generator) / max(1, weight.shape[-1]) ** 0.5
        for name, weight in network.state_dict().items()
    }
    bridge.load_weights(network, dict(state), torch.float32, torch.float32)
    return bridge.make_model(family, variant, network, torch.float32, reload=(our_model, ())), state


def core_model(state: dict[str, torch.Tensor]) -> Any:
    """ComfyUI's own MODEL with these weights, loaded as its own loader nodes do."""
    import comfy.sd

    metadata = {"config": json.dumps({"transformer": NETWORK})}
    return comfy.sd.load_diffusion_model_state_dict(in_original_layout(state), {"dtype": torch.float32}, metadata)


def in_sampler(model: Any, measure: Callable[[Step], list[Figure]]) -> list[Figure]:
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
        noise(),
        GUIDANCE,
        comfy.samplers.KSAMPLER(lambda *args, **kwargs: sampler(*args[:3], **kwargs)),
        torch.tensor([1.0, 0.9, 0.0]),
        *([[text, {"attention_mask": mask, "frame_rate": FPS}]] for text, mask in texts()),
        torch.zeros(SHAPE),
        disable_pbar=True,
        seed=0,
    )
    return figures


def pipeline_step(model: Any, state: dict[str, torch.Tensor]) -> Step:
    """A step as the body of LTXPipeline's denoising loop does it, on diffusers' own network."""
    from diffusers import FlowMatchEulerDiscreteScheduler, LTXVideoTransformer3DModel

    with torch.device("meta"):
        network = LTXVideoTransformer3DModel(**NETWORK)
    network.load_state_dict(state, assign=True)
    network.requires_grad_(False).eval()
    scheduler = FlowMatchEulerDiscreteScheduler()
    grid, (_, _, time, height, width) = model.model.variant.grid, SHAPE
    latents = noise().flatten(2).transpose(1, 2)
    (text, mask), (negative, negative_mask) = texts()
    embeds, masks = torch.cat([negative, text]), torch.cat([negative_mask, mask])

    def euler() -> torch.Tensor:
        scheduler.set_timesteps(sigmas=[1.0, 0.9])
        both = torch.cat([latents] * 2).to(embeds.dtype)
        with torch.no_grad(), network.cache_context("cond_uncond"):
            prediction = network(
                hidden_states=both,
                encoder_hidden_states=embeds,
                timestep=scheduler.timesteps[0].expand(both.shape[0]),
                encoder_attention_mask=masks,
                num_frames=time,
                height=height,
                width=width,
                rope_interpolation_scale=(grid.temporal / FPS, grid.spatial, grid.spatial),
                return_dict=False,
            )[0]
        without, conditional = prediction.float().chunk(2)
        guided = without + GUIDANCE * (conditional - without)
        stepped = scheduler.step(guided, scheduler.timesteps[0], latents, return_dict=False)[0]
        return stepped.transpose(1, 2).unflatten(2, (time, height, width))

    return euler


def noise() -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


def texts() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Positive and negative text [1, tokens, width], with masks [1, tokens]."""
    generator = torch.Generator().manual_seed(2)
    mask = (torch.arange(TEXT_TOKENS) < PROMPT_TOKENS).long()[None]
    shape = (1, TEXT_TOKENS, NETWORK["caption_channels"])
    return [(torch.randn(shape, generator=generator), mask) for _ in range(2)]


def _relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()
