"""LTX-2 (Lightricks) 2.0 and 2.3, dev and distilled: diffusers' network, autoencoders, vocoder and schedule.

Sources: github.com/Lightricks/LTX-2 (guidance, schedule, front end of the sound), the model cards of Lightricks/LTX-2
and LTX-2.3, diffusers' conversion script (key names, configurations).

This file imports nothing that a diffusers without LTX-2 lacks: with such a version, the pack still recognises the files
and says what is missing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from ...contract.family import Family, Recipe, Text, Variant
from ...contract.grid import Grid, Shape, SoundGrid
from ...contract.guidance import SecondPass, StreamGuidance, StreamScale
from ...weights.checkpoint import Checkpoint, Component
from ...weights.errors import CheckpointError
from ...weights.key_names import blocks_of
from .known_frames import PerToken
from .layouts import CONNECTORS, PARTS, is_connector, is_upscaler, network_state, vae_version

DIFFUSERS = (0, 39)
"""The least diffusers: earlier ones lack LTX-2.3 or lay out the text's registers otherwise."""
TOKENS = 1024
GRID = Grid(channels=128, temporal=8, spatial=32)
SOUND = SoundGrid(channels=8, bins=16, per_second=25.0)
FRAME_RATES = ((23.9, 30.0), (59.9, 60.0))
NEGATIVE = (
    "shaky, glitchy, low quality, worst quality, deformed, distorted, disfigured, motion smear, motion artifacts, "
    "fused fingers, bad anatomy, weird hand, ugly, transition, static."
)
STEPS = {"2.0": 40, "2.3": 30}
GUIDANCE = {
    number: StreamGuidance(
        video=StreamScale(text=3.0, stg=1.0, modality=3.0, rescale=0.7),
        sound=StreamScale(text=7.0, stg=1.0, modality=3.0, rescale=0.7),
        skipped=(block,),
    )
    for number, block in (("2.0", 29), ("2.3", 28))
}
"""Lightricks' own: four calls of the network a step."""
# The shift is fixed at 4096 tokens, as in Lightricks' code; diffusers' pipeline takes the clip's own count.
MU, TERMINAL = 2.05, 0.1
DISTILLED_SIGMAS = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875)
LICENCE = "LTX-2 Community License: free below 10 million dollars of yearly revenue, with restrictions of use"


def recognise(checkpoint: Checkpoint) -> Variant | None:
    """The LTX-2 variant of a folder or file, from config and keys; None when it is another model."""
    network = checkpoint.network
    if network.config:
        if network.config.get("_class_name") != "LTX2VideoTransformer3DModel":
            return None
        config = dict(network.arguments)
    elif "audio_patchify_proj.weight" in network.shapes or "audio_proj_in.weight" in network.shapes:
        if any(key.endswith(".weight_scale_2") for key in network.shapes):
            raise CheckpointError(
                f"{checkpoint.path.name} is quantised as nvfp4 (fp4), which is not supported. Download the model in 16 "
                "bits, as fp8, as scaled fp8 or as GGUF, or load this one with ComfyUI's own nodes."
            )
        metadata = checkpoint.metadata.get("transformer") or {}
        config = _network_config(network, metadata)
        _check_metadata(checkpoint, metadata, config)
    else:
        return None
    _refuse_newer(checkpoint, config)
    number = "2.3" if config.get("cross_attn_mod") else "2.0"
    distilled = "distilled" in checkpoint.path.name.lower()
    connectors = _connectors(checkpoint, config)
    return Variant(
        name=f"LTX-{number}{' distilled' if distilled else ''}",
        grid=_grid(checkpoint),
        recipe=Recipe(
            width=768,
            height=512,
            frames=121,
            fps=24,
            steps=len(DISTILLED_SIGMAS) if distilled else STEPS[number],
            guidance=1.0 if distilled else 3.0,
            negative_prompt="" if distilled else NEGATIVE,
        ),
        network={**_without_defaults(config), "connectors": connectors},
        text=Text(
            TOKENS,
            channels=sum(_widths(connectors)) if connectors["two_projections"] else _widths(connectors)[0],
            network_sees_padding=True,
            encoder="gemma3",
        ),
        known_frames=PerToken(),
        guidance=None if distilled else GUIDANCE[number],
        scheduler={"shift": math.exp(MU), "sigmas": DISTILLED_SIGMAS if distilled else ()},
        second_pass=SecondPass(DISTILLED_SIGMAS[-3:], adain=0.0),
        notes=(str(checkpoint.recipe.get("licence", LICENCE)),),
        autoencoders=(number,),
        sound=SOUND,
        frame_rates=FRAME_RATES,
    )


def _grid(checkpoint: Checkpoint) -> Grid:
    """That of the published models, except in a folder whose VAE states another."""
    config = checkpoint.vae.config if checkpoint.vae else {}
    return Grid(
        channels=config.get("latent_channels", GRID.channels),
        temporal=config.get("temporal_compression_ratio") or GRID.temporal,
        spatial=config.get("spatial_compression_ratio") or GRID.spatial,
    )


def _check_metadata(checkpoint: Checkpoint, metadata: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise CheckpointError where a file's metadata describe a network of another size than its weights."""
    sizes = ("num_layers", "attention_head_dim", "cross_attention_dim", "audio_attention_head_dim")
    wrong = next((name for name in sizes if metadata.get(name, config[name]) != config[name]), "")
    if wrong:
        raise CheckpointError(
            f"The metadata of {checkpoint.path.name} contradicts its weights: {wrong} is {metadata[wrong]} in the one, "
            f"{config[wrong]} in the other. It was put together from two models: download it again."
        )


def _refuse_newer(checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
    """Raise CheckpointError for LTX-2.5, whose text encoder and video decoder are others."""
    if not config.get("ff_bias", True) or config.get("use_keyframes_abs_pos_embedding"):
        raise CheckpointError(
            f"{checkpoint.path.name} is LTX-2.5, which needs a Gemma 4 text encoder and is not supported yet. Use "
            "LTX-2 (19B) or LTX-2.3 (22B), or ComfyUI's own nodes."
        )


def _network_config(network: Component, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The network's arguments, read from the weights' shapes. All published sizes have 32 heads."""
    shapes, block = network.shapes, "transformer_blocks.0."
    own = "patchify_proj.weight" in shapes
    stem, embed = ("patchify_proj", "adaln_single") if own else ("proj_in", "time_embed")
    width, channels = shapes[f"{stem}.weight"]
    audio_width, audio_channels = shapes[f"audio_{stem}.weight"]
    gated = f"{block}attn1.to_gate_logits.weight"
    heads = shapes[gated][0] if gated in shapes else metadata.get("num_attention_heads", 32)
    audio_heads = metadata.get("audio_num_attention_heads", heads)
    modulated = shapes[f"{embed}.linear.weight"][0] == 9 * width
    caption = shapes.get("caption_projection.linear_1.weight")
    return {
        "in_channels": channels,
        "out_channels": shapes["proj_out.weight"][0],
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "cross_attention_dim": shapes[f"{block}attn2.to_k.weight"][1],
        "audio_in_channels": audio_channels,
        "audio_out_channels": shapes["audio_proj_out.weight"][0],
        "audio_num_attention_heads": audio_heads,
        "audio_attention_head_dim": audio_width // audio_heads,
        "audio_cross_attention_dim": shapes[f"{block}audio_attn2.to_k.weight"][1],
        "num_layers": blocks_of(shapes, "transformer_blocks"),
        "gated_attn": gated in shapes,
        "audio_gated_attn": gated in shapes,
        "cross_attn_mod": modulated,
        "audio_cross_attn_mod": modulated,
        "use_prompt_embeddings": caption is not None,
        **({"caption_channels": caption[1]} if caption else {}),
        "ff_bias": f"{block}ff.net.0.proj.bias" in shapes,
        "use_keyframes_abs_pos_embedding": "keyframes_abs_pos_embedding" in shapes,
        "rope_type": metadata.get("rope_type", "split"),
        "rope_double_precision": metadata.get("frequencies_precision", "float64") == "float64",
    }


def _without_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """The network's arguments without those that only LTX-2.5 sets, and without diffusers' own guidance.

    Spatio-temporal guidance comes from hooks, as for every family.
    """
    newer = ("ff_bias", "audio_ff_bias", "use_prompt_adaln_single", "use_keyframes_abs_pos_embedding")
    return {**{name: value for name, value in config.items() if name not in newer}, "perturbed_attn": False}


def _connectors(checkpoint: Checkpoint, config: Mapping[str, Any]) -> dict[str, Any]:
    """The two text connectors as an argument of the network: what they share, and the arguments of each.

    They are read from a folder's config, or from a file's metadata and the shapes of its weights. Where these say
    nothing, as in a file without connectors, they are the published ones.
    """
    part = checkpoint.parts.get(CONNECTORS)
    sources = [source.shapes for source in (checkpoint.network, part) if source is not None]
    shapes = {key: shape for source in sources for key, shape in source.items() if is_connector(key)}
    new = bool(config.get("cross_attn_mod"))
    if part is not None and part.config:
        given = {"video": _named(part.config, "video_connector_"), "audio": _named(part.config, "audio_connector_")}
        two = part.config.get("per_modality_projections", new)
    else:
        metadata = checkpoint.metadata.get("transformer") or {}
        given = {"video": _named(metadata, "connector_"), "audio": _named(metadata, "audio_connector_")}
        two = new
    return {
        "two_projections": two,
        "gated_attention": any("to_gate_logits" in key for key in shapes) if shapes else new,
        "video": _connector("video", shapes, given["video"], new),
        "audio": _connector("audio", shapes, (given["video"] if not new else {}) | given["audio"], new),
    }


def _named(config: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The entries of a config that begin with `prefix`, without it."""
    return {name[len(prefix) :]: value for name, value in config.items() if name.startswith(prefix)}


def _connector(name: str, shapes: dict[str, Shape], given: Mapping[str, Any], new: bool) -> dict[str, Any]:
    heads, side, layers = (32, 64 if name == "audio" else 128, 8) if new else (30, 128, 2)
    keys = {key: shape for key, shape in shapes.items() if re.search(rf"(^|\.){name}_(embeddings_)?connector\.", key)}
    # A GGUF file has no metadata. Where attention is gated, the gates' weights show its heads.
    attention = {key.split(".attn1.")[1]: shape for key, shape in keys.items() if "blocks.0.attn1." in key}
    heads = given.get("num_attention_heads", attention.get("to_gate_logits.weight", (heads,))[0])
    side = attention["to_q.weight"][0] // heads if "to_q.weight" in attention else side
    side = given.get("attention_head_dim", side)
    registers = next((shape[0] for key, shape in keys.items() if key.endswith("learnable_registers")), 128)
    numbers = {int(match[1]) for key in keys if (match := re.search(r"blocks\.(\d+)\.", key))}
    return {
        "num_attention_heads": heads,
        "attention_head_dim": side,
        "num_layers": len(numbers) or layers,
        "num_learnable_registers": registers,
    }


def _widths(connectors: Mapping[str, Any]) -> list[int]:
    parts = [connectors[name] for name in ("video", "audio")]
    return [part["num_attention_heads"] * part["attention_head_dim"] for part in parts]


def schedule(variant: Variant, steps: int, latent_shape: Shape) -> torch.Tensor:
    """Sigmas [steps + 1] of Lightricks' code: shifted as for 4096 tokens, the tail stretched to 0.1.

    Distilled: at most as many as it was trained on, spread over these.
    """
    trained = variant.scheduler.get("sigmas") or ()
    if trained:
        chosen = np.linspace(0, len(trained) - 1, min(steps, len(trained))).round().astype(int)
        return torch.tensor([*(trained[i] for i in chosen), 0.0])
    if steps == 1:  # there is no tail, and diffusers' stretching of it divides zero by zero
        return torch.tensor([1.0, 0.0])
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=TERMINAL)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=MU)
    return scheduler.sigmas.float()


def _check_diffusers(name: str) -> None:
    """Raise CheckpointError if diffusers is too old."""
    try:
        installed = version("diffusers")
    except PackageNotFoundError:  # installed in a way that keeps no metadata
        return
    if tuple(int(number) for number in re.findall(r"\d+", installed)[:2]) < DIFFUSERS:
        needed = ".".join(map(str, DIFFUSERS))
        raise CheckpointError(
            f"{name} needs diffusers {needed} or newer, this is {installed}. Install it into ComfyUI's Python: "
            f"pip install -U 'diffusers>={needed}', and restart ComfyUI."
        )


def build_network(variant: Variant) -> torch.nn.Module:
    _check_diffusers(variant.name)
    from .network import build_network

    published = {name: _connector(name, {}, {}, new=False) for name in ("video", "audio")}
    connectors = {"two_projections": False, "gated_attention": False, **published}
    return build_network(replace(variant, network={"connectors": connectors, **variant.network}))


def build_autoencoder(component: Component, variant: Variant) -> torch.nn.Module | None:
    _check_diffusers(variant.name)
    from .autoencoder import build_autoencoder

    return build_autoencoder(component, variant)


def build_upscaler(component: Component) -> torch.nn.Module | None:
    if not is_upscaler(component):
        return None
    _check_diffusers(component.name)
    from .upscaler import build_upscaler

    return build_upscaler(component)


def build_projection(parts: Mapping[str, Component], variant: Variant) -> torch.nn.Module:
    _check_diffusers(variant.name)
    from .text import build_projection

    return build_projection(parts, variant)


def build_sound(parts: Mapping[str, Component], variant: Variant) -> torch.nn.Module:
    _check_diffusers(variant.name)
    from .sound import build_sound

    return build_sound(parts, variant)


FAMILY = Family(
    name="LTX-2",
    recognise=recognise,
    network=build_network,
    network_state=network_state,
    autoencoder=build_autoencoder,
    schedule=schedule,
    text_encoders=("gemma_3_12b", "gemma-3-12b", "gemma3", "gemma_3", "gemma-3", "gemma"),
    preview="LTXV",
    own_scheduler={"_class_name": ("FlowMatchEulerDiscreteScheduler",)},
    autoencoder_version=vae_version,
    parts=PARTS,
    network_parts=(CONNECTORS,),
    text_projection=build_projection,
    sound=build_sound,
    upscaler=build_upscaler,
)
