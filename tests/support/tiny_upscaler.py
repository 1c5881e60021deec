"""Tiny random latent upscalers of LTX Video, in the layouts in which they are published."""

from __future__ import annotations

import json
from pathlib import Path

import tiny
from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel
from safetensors.torch import save_file

KINDS = {
    "spatial": dict(spatial_upsample=True, temporal_upsample=False),
    "temporal": dict(spatial_upsample=False, temporal_upsample=True),
    "both": dict(spatial_upsample=True, temporal_upsample=True),
    "flat": dict(spatial_upsample=True, temporal_upsample=False, dims=2),
}


def network(kind: str) -> LTXLatentUpsamplerModel:
    sizes = dict(in_channels=128, mid_channels=32, num_blocks_per_stage=1)
    return tiny.randomised(LTXLatentUpsamplerModel(**sizes, **KINDS[kind]), seed=6)


def folder(path: Path, kind: str) -> Path:
    """diffusers' layout."""
    network(kind).save_pretrained(path)
    return path


def single_file(path: Path, kind: str, **config: object) -> Path:
    """The authors' layout: the same key names, and the config in the metadata, to which `config` is added."""
    named = {"_class_name": "LatentUpsampler", "in_channels": 128, **KINDS[kind], **config}
    save_file(network(kind).state_dict(), path, {"config": json.dumps(named)})
    return path
