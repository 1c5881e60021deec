"""Tiny random CogVideoX checkpoints in the real layouts: diffusers folders, single files with diffusers or SAT keys."""

from __future__ import annotations

import re
from pathlib import Path

import tiny
import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXFunControlPipeline,
    CogVideoXImageToVideoPipeline,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    DiffusionPipeline,
)
from safetensors.torch import save_file

State = dict[str, torch.Tensor]
WIDTH, HEIGHT, FRAMES = 64, 48, 9
_SIZE = dict(num_attention_heads=1, attention_head_dim=64, num_layers=2, time_embed_dim=8)
_TEXT = dict(text_embed_dim=tiny.TEXT_WIDTH, sample_width=90, sample_height=60, sample_frames=49)
_ROTARY = dict(use_rotary_positional_embeddings=True)
# As large as the clips, because learned positions are stored.
_LEARNED = dict(
    use_learned_positional_embeddings=True, sample_width=WIDTH // 8, sample_height=HEIGHT // 8, sample_frames=FRAMES
)
_LATER = dict(patch_size_t=2, patch_bias=False, sample_width=300, sample_height=300)
_IMAGE = dict(in_channels=32, out_channels=16)
_INPAINTED = dict(in_channels=33, out_channels=16)
VARIANTS = {
    "2B": {},
    "5B": _ROTARY,
    "1.5 5B": {**_ROTARY, **_LATER},
    "5B I2V": {**_ROTARY, **_IMAGE, **_LEARNED},
    "1.5 5B I2V": {**_ROTARY, **_IMAGE, **_LATER, "ofs_embed_dim": 8},
    "Fun 2B Control": _IMAGE,
    "Fun 5B Control": {**_ROTARY, **_IMAGE},
    "Fun 5B InP": {**_ROTARY, **_INPAINTED},
    "Fun 1.5 5B InP": {**_ROTARY, **_LATER, **_INPAINTED},
}


def network(variant: str) -> CogVideoXTransformer3DModel:
    model = CogVideoXTransformer3DModel(**{**_SIZE, **_TEXT, **VARIANTS[variant]})
    return tiny.randomised(model, seed=1, std=0.05)


def vae(variant: str) -> AutoencoderKLCogVideoX:
    scale = dict(scaling_factor=1.15258426 if "2B" in variant else 0.7, invert_scale_latents=variant == "1.5 5B I2V")
    model = AutoencoderKLCogVideoX(block_out_channels=(32,) * 4, layers_per_block=1, **scale)
    model = tiny.randomised(model, seed=2, std=0.05)
    last = model.encoder.conv_out.conv
    # Pipelines that are given a picture or a clip draw from the posterior: let it be a point.
    last.weight[16:], last.bias[16:] = 0.0, -30.0
    return model


def pipeline(variant: str) -> DiffusionPipeline:
    kinds = {"I2V": CogVideoXImageToVideoPipeline, "Control": CogVideoXFunControlPipeline}
    kind = kinds.get(variant.split()[-1], CogVideoXPipeline)
    scheduler = CogVideoXDDIMScheduler(
        snr_shift_scale=3.0 if "2B" in variant else 1.0,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )
    pipe = kind(tiny.tokenizer(), tiny.t5(), vae(variant), network(variant), scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def folder(path: Path, variant: str) -> Path:
    pipeline(variant).save_pretrained(path)
    return path


def sat_vae(state: State) -> State:
    """diffusers' names -> SAT's for the autoencoder."""
    out = {}
    for key, weight in state.items():
        key = re.sub(r"^decoder\.up_blocks\.(\d)\.", lambda found: f"decoder.up.{3 - int(found[1])}.", key)
        key = re.sub(r"\.mid_block\.resnets\.(\d)\.", lambda found: f".mid.block_{int(found[1]) + 1}.", key)
        key = (
            key.replace("down_blocks.", "down.").replace("resnets.", "block.").replace("conv_shortcut", "nin_shortcut")
        )
        out[key.replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")] = weight
    return out


def single_file(path: Path, state: State, prefix: str = "", dtype: torch.dtype = torch.float32) -> Path:
    """A file of weights; another dtype for the matrices only, as published."""
    state = {
        prefix + key: weight.to(dtype if weight.ndim == 2 and min(weight.shape) > 8 else torch.float32).contiguous()
        for key, weight in state.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path)
    return path
