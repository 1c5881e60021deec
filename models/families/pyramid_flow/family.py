"""Pyramid Flow's two families, miniflux and SD3: their recipes, and how a checkpoint is recognised.

They are two families because they read different text encoders and scale latents differently. All else is shared.
Sources: the model cards of rain1011/pyramid-flow-miniflux and -sd3.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from ...contract.family import Family, Recipe, Text, Variant
from ...contract.grid import Shape
from ...weights.checkpoint import Checkpoint
from ...weights.key_names import blocks_of
from .autoencoder import GRID, build_autoencoder
from .causal_vae import STATISTICS, LatentStatistics
from .known_frames import History
from .layouts import network_state
from .network import MinifluxNetwork, SD3Network, build_network
from .schedule import stage_sigmas
from .shot import sample_shot

# Its authors append that style's words to every prompt, in their pipeline.
TEXT = Text(tokens=128, encoder_sees_padding=False, style="hyper quality (Pyramid Flow's own)")
NEGATIVE = (
    "cartoon style, worst quality, low quality, blurry, absolute black, absolute white, low res, extra limbs, "
    "extra digits, misplaced objects, mutated anatomy, monochrome, horror"
)
RECIPES = {
    "384p": Recipe(640, 384, 121, fps=24, steps=10, guidance=5.0, negative_prompt=NEGATIVE),
    "768p": Recipe(1280, 768, 121, fps=24, steps=10, guidance=5.0, negative_prompt=NEGATIVE),
    # The first frame's guidance is then the authors' 9 (image_generation_demo.ipynb), see `shot.settings`.
    "image": Recipe(1024, 1024, 1, fps=24, steps=10, guidance=19 / 3, negative_prompt=NEGATIVE),
}
TRAINED_FRAMES = {"384p": 16, "768p": 31, "image": 1}  # latent frames

# The published networks' head width, which distinguishes miniflux from FLUX.1, whose keys are the same.
HEAD_WIDTH = 64


def recognise(kind: type, checkpoint: Checkpoint) -> Variant | None:
    """The variant of a folder or file with this kind of network, from config or keys; None if it is another."""
    network = checkpoint.network
    if network.config:
        if network.config.get("_class_name") != kind.published:
            return None
        known = inspect.signature(kind.transformer).parameters
        config = {key: value for key, value in network.config.items() if key in known}
    else:
        shapes = {key.removeprefix("dit."): shape for key, shape in network.shapes.items()}
        own = {f"{kind.embedder}.weight", "time_text_embed.text_embedder.linear_1.weight"}
        if shapes.get(f"transformer_blocks.0.attn.{kind.text_norm}_q.weight") != (HEAD_WIDTH,) or own - shapes.keys():
            return None
        config = _network_config(shapes)
    size = next((size for size in ("384p", "image") if size in checkpoint.path.name.lower()), "768p")
    text = replace(
        TEXT,
        channels=config.get("joint_attention_dim", TEXT.channels),
        pooled=kind.pooled,
        pooled_projected="clip_g" in kind.pooled,
    )
    name = f"Pyramid Flow {kind.label} {size}"
    frames = checkpoint.recipe.get("frames")
    scheduler = {"trained_frames": GRID.latent_shape(8, 8, frames)[2] if frames else TRAINED_FRAMES[size]}
    return Variant(name, GRID, RECIPES[size], config, text, History(), scheduler)


def _network_config(shapes: dict[str, Shape]) -> dict[str, Any]:
    """A network's arguments, read from the shapes of its weights; the rest is as published."""
    pooled, text = shapes["time_text_embed.text_embedder.linear_1.weight"], shapes["context_embedder.weight"]
    config = {
        "num_layers": blocks_of(shapes, "transformer_blocks"),
        "num_attention_heads": text[0] // HEAD_WIDTH,
        "attention_head_dim": HEAD_WIDTH,
        "joint_attention_dim": text[1],
        "pooled_projection_dim": pooled[1],
    }
    singles = blocks_of(shapes, "single_transformer_blocks")
    return config | ({"num_single_layers": singles} if singles else {})


def schedule(variant: Variant, steps: int, latent_shape: Shape) -> torch.Tensor:
    """The sigmas [steps + 1] of one stage of a frame; all stages of all frames after the first have the same."""
    return torch.tensor(stage_sigmas(steps))


def _family(name: str, kind: type, statistics: LatentStatistics) -> Family:
    return Family(
        name=name,
        recognise=partial(recognise, kind),
        network=partial(build_network, kind),
        network_state=network_state,
        autoencoder=partial(build_autoencoder, statistics),
        schedule=schedule,
        sample=sample_shot,
    )


FAMILIES = (
    _family("Pyramid Flow miniflux", MinifluxNetwork, STATISTICS["miniflux"]),
    _family("Pyramid Flow SD3", SD3Network, STATISTICS["sd3"]),
)
