"""Speed Up Video: the block evaluations and the time that it saves, and what becomes of the clips.

The built-in models are scored on held-out prompts, read from the pixels. For the other families, which no small model
is trained for, a random network's clips are compared with those that it makes without the node.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import comfyui
import torch
from console import say

from benchmarks.figure import Figure, chosen
from benchmarks.step import Subject, our_model

POCKETS = {"pocket": "models/pocket", "pocket pyramid": "models/pocket_pyramid/diffusion_transformer_pocket"}
WORDS = ("careful", "normal", "fast")
BLOCKS = {"normal": 0.45, "fast": 0.60}
TIME = {"normal": 0.33, "fast": 0.50}
LOSS = 0.02
SEED = 1000
"""Added to the seed of the scored prompts, so that the noise is that of `run.py bench pocket`."""

Clip = tuple[torch.Tensor, float, int]
"""A clip or its latents, the seconds of processor time that its sampling took, and the blocks that it ran."""


def speed(prompts: int = 100, model: str | None = None) -> Iterator[Figure]:
    """The figures of each word, for each built-in model on so many prompts, then for the other families.

    model: a word, if only models with it in their name are measured. Figures come when a model's last clip is done.
    """
    names = chosen([*POCKETS, *RANDOM], model)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in names:
            yield from _of_pocket(name, POCKETS[name], prompts) if name in POCKETS else _of_random(name, RANDOM[name])
    finally:
        torch.set_num_threads(threads)


def _of_pocket(name: str, folder: str, prompts: int) -> Iterator[Figure]:
    from atelier.models.bridge.text_encoder import encode_text
    from atelier.models.bridge.vae import decode
    from atelier.models.loading import load
    from atelier.models.loading.identify import open_model
    from pocket.score import HELD_OUT, figures, held_out

    opened = open_model(comfyui.ROOT / folder)
    model, clip, vae = load.load_model(opened), load.load_clip(opened), load.load_vae(opened)
    scenes, texts, withheld = held_out(prompts)
    negative = encode_text(clip, "")[0]
    clips: dict[str, list[Clip]] = {}
    for number, text in enumerate(texts):
        positive = encode_text(clip, text)[0]
        for word, (latents, *cost) in _each_way(model, positive, negative, HELD_OUT + SEED + number).items():
            video = decode(vae, latents).permute(3, 0, 1, 2) * 2 - 1
            clips.setdefault(word, []).append((video, *cost))
        if number % 10 == 9:
            say(f"  {name}: {number + 1} of {prompts} prompts; so far {_so_far(clips)}")
    scores = {word: figures(torch.stack([clip for clip, *_ in made]), scenes, withheld) for word, made in clips.items()}
    for word in WORDS:
        yield from _savings(f"speed, {name}, {word}", clips["off"], clips[word], BLOCKS.get(word), TIME.get(word))
        lost = {key: scores["off"][key] - scores[word][key] for key in ("all", "color", "motion", "background")}
        note = f"all {scores[word]['all']:.3f}, without {scores['off']['all']:.3f}; of {prompts} prompts; lost "
        note += ", ".join(f"{key} {lost[key]:.3f}" for key in list(lost)[1:])
        yield Figure(f"speed, {name}, {word}, all lost", (lost["all"],), LOSS, note=note)


def _of_random(name: str, config: dict[str, Any]) -> Iterator[Figure]:
    model, _ = our_model(Subject(name, "", config, _no_body))
    clips: dict[str, list[Clip]] = {}
    for seed in range(RANDOM_CLIPS):
        for word, clip in _each_way(model, *_random_texts(model, seed), seed).items():
            clips.setdefault(word, []).append(clip)
    for word in WORDS:
        yield from _savings(f"speed, {name}, {word}", clips["off"], clips[word])


def _so_far(clips: dict[str, list[Clip]]) -> str:
    """What each word saved in these clips: the figures of a run that is stopped before its end."""
    shares = {word: _shares(clips["off"], clips[word]) for word in WORDS}
    return "; ".join(
        f"{word} {ran:.1%} of blocks, {statistics.median(took):.1%} of time" for word, (ran, took) in shares.items()
    )


def _shares(plain: list[Clip], made: list[Clip]) -> tuple[float, tuple[float, ...]]:
    """The share of block evaluations that were saved, and that of the processor time of each clip."""
    ran, would = (sum(count for *_, count in clips) for clips in (made, plain))
    return 1 - ran / would, tuple(1 - own / whole for (_, own, _), (_, whole, _) in zip(made, plain, strict=True))


def _savings(
    name: str, plain: list[Clip], made: list[Clip], blocks: float | None = None, seconds: float | None = None
) -> Iterator[Figure]:
    """The shares of block evaluations and of processor time that were saved; the note has the difference in dB."""
    ran, took = _shares(plain, made)
    likeness = statistics.fmean(_psnr(clip, reference) for (clip, *_), (reference, *_) in zip(made, plain, strict=True))
    note = f"PSNR against the clip without it {likeness:.1f} dB"
    yield Figure(f"{name}, blocks saved", (ran,), blocks, at_least=True, note=note)
    totals = ", ".join(f"{sum(s for _, s, _ in clips) / len(clips):.2f} s" for clips in (made, plain))
    yield Figure(f"{name}, time saved", took, seconds, at_least=True, note=f"{totals} a clip")


def _each_way(model: Any, positive: list, negative: list, seed: int) -> dict[str, Clip]:
    """A clip without the node and one with each word; every other seed in reverse order, to be fair to all."""
    from atelier.models.bridge.sampling import empty_latent, sample, with_frame_rate
    from atelier.models.bridge.wrappers.speed import with_step_cache

    inner = model.model
    recipe, variant = inner.variant.recipe, inner.variant
    grid, size = variant.grid, (recipe.width, recipe.height, recipe.frames)
    if grid.spatial * 8 < recipe.width:  # not a built-in model
        width, height, frames = SIZE
        size = grid.legal_side(width), grid.legal_side(height), grid.legal_frames(frames)
    latent = empty_latent(grid.latent_shape(*size), recipe.fps)
    sigmas = inner.family.schedule(variant, recipe.steps, tuple(latent["samples"].shape))
    texts = [with_frame_rate(text, latent) for text in (positive, negative)]
    clips = {}
    for word in ("off", *WORDS)[:: -1 if seed % 2 else 1]:
        sped_up = with_step_cache(model, word)
        with counted(model.model.diffusion_model) as ran:
            started = time.process_time()
            sampled = sample(sped_up, latent, *texts, seed=seed, sigmas=sigmas)["samples"]
            clips[word] = sampled, time.process_time() - started, ran()
    return clips


@contextmanager
def counted(network: Any) -> Iterator[Callable[[], int]]:
    """Inside, the result tells how many blocks of the network have run: each runs its first layer once."""
    ran = []
    blocks = [block for kind in network.block_kinds for block in getattr(network, kind.blocks)]
    hooks = [next(block.children()).register_forward_hook(lambda *_: ran.append(1)) for block in blocks]
    try:
        yield lambda: len(ran)
    finally:
        for hook in hooks:
            hook.remove()


def _psnr(clip: torch.Tensor, reference: torch.Tensor) -> float:
    """In dB, of the range of the reference's values."""
    peak, error = reference.max() - reference.min(), (clip - reference).square().mean()
    return (10 * torch.log10(peak**2 / error.clamp(min=1e-12))).item()


# ------------------------------------------------------------------------------------------------ random networks

SIZE = (128, 96, 25)
RANDOM_CLIPS = 2
POOLED = 64
WIDE = {"num_attention_heads": 4, "attention_head_dim": 64, "num_layers": 6}
RANDOM = {
    "CogVideoX, random": {
        "_class_name": "CogVideoXTransformer3DModel",
        **WIDE,
        "time_embed_dim": 512,
        "text_embed_dim": 1024,
        "use_rotary_positional_embeddings": True,
        "sample_width": 90,
        "sample_height": 60,
    },
    "Mochi, random": {
        "_class_name": "MochiTransformer3DModel",
        **WIDE,
        "pooled_projection_dim": 256,
        "text_embed_dim": 1024,
        "time_embed_dim": 256,
    },
    "Pyramid Flow, random": {
        "_class_name": "PyramidFluxTransformer",
        **WIDE,
        "num_layers": 2,
        "num_single_layers": 4,
        "pooled_projection_dim": POOLED,
        "joint_attention_dim": 1024,
    },
}


def _no_body(*_: Any) -> Any:
    raise NotImplementedError("only our step is run")


def _random_texts(model: Any, seed: int) -> list[list]:
    """Positive and negative text, of which 12 and 5 tokens are prompt, with CLIP's pooled text."""
    text, generator = model.model.variant.text, torch.Generator().manual_seed(seed)
    words = [torch.randn(1, text.tokens, text.channels, generator=generator) for _ in range(2)]
    masks = [(torch.arange(text.tokens) < length).long()[None] for length in (12, 5)]
    pooled = torch.randn(2, 1, POOLED, generator=generator)
    return [
        [[tokens, {"attention_mask": mask, "pooled_output": clips}]]
        for tokens, mask, clips in zip(words, masks, pooled, strict=True)
    ]
