""" "One graphics card in at most eight minutes: each family at real size with random weights.

A step of ours beside that of diffusers' pipeline and of ComfyUI core's MODEL on the same weights, in other number
formats, with SageAttention, and compiled; the decoding of the recipe's clip; the peak of memory. What does not fit into
a family's share of the time is left out, and named. The pipelines that are compared with are those of `bench step`.
"""

import gc
import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from unittest.mock import patch

import comfyui
import torch
from console import Problem, say

from benchmarks import step
from benchmarks.allocated import Allocated
from benchmarks.decode import autoencoders, with_weights
from benchmarks.figure import Figure, chosen, ratios

SECONDS = 440.0
"""For everything; starting and loading ComfyUI takes some of the eight minutes."""
ROUNDS = 3
COMPILES = 90.0
"""Seconds that compiling a network of 28 blocks may take; it cannot be stopped."""
FORMATS = {"fp8": torch.float8_e4m3fn, "fp16": torch.float16}
STEPS = {"LTX Video": "step", "CogVideoX": "step, CogVideoX", "Mochi": "step, Mochi"}
PUBLISHED = {
    "LTX Video": "ltx-2b-0.9.1",
    "CogVideoX": "cogvideox-5b",
    "Pyramid Flow": "pyramid-miniflux-384p",
    "Mochi": "mochi-1-preview",
}
CORE = {"LTX Video": step.core_ltx, "Mochi": step.core_mochi}
TINY = {
    "LTX Video": {"num_layers": 2, "num_attention_heads": 4, "cross_attention_dim": 256},
    "CogVideoX": {"num_layers": 2, "num_attention_heads": 4},
    "Pyramid Flow": {"num_layers": 1, "num_single_layers": 2, "num_attention_heads": 4},
    "Mochi": {"num_layers": 1},
}
"""Instead of the published sizes. Core's Mochi network has one width."""
PROMPT_TOKENS = 60


@dataclass(frozen=True)
class Cost:
    """What a run takes: seconds of each round, and the peak of memory in bytes (on a card with the weights)."""

    seconds: tuple[float, ...]
    peak: int

    def __str__(self) -> str:
        return f"{min(self.seconds):.3f} s, peak {self.peak / 2**30:.2f} GiB"


@dataclass
class Place:
    """Where it is measured, and until when. until: of the family that is measured now."""

    tiny: bool
    end: float = field(default_factory=lambda: time.monotonic() + SECONDS)
    until: float = 0.0

    @property
    def device(self) -> str:
        return "cpu" if self.tiny else "cuda"

    @property
    def dtype(self) -> torch.dtype:
        """What networks compute in. On a processor it is ComfyUI's choice: most take several times as long in bf16."""
        return torch.float32 if self.tiny else torch.bfloat16

    def begin(self, families_left: int) -> None:
        """Give the next family its share of the time."""
        now = time.monotonic()
        self.until = now + (self.end - now) / families_left

    def left(self) -> float:
        return self.until - time.monotonic()

    def cost(self, run: Callable[[], object]) -> Cost:
        """Of a run behind one that warms up, on a card of up to ROUNDS."""
        if self.tiny:
            with Allocated([]) as allocated:
                run()
            return Cost((self._seconds(run),), allocated.peak)
        run()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        seconds = [self._seconds(run)]
        while len(seconds) < ROUNDS and self.left() > seconds[-1]:
            seconds.append(self._seconds(run))
        return Cost(tuple(seconds), torch.cuda.max_memory_allocated())

    def _seconds(self, run: Callable[[], object]) -> float:
        started = time.perf_counter()
        run()
        if not self.tiny:
            torch.cuda.synchronize()
        return time.perf_counter() - started

    def free(self) -> None:
        """Take the models that no one uses any more off the card."""
        import comfy.model_management as memory

        memory.unload_all_models()
        gc.collect()
        memory.soft_empty_cache()


def gpu(tiny: bool = False, model: str | None = None) -> Iterator[Figure]:
    """The figures of every family, or of those with the word `model` in their name.

    tiny: small networks and clips, on a processor.
    """
    place, names = Place(tiny), chosen([*PUBLISHED], model)
    if not tiny:
        about = torch.cuda.get_device_properties(0)
        say(f"{about.name}, {about.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")
    for number, name in enumerate(names):
        place.begin(len(names) - number)
        subject = subject_of(name, place)
        for measure in (_steps, _decoding, _formats, _sage, _compiled) if name in STEPS else (_frames, _decoding):
            yield from _in_time(place, name, measure, subject)
            place.free()


def _in_time(place: Place, name: str, measure: Callable, subject: step.Subject) -> Iterator[Figure]:
    what = measure.__name__.strip("_")
    if place.left() <= 0:
        say(f"gpu, {name}: {what} left out, its share of the time is over")
        return
    try:
        yield from measure(place, name, subject)
    except torch.cuda.OutOfMemoryError:
        say(f"gpu, {name}: {what} left out, it does not fit into the card's memory")


def subject_of(name: str, place: Place) -> step.Subject:
    """The published network and the recipe's clip; smaller ones if tiny."""
    published = json.loads((comfyui.ROOT / "tests" / "published" / f"{PUBLISHED[name]}.json").read_text("utf-8"))
    config = published["transformer"] | (TINY[name] if place.tiny else {})
    plain = {subject.name: subject for subject in step.subjects()}.get(STEPS.get(name, ""))
    plain = plain or step.Subject(name, "", {}, _no_pipeline)
    arguments = {key: value for key, value in config.items() if key != "_class_name"}
    core = CORE.get(name) and partial(CORE[name], network=arguments, dtype=place.dtype)
    text = published["text"]["max_tokens"]
    width = config.get("caption_channels") or config.get("text_embed_dim") or config["joint_attention_dim"]
    made = {"config": config, "core": core, "text_width": width, "text_tokens": text, "device": place.device}
    subject = replace(plain, **made, prompt_tokens=min(PROMPT_TOKENS, text), dtype=place.dtype)
    return replace(subject, shape=clip_of(subject, place))


def clip_of(subject: step.Subject, place: Place) -> tuple[int, ...]:
    """The shape of the recipe's latents; of the smallest clip of several frames if tiny."""
    _, variant = step.variant_of(subject)
    recipe, grid = variant.recipe, variant.grid
    if place.tiny:
        side = grid.legal_side(64)
        return grid.latent_shape(side, side, grid.legal_frames(9))
    return grid.latent_shape(recipe.width, recipe.height, recipe.frames)


def _no_pipeline(*_: Any) -> step.Step:
    raise Problem("diffusers has no pipeline of this family")


# ------------------------------------------------------------------------------------------------ what is measured


def _steps(place: Place, name: str, subject: step.Subject) -> Iterator[Figure]:
    """A step of ours over the pipeline's and over core's, on the same weights, one after the other."""
    model, state = step.our_model(subject)
    costs = {"ours": _in_sampler(place, model, subject)}
    variant = model.model.variant
    del model
    place.free()
    theirs = subject.body(step.diffusers_network(subject, state), subject, variant)
    costs[subject.pipeline] = place.cost(theirs)
    del theirs
    yield _over(place, f"gpu, {name}, step", costs, subject.pipeline, 1.02)
    if subject.core is None:
        say(f"gpu, {name}: this ComfyUI has no network of its own to compare with")
    elif place.left() > 0:
        core = subject.core(state)
        del state
        costs["core"] = _in_sampler(place, core, subject)
        yield _over(place, f"gpu, {name}, step over core", costs, "core", 1.02)


def _frames(place: Place, name: str, subject: step.Subject) -> Iterator[Figure]:
    """Pyramid Flow, which diffusers and core do not have: seconds of two latent frames, a step at each resolution."""
    from atelier.models.bridge.sampling import empty_latent, sample

    model, _ = step.our_model(subject)
    pooled = {"pooled_output": torch.randn(1, subject.config["pooled_projection_dim"])}
    texts = [[[text.float(), {"attention_mask": mask, **pooled}]] for text, mask in subject.texts()]
    latent = empty_latent((*subject.shape[:2], 2, *subject.shape[3:]), step.FPS)
    sigmas = model.model.family.schedule(model.model.variant, 1, tuple(latent["samples"].shape))
    cost = place.cost(lambda: sample(model, latent, *texts, seed=1, sigmas=sigmas, guidance=step.GUIDANCE))
    yield Figure(f"gpu, {name}, two frames", cost.seconds, unit=" s", note=f"9 steps, {cost}")


def _decoding(place: Place, name: str, subject: step.Subject) -> Iterator[Figure]:
    """The recipe's clip through the family's autoencoder of published size."""
    from atelier.models.bridge.vae import decode_stream, make_vae

    vae = make_vae(with_weights(autoencoders()[name]))
    grid = vae.first_stage_model.autoencoder.grid
    latents = torch.randn(1, grid.channels, *subject.shape[2:])
    frames = 0

    def decode() -> None:
        nonlocal frames
        frames = sum(len(piece) for piece in decode_stream(vae, latents))

    cost = place.cost(decode)
    height, width = (side * grid.spatial for side in latents.shape[3:])
    yield Figure(f"gpu, {name}, decoding", cost.seconds, unit=" s", note=f"{frames} frames, {width} x {height}; {cost}")


def _formats(place: Place, name: str, subject: step.Subject) -> Iterator[Figure]:
    """Weights in fp8, and weights and arithmetic in fp16, over bf16 (on a processor, over fp32)."""
    model, _ = step.our_model(subject)
    plain = "fp32" if place.tiny else "bf16"
    costs = {plain: _in_sampler(place, model, subject)}
    computes = model.model.variant.dtypes
    for word, dtype in FORMATS.items():
        del model
        place.free()
        if dtype is torch.float16 and "float16" not in computes:
            say(f"gpu, {name}: its values overflow in fp16")
            return
        if place.left() <= 0:
            say(f"gpu, {name}: {word} left out, its share of the time is over")
            return
        computed = replace(subject, dtype=dtype) if dtype is torch.float16 else subject
        model, _ = step.our_model(computed, storage=dtype)
        costs[word] = _in_sampler(place, model, computed)
        yield _over(place, f"gpu, {name}, {word}", {word: costs[word], plain: costs[plain]}, plain)


def _sage(place: Place, name: str, subject: step.Subject) -> Iterator[Figure]:
    """SageAttention over PyTorch's, where it is installed."""
    from comfy.ldm.modules import attention

    if importlib.util.find_spec("sageattention") is None:
        say(f"gpu, {name}: SageAttention is not installed")
        return
    model, _ = step.our_model(subject)
    costs = {"torch": _in_sampler(place, model, subject)}
    with patch.object(attention, "optimized_attention", attention.attention_sage):
        costs["sage"] = _in_sampler(place, model, subject)
    yield _over(place, f"gpu, {name}, sage", {word: costs[word] for word in ("sage", "torch")}, "torch")


def _compiled(place: Place, name: str, subject: step.Subject) -> Iterator[Figure]:
    """TorchCompileModel over none. On a processor the graph is taken, but not compiled, which needs C++ and minutes."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    if place.left() < COMPILES and not place.tiny:
        say(f"gpu, {name}: compiling left out, {place.left():.0f} s are too few")
        return
    model, _ = step.our_model(subject)
    costs = {"plain": _in_sampler(place, model, subject)}
    compiled, started = model.clone(), time.monotonic()
    set_torch_compile_wrapper(model=compiled, backend="eager" if place.tiny else "inductor")
    costs["compiled"] = _in_sampler(place, compiled, subject)
    took = f"with its compiling {time.monotonic() - started:.0f} s"
    costs = {word: costs[word] for word in ("compiled", "plain")}
    yield _over(place, f"gpu, {name}, compiled", costs, "plain", note=took)
    torch._dynamo.reset()


def _in_sampler(place: Place, model: Any, subject: step.Subject) -> Cost:
    """A step of this MODEL inside ComfyUI's sampling."""
    costs: list[Cost] = []
    step.in_sampler(model, subject, lambda euler: costs.append(place.cost(euler)) or [])
    return costs[0]


def _over(
    place: Place, name: str, costs: dict[str, Cost], other: str, target: float | None = None, note: str = ""
) -> Figure:
    """The first of the costs over another. There is a target only on a card."""
    first = next(iter(costs.values()))
    shown = "; ".join(filter(None, (*(f"{word} {costs[word]}" for word in (next(iter(costs)), other)), note)))
    rounds = min(len(first.seconds), len(costs[other].seconds))
    over = ratios(first.seconds[:rounds], costs[other].seconds[:rounds])
    return Figure(name, over, None if place.tiny else target, note=shown)
