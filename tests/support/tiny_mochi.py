"""Tiny random Mochi checkpoints in the real layouts: diffusers folders, and the files with original (Genmo) keys."""

from __future__ import annotations

from pathlib import Path

import tiny
import torch
from atelier.models.families.mochi import layouts
from benchmarks.layout import genmo_network, in_genmo_layout
from comfy.ldm.genmo.vae.model import Decoder, Encoder, VideoVAE
from diffusers import AutoencoderKLMochi, FlowMatchEulerDiscreteScheduler, MochiPipeline, MochiTransformer3DModel
from safetensors.torch import save_file

State = dict[str, torch.Tensor]
PREFIX = "model.diffusion_model."
NETWORK = dict(
    num_attention_heads=2,
    attention_head_dim=8,
    num_layers=2,
    pooled_projection_dim=16,
    text_embed_dim=tiny.TEXT_WIDTH,
    time_embed_dim=16,
)
VAE = dict(
    encoder_block_out_channels=(32,) * 4, decoder_block_out_channels=(32, 64, 32, 32), layers_per_block=(1, 2, 1, 1, 2)
)


def network(**changes) -> MochiTransformer3DModel:
    return tiny.randomised(MochiTransformer3DModel(**NETWORK | changes), seed=1, std=0.2)


def vae() -> AutoencoderKLMochi:
    return tiny.randomised(AutoencoderKLMochi(**VAE), seed=2, std=0.1)


def pipeline() -> MochiPipeline:
    pipe = MochiPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
        vae=vae(),
        text_encoder=tiny.t5(),
        tokenizer=tiny.tokenizer(),
        transformer=network(),
        force_zeros_for_empty_prompt=True,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def folder(path: Path) -> Path:
    pipeline().save_pretrained(path)
    return path


def core_autoencoder() -> State:
    """The published autoencoder under its original names, on the meta device, in ComfyUI's own implementation."""
    with torch.device("meta"):
        return VideoVAE().state_dict()


def network_file(path: Path, prefix: str = PREFIX, dtype: torch.dtype = torch.float32) -> Path:
    """The tiny network under its original names; another dtype for its matrices only, as published."""
    state = {
        prefix + key: weight.to(dtype if weight.ndim == 2 and weight.numel() > 256 else torch.float32).contiguous()
        for key, weight in original(network().state_dict()).items()
    }
    save_file(state, path)
    return path


def everything(path: Path, scaled: bool = False) -> Path:
    """Network, autoencoder and text encoder in one file, as ComfyUI repackages them; scaled: its "fp8_scaled" one."""
    parts = {PREFIX: original(network().state_dict()), "text_encoders.t5xxl.transformer.": tiny.t5().state_dict()}
    if scaled:
        wide = {PREFIX: original(network(attention_head_dim=16).state_dict())}
        parts = {prefix: in_scaled_fp8(part) for prefix, part in (parts | wide).items()}
    parts |= {f"vae.{half}.": core.state_dict() for half, core in zip(layouts.HALVES, core_halves(), strict=True)}
    save_file({prefix + key: weight.clone() for prefix, part in parts.items() for key, weight in part.items()}, path)
    return path


def original(state: State) -> State:
    """diffusers' names -> Genmo's, by the names that ComfyUI's own network has in its first and its last block."""
    names = [key for key in genmo_network() if not key.startswith("blocks.") or key.startswith("blocks.0.")]
    names += [key.replace(".47.", ".1.") for key in genmo_network() if key.startswith("blocks.47.")]
    return in_genmo_layout(state, names)


def in_scaled_fp8(state: State) -> State:
    """The state with the matrices of blocks in float8, as published."""
    blocks = [key for key, weight in state.items() if ".block" in f".{key}" and weight.ndim == 2]
    return tiny.in_scaled_fp8(state, [key for key in blocks if "bias" not in key and state[key].shape[1] % 32 == 0])


def halves(path: Path) -> tuple[Path, Path]:
    """encoder.safetensors and decoder.safetensors in folder `path`, from ComfyUI's own modules, 32 wide."""
    encoder, decoder = core_halves()
    path.mkdir(parents=True, exist_ok=True)
    save_file(encoder.state_dict(), path / "encoder.safetensors")
    save_file(decoder.state_dict(), path / "decoder.safetensors")
    return path / "encoder.safetensors", path / "decoder.safetensors"


def core_halves() -> tuple[Encoder, Decoder]:
    shared = dict(latent_dim=12, base_channels=32, num_res_blocks=[1, 2, 1, 1, 2], padding_mode="replicate")
    encoder = Encoder(
        **shared,
        in_channels=15,
        channel_multipliers=[1, 2, 1, 2],
        temporal_reductions=[1, 2, 3],
        spatial_reductions=[2, 2, 2],
        prune_bottlenecks=[False] * 5,
        has_attentions=[False, True, True, True, True],
        input_is_conv_1x1=True,
    )
    decoder = Decoder(
        **shared,
        out_channels=3,
        channel_multipliers=[1, 2, 1, 1],
        temporal_expansions=[1, 2, 3],
        spatial_expansions=[2, 2, 2],
        has_attention=[False] * 5,
        output_norm=False,
    )
    return tiny.randomised(encoder, seed=5, std=0.1), tiny.randomised(decoder, seed=6, std=0.1)
