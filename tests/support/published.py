"""Tiny random models with the configs that their authors publish (tests/published), in smaller sizes."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import tiny
import torch
from diffusers import (
    AutoencoderKLLTXVideo,
    FlowMatchEulerDiscreteScheduler,
    LTXConditionPipeline,
    LTXPipeline,
    LTXVideoTransformer3DModel,
)

FOLDER = Path(__file__).parents[1] / "published"
LTX = tuple(sorted(path.stem for path in FOLDER.glob("ltx-*.json")))
"""The published variants of LTX Video."""


@cache
def config(variant: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{variant}.json").read_text())


def arguments(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if not name.startswith("_")}


def ltx_is_late(variant: str) -> bool:
    """0.9.5 or later: run by LTXConditionPipeline."""
    return config(variant)["causal_temporal_positioning"]


def ltx_network(variant: str) -> LTXVideoTransformer3DModel:
    sizes = arguments(config(variant)["transformer"]) | tiny.NETWORK
    return tiny.randomised(LTXVideoTransformer3DModel(**sizes), seed=1)


def ltx_vae(variant: str) -> AutoencoderKLLTXVideo:
    sizes = arguments(config(variant)["vae"])
    for name in ("block_out_channels", "decoder_block_out_channels"):
        sizes[name] = [width // 16 for width in sizes[name]]
    for name in ("layers_per_block", "decoder_layers_per_block"):
        sizes[name] = [1] * len(sizes[name])
    model = tiny.randomised(AutoencoderKLLTXVideo(**sizes), seed=2, std=0.1)
    model.latents_mean.copy_(torch.linspace(-0.5, 0.5, 128))
    model.latents_std.copy_(torch.linspace(0.5, 1.5, 128))
    # LTXConditionPipeline draws from the posterior of a picture: let it be a point.
    last = model.encoder.conv_out.conv
    last.weight[-1], last.bias[-1] = 0.0, -30.0
    return model


def ltx_pipeline(variant: str) -> LTXPipeline | LTXConditionPipeline:
    """The authors' pipeline in diffusers."""
    kind = LTXConditionPipeline if ltx_is_late(variant) else LTXPipeline
    return kind(
        scheduler=FlowMatchEulerDiscreteScheduler(**arguments(config(variant)["scheduler"])),
        vae=ltx_vae(variant),
        text_encoder=tiny.t5(),
        tokenizer=tiny.tokenizer(),
        transformer=ltx_network(variant),
    )


def ltx_metadata(variant: str) -> dict[str, str]:
    """A single file's metadata, with the tiny network's sizes."""
    told = config(variant)["metadata_config"]
    return {"config": json.dumps(told | {"transformer": told["transformer"] | tiny.NETWORK})}
