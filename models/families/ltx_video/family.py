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

from ...contract.family import Family, Text, Variant
from ...contract.grid import Grid, Shape
from ...contract.schedule import linear_quadratic, shift_of_tokens
from ...weights.checkpoint import Checkpoint, Component
from ...weights.errors import CheckpointError
from ...weights.key_names import blocks_of
from .autoencoder import build_autoencoder, grid_of
from .known_frames import PerToken
from .layouts import network_state, vae_version
from .network import CAUSAL, build_network
from .upscaler import build_upscaler
from .versions import Version, version_of

GRID = Grid(channels=128, temporal=8, spatial=32)
# The scheduler_config.json of 0.9.0 and 0.9.1: the shift grows with the token count, the tail ends at 0.1.
SCHEDULER = {
    "use_dynamic_shifting": True,
    "base_shift": 0.95,
    "max_shift": 2.05,
    "base_image_seq_len": 1024,
    "max_image_seq_len": 4096,
    "shift_terminal": 0.1,
}
LINEAR_QUADRATIC = "LinearQuadratic"
"""What files from 0.9.5 on say of their `sampler`."""
CORE_SHIFT = 2.37
"""ComfyUI's own figure, for its schedulers on a model whose file says nothing: the model's own schedule has none."""
WIDTH_13B = 4096


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
        metadata = checkpoint.metadata.get("transformer", {})
        config = _network_config(network, metadata)
        _check_metadata(checkpoint, metadata, config)
    else:
        return None
    return _variant(checkpoint, config)


def _check_metadata(checkpoint: Checkpoint, metadata: dict[str, Any], config: dict[str, Any]) -> None:
    """Raise CheckpointError where a file's metadata describe a network of another size than its weights."""
    wrong = [name for name, value in config.items() if metadata.get(name, value) != value]
    if wrong:
        name = wrong[0]
        raise CheckpointError(
            f"The metadata of {checkpoint.path.name} contradicts its weights: {name} is {metadata[name]} in the one, "
            f"{config[name]} in the other. It was put together from two models: download it again."
        )


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
        "num_layers": blocks_of(shapes, "transformer_blocks"),
        "caption_channels": shapes["caption_projection.linear_1.weight"][1],
    }


def _variant(checkpoint: Checkpoint, config: dict[str, Any]) -> Variant:
    width = config.get("num_attention_heads", 32) * config.get("attention_head_dim", 64)
    version = version_of(checkpoint, width >= WIDTH_13B, vae_version(checkpoint.vae))
    # The versions that count frames were trained on keyframes. A recipe.json may say what was not.
    causal = checkpoint.recipe.get("network", {}).get(CAUSAL, version.causal)
    return Variant(
        name=version.name,
        grid=_grid(checkpoint, config.get("in_channels", 128)),
        recipe=version.recipe,
        network={**config, CAUSAL: version.causal},
        text=Text(
            version.tokens, channels=config.get("caption_channels", 4096), encoder_sees_padding=False, relayed=True
        ),
        known_frames=PerToken(keyframes=causal),
        scheduler=_scheduler(checkpoint, version),
        sampler=version.sampler,
        guidance=version.guidance,
        second_pass=version.second_pass,
        notes=version.notes,
        autoencoders=version.autoencoders,
    )


def _scheduler(checkpoint: Checkpoint, version: Version) -> dict[str, Any]:
    if not version.linear_quadratic:
        return {**SCHEDULER, **checkpoint.scheduler}
    return {"shift": CORE_SHIFT, **checkpoint.scheduler, "sampler": LINEAR_QUADRATIC, "sigmas": version.sigmas}


def _grid(checkpoint: Checkpoint, channels: int) -> Grid:
    config = checkpoint.vae.config if checkpoint.vae else {}
    return grid_of(config) if config else replace(GRID, channels=channels)


def schedule(variant: Variant, steps: int, latent_shape: Shape) -> torch.Tensor:
    """Sigmas [steps + 1] of the authors' pipeline: linear-quadratic from 0.9.5 on.

    0.9.0 and 0.9.1: shifted by the token count, the tail stretched. Distilled: at most as many as it was trained on,
    spread over these. latent_shape: [B, C, T, H, W].
    """
    config = dict(variant.scheduler)
    sampler, trained = config.pop("sampler", None), config.pop("sigmas", ())
    if trained:
        chosen = np.linspace(0, len(trained) - 1, min(steps, len(trained))).round().astype(int)
        return torch.tensor([*(trained[i] for i in chosen), 0.0])
    if sampler == LINEAR_QUADRATIC:
        return linear_quadratic(steps)
    if steps == 1:  # there is no tail, and diffusers' stretching of it divides zero by zero
        return torch.tensor([1.0, 0.0])
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(SCHEDULER | config)
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
    autoencoder_version=vae_version,
    upscaler=build_upscaler,
    own_scheduler={"_class_name": ("FlowMatchEulerDiscreteScheduler",), "invert_sigmas": (False,)},
)
