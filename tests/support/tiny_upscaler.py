"""Tiny random latent upscalers of LTX Video and LTX-2, in the layouts in which they are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tiny
from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
from safetensors.torch import save_file

SPATIAL, TEMPORAL = (
    dict(spatial_upsample=True, temporal_upsample=False),
    dict(spatial_upsample=False, temporal_upsample=True),
)
KINDS: dict[str, dict[str, Any]] = {
    "spatial": SPATIAL,
    "temporal": TEMPORAL,
    "both": dict(spatial_upsample=True, temporal_upsample=True),
    "flat": dict(**SPATIAL, dims=2),
}
OF_LTX2: dict[str, dict[str, Any]] = {
    "ltx-2 x2": dict(**SPATIAL, use_rational_resampler=True, rational_spatial_scale=2.0),
    "ltx-2 x1.5": dict(**SPATIAL, use_rational_resampler=True, rational_spatial_scale=1.5),
    "ltx-2 x2 plain": dict(**SPATIAL, use_rational_resampler=False),
    "ltx-2 temporal": dict(**TEMPORAL, use_rational_resampler=False),
}


def network(kind: str) -> LTXLatentUpsamplerModel | LTX2LatentUpsamplerModel:
    sizes = dict(in_channels=128, mid_channels=32, num_blocks_per_stage=1)
    made = LTX2LatentUpsamplerModel if kind in OF_LTX2 else LTXLatentUpsamplerModel
    return tiny.randomised(made(**sizes, **(KINDS | OF_LTX2)[kind]), seed=6)


def folder(path: Path, kind: str) -> Path:
    """diffusers' layout."""
    network(kind).save_pretrained(path)
    return path


def single_file(path: Path, kind: str) -> Path:
    """The authors' layout: the same key names, and the config in the metadata."""
    config = {"_class_name": "LatentUpsampler", "in_channels": 128, **(KINDS | OF_LTX2)[kind]}
    if kind in OF_LTX2:
        config["rational_resampler"] = config.pop("use_rational_resampler")
        config["spatial_scale"] = config.pop("rational_spatial_scale", 2.0)
    save_file(network(kind).state_dict(), path, {"config": json.dumps(config)})
    return path
