"""LTX Video (Lightricks) 0.9.0 to 0.9.8, 2B and 13B, dev and distilled: diffusers' network, autoencoder, schedule.

Sources: arXiv 2501.00103; the model cards of Lightricks/LTX-Video, -0.9.5, -0.9.7-dev, -0.9.7-distilled and
-0.9.8-13B-distilled.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from ...contract.family import Family, Recipe, Text, Variant
from ...contract.grid import Grid, Shape
from ...contract.schedule import shift_of_tokens
from ...weights.checkpoint import Checkpoint, Component
from .autoencoder import build_autoencoder, grid_of
from .known_frames import PerToken
from .layouts import network_state
from .network import build_network

GRID = Grid(channels=128, temporal=8, spatial=32)
NEGATIVE = "worst quality, inconsistent motion, blurry, jittery, distorted"
RECIPE_2B = Recipe(704, 480, 161, fps=25, steps=50, guidance=3.0, negative_prompt=NEGATIVE)
RECIPE_13B = Recipe(832, 480, 97, fps=25, steps=30, guidance=3.0, negative_prompt=NEGATIVE)
# The published scheduler_config.json: the shift grows with the token count, the tail is stretched to end at 0.1.
SCHEDULER = {
    "use_dynamic_shifting": True,
    "base_shift": 0.95,
    "max_shift": 2.05,
    "base_image_seq_len": 1024,
    "max_image_seq_len": 4096,
    "shift_terminal": 0.1,
}
# `allowed_inference_steps` of the distilled checkpoints.
DISTILLED_SIGMAS = (1.0, 0.9937, 0.9875, 0.9812, 0.975, 0.9094, 0.725, 0.4219)


def recognise(checkpoint: Checkpoint) -> Variant | None:
    """The LTX variant of a folder or file, from config and keys; None when it is another model."""
    network = checkpoint.network
    if "audio_patchify_proj.weight" in network.shapes:
        return None  # LTX-2: the same names, another network
    if network.config:
        if network.config.get("_class_name") != "LTXVideoTransformer3DModel":
            return None
        config = network.arguments
    elif "patchify_proj.weight" in network.shapes or "proj_in.weight" in network.shapes and _looks_like_ltx(network):
        config = _network_config(network, checkpoint.metadata.get("transformer", {}))
    else:
        return None
    return _variant(checkpoint, config)


def _looks_like_ltx(network: Component) -> bool:
    block = "transformer_blocks.0."
    return "time_embed.linear.weight" in network.shapes and block + "attn2.norm_q.weight" in network.shapes


def _network_config(network: Component, metadata: dict[str, Any]) -> dict[str, Any]:
    """The network's arguments, read from the weights' shapes. All published sizes have 32 heads."""
    shapes = network.shapes
    stem = "patchify_proj" if "patchify_proj.weight" in shapes else "proj_in"
    width, channels = shapes[f"{stem}.weight"]
    heads = metadata.get("num_attention_heads", 32)
    return {
        "in_channels": channels,
        "out_channels": shapes["proj_out.weight"][0],
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "cross_attention_dim": shapes["transformer_blocks.0.attn2.to_k.weight"][1],
        "num_layers": 1 + max(int(k.split(".")[1]) for k in shapes if k.startswith("transformer_blocks.")),
        "caption_channels": shapes["caption_projection.linear_1.weight"][1],
    }


def _variant(checkpoint: Checkpoint, config: dict[str, Any]) -> Variant:
    width = config.get("num_attention_heads", 32) * config.get("attention_head_dim", 64)
    recipe, size = (RECIPE_13B, "13B") if width >= 4096 else (RECIPE_2B, "2B")
    scheduler = {**SCHEDULER, **checkpoint.scheduler}
    distilled = _is_distilled(checkpoint)
    if distilled:
        recipe = replace(recipe, steps=len(DISTILLED_SIGMAS), guidance=1.0, negative_prompt="")
        scheduler["distilled"] = True
    return Variant(
        name=f"LTX Video {size}{' distilled' if distilled else ''}",
        grid=_grid(checkpoint, config.get("in_channels", 128)),
        recipe=recipe,
        network=config,
        text=Text(tokens=128, channels=config.get("caption_channels", 4096)),
        known_frames=PerToken(),
        scheduler=scheduler,
    )


def _is_distilled(checkpoint: Checkpoint) -> bool:
    # Architecture and most configs are the same: Lightricks tells them apart by the steps in the file's metadata
    # and by name.
    steps = checkpoint.metadata.get("scheduler", {}).get("allowed_inference_steps")
    return bool(steps) or "distilled" in checkpoint.path.name.lower()


def _grid(checkpoint: Checkpoint, channels: int) -> Grid:
    config = checkpoint.vae.config if checkpoint.vae else {}
    return grid_of(config) if config else replace(GRID, channels=channels)


def schedule(variant: Variant, steps: int, latent_shape: Shape) -> torch.Tensor:
    """Sigmas [steps + 1] as LTXPipeline has them: shifted by the token count, tail stretched; distilled: a fixed list.

    latent_shape: [B, C, T, H, W]. Distilled models take at most 8 steps, spread over the list they were trained on.
    """
    if variant.scheduler.get("distilled"):
        chosen = np.linspace(0, len(DISTILLED_SIGMAS) - 1, min(steps, len(DISTILLED_SIGMAS))).round().astype(int)
        return torch.tensor([*(DISTILLED_SIGMAS[i] for i in chosen), 0.0])
    if steps == 1:  # there is no tail, and diffusers' stretching of it divides zero by zero
        return torch.tensor([1.0, 0.0])
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(dict(variant.scheduler))
    mu = shift_of_tokens(scheduler.config, int(np.prod(latent_shape[2:])))
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    return scheduler.sigmas.float()


FAMILY = Family(
    name="LTX Video",
    recognise=recognise,
    network=build_network,
    network_state=network_state,
    autoencoder=build_autoencoder,
    schedule=schedule,
    preview="LTXV",
    own_scheduler={"_class_name": ("FlowMatchEulerDiscreteScheduler",), "invert_sigmas": (False,)},
)
