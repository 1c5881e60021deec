"""Mochi 1 preview (Genmo): its recipe, its linear-quadratic schedule, and how a checkpoint is recognised.

Sources: Genmo's own settings, demos/cli.py of github.com/genmoai/mochi (848 x 480, 163 frames at 30 fps, 64 steps,
guidance 6.0; earlier it was 4.5, which diffusers' card of genmo/mochi-1-preview still has, with 85 frames).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ...contract.family import Family, Recipe, Text, Variant
from ...contract.grid import Grid, Shape
from ...contract.known_frames import KnownFrames
from ...contract.schedule import linear_quadratic
from ...weights.checkpoint import Checkpoint
from ...weights.key_names import blocks_of, renamed
from .autoencoder import build_autoencoder
from .layouts import NETWORK_NAMES, network_state
from .network import build_network

GRID = Grid(channels=12, temporal=6, spatial=8, patch=(1, 2))
RECIPE = Recipe(848, 480, 163, fps=30, steps=64, guidance=6.0)
# Genmo's code gives an empty (negative) prompt to neither the encoder nor the network.
TEXT = Text(tokens=256, encoder_sees_padding=False, empty_is_nothing=True)
# ComfyUI's shift for Mochi under ComfyUI's own schedulers. Mochi's schedule has none.
SCHEDULER = {"shift": 6.0}


def recognise(checkpoint: Checkpoint) -> Variant | None:
    """Mochi 1, from config or keys; None if it is another model."""
    network = checkpoint.network
    if network.config:
        if network.config.get("_class_name") != "MochiTransformer3DModel":
            return None
        config = network.arguments
    elif {"t5_yproj.weight", "time_embed.caption_proj.weight"} & network.shapes.keys():
        config = _network_config(network.shapes)
    else:
        return None
    return Variant(
        name="Mochi 1",
        grid=GRID,
        recipe=RECIPE,
        network=config,
        text=replace(TEXT, channels=config.get("text_embed_dim", TEXT.channels)),
        known_frames=KnownFrames(),
        scheduler=SCHEDULER,
    )


def _network_config(shapes: dict[str, Shape]) -> dict[str, Any]:
    """The network's arguments, read from the weights' shapes."""
    named = {renamed(key, NETWORK_NAMES): shape for key, shape in shapes.items()}
    _, heads, frequencies = named["pos_frequencies"]
    pooled, text = named["time_embed.caption_proj.weight"]
    return {
        "num_attention_heads": heads,
        "attention_head_dim": 2 * frequencies,
        "num_layers": blocks_of(named, "transformer_blocks"),
        "pooled_projection_dim": pooled,
        "in_channels": named["patch_embed.proj.weight"][1],
        "text_embed_dim": text,
        "time_embed_dim": named["time_embed.timestep_embedder.linear_1.weight"][1],
    }


def schedule(variant: Variant, steps: int, latent_shape: Shape) -> torch.Tensor:
    """Sigmas [steps + 1] as in MochiPipeline."""
    return linear_quadratic(steps)


FAMILY = Family(
    name="Mochi 1",
    recognise=recognise,
    network=build_network,
    network_state=network_state,
    autoencoder=build_autoencoder,
    schedule=schedule,
    preview="Mochi",
    own_scheduler={"_class_name": ("FlowMatchEulerDiscreteScheduler",), "invert_sigmas": (True,)},
)
