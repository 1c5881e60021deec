"""Tiny random checkpoints in the real layouts: diffusers folders and the single files that artists have."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from unittest.mock import patch

import comfy.ldm.lightricks.vae.causal_video_autoencoder as core_vae
import comfy.ops
import comfy.text_encoders.sd3_clip
import torch
from comfy.ldm.lightricks.model import LTXVModel
from diffusers import AutoencoderKLLTXVideo, FlowMatchEulerDiscreteScheduler, LTXPipeline, LTXVideoTransformer3DModel
from safetensors.torch import save_file
from transformers import T5Config, T5EncoderModel, T5TokenizerFast

TEXT_WIDTH, VOCABULARY = 32, 32128
VERSIONS = {"0.9.0": 0, "0.9.1": 1, "0.9.5": 2}  # what ComfyUI's VideoVAE calls them
NETWORK = dict(
    num_layers=2, num_attention_heads=4, attention_head_dim=8, cross_attention_dim=32, caption_channels=TEXT_WIDTH
)

_OLD_ENCODER = dict(
    block_out_channels=(8, 16, 32, 32), layers_per_block=(1,) * 5, spatio_temporal_scaling=(True, True, True, False)
)
_NEW_DECODER = dict(
    decoder_block_out_channels=(16, 32, 64),
    decoder_layers_per_block=(1,) * 4,
    decoder_spatio_temporal_scaling=(True,) * 3,
    upsample_residual=(True,) * 3,
    upsample_factor=(2,) * 3,
    timestep_conditioning=True,
)
VAE_CONFIGS = {
    "0.9.0": dict(**_OLD_ENCODER, decoder_block_out_channels=(8, 16, 32, 32), decoder_layers_per_block=(1,) * 5),
    "0.9.1": dict(**_OLD_ENCODER, **_NEW_DECODER, decoder_inject_noise=(False,) * 4),
    "0.9.5": dict(
        block_out_channels=(8, 16, 32, 64, 128),
        layers_per_block=(1,) * 5,
        down_block_types=("LTXVideo095DownBlock3D",) * 4,
        spatio_temporal_scaling=(True,) * 4,
        downsample_type=("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
        decoder_inject_noise=(False,) * 4,
        **_NEW_DECODER,
    ),
}
SCHEDULER = dict(
    use_dynamic_shifting=True,
    base_shift=0.95,
    max_shift=2.05,
    base_image_seq_len=1024,
    max_image_seq_len=4096,
    shift_terminal=0.1,
)


def randomised(module: torch.nn.Module, seed: int = 0, std: float = 0.05) -> torch.nn.Module:
    """Draw every parameter at random, so that nothing hides an error, such as an output layer of zeros."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        with torch.no_grad():
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.1 * torch.randn(parameter.shape, generator=generator))
            elif parameter.numel() > 1:
                parameter.copy_(std * torch.randn(parameter.shape, generator=generator))
    return module.eval().requires_grad_(False)


def t5(width: int = TEXT_WIDTH) -> T5EncoderModel:
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=width,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
    )
    # Exact in float16, in which ComfyUI keeps text encoders on a CPU.
    return randomised(T5EncoderModel(config), seed=3, std=0.3).half().float()


def tokenizer() -> T5TokenizerFast:
    return T5TokenizerFast.from_pretrained(Path(comfy.text_encoders.sd3_clip.__file__).with_name("t5_tokenizer"))


def vae(version: str) -> AutoencoderKLLTXVideo:
    model = randomised(AutoencoderKLLTXVideo(**VAE_CONFIGS[version]), seed=2, std=0.1)
    model.latents_mean.copy_(torch.linspace(-0.5, 0.5, 128))
    model.latents_std.copy_(torch.linspace(0.5, 1.5, 128))
    return model


def pipeline(version: str = "0.9.1") -> LTXPipeline:
    return LTXPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**SCHEDULER),
        vae=vae(version),
        text_encoder=t5(),
        tokenizer=tokenizer(),
        transformer=randomised(LTXVideoTransformer3DModel(**NETWORK), seed=1),
    )


def folder(path: Path, version: str = "0.9.1") -> Path:
    """A diffusers folder whose network is in two shards, as large ones are."""
    pipe = pipeline(version)
    pipe.save_pretrained(path)
    for file in (path / "transformer").glob("*.safetensors"):
        file.unlink()
    pipe.transformer.save_pretrained(path / "transformer", max_shard_size="200KB")
    return path


def core_network() -> LTXVModel:
    """ComfyUI's own LTX network: it has the original key names."""
    network = dict(NETWORK, num_attention_heads=32, attention_head_dim=2, cross_attention_dim=64)
    return randomised(LTXVModel(**network, operations=comfy.ops.disable_weight_init), seed=4)


def core_autoencoder(version: str, width: int = 8) -> core_vae.VideoVAE:
    """ComfyUI's own LTX autoencoder, `width` instead of 128 wide: it has the original key names."""
    thin = {name: partial(getattr(core_vae, name), base_channels=width) for name in ("Encoder", "Decoder")}
    guess = getattr(core_vae.VideoVAE, "guess_config", None) or core_vae.VideoVAE.get_default_config
    # By default, ComfyUI's decoder pads by reflection. diffusers', our reference, pads with zeros.
    padding = dict.fromkeys(("spatial_padding_mode", "decoder_spatial_padding_mode"), "zeros")
    widths = dict.fromkeys(("encoder_base_channels", "decoder_base_channels"), width)  # newer ComfyUI asks the config
    config = guess(None, VERSIONS[version]) | padding | widths
    with patch.multiple(core_vae, **thin):
        model = randomised(core_vae.VideoVAE(config=config), seed=5, std=0.1)
    statistics = model.per_channel_statistics
    statistics.get_buffer("mean-of-means").copy_(torch.linspace(-0.5, 0.5, 128))
    statistics.get_buffer("std-of-means").copy_(torch.linspace(0.5, 1.5, 128))
    return model


def single_file(
    path: Path, version: str | None = "0.9.1", prefix: str = "model.diffusion_model.", dtype: torch.dtype | None = None
) -> Path:
    """A single file in the original layout; version None leaves the VAE out. float8 for matrices only, as published."""
    state = {prefix + key: weight for key, weight in core_network().state_dict().items()}
    if dtype is not None:
        state = {
            key: weight.to(dtype if weight.ndim == 2 and "table" not in key else torch.bfloat16)
            for key, weight in state.items()
        }
    if version is not None:
        state |= {"vae." + key: weight for key, weight in core_autoencoder(version).state_dict().items()}
    save_file({key: weight.contiguous() for key, weight in state.items()}, path)
    return path


def in_scaled_fp8(state: dict[str, torch.Tensor], keys: list[str]) -> dict[str, torch.Tensor]:
    """A state dict with these matrices as "scaled fp8": float8, and a scale each that brings it to the whole range."""
    out = dict(state, scaled_fp8=torch.tensor([], dtype=torch.float8_e4m3fn))
    for key in keys:
        scale = state[key].float().abs().max() / 448
        out[key] = (state[key].float() / scale).to(torch.float8_e4m3fn)
        out[key.removesuffix("weight") + "scale_weight"] = scale
    return out


def t5_file(path: Path, dtype: torch.dtype = torch.float16, scaled: bool = False) -> Path:
    """An artist's T5 file; scaled: float8 matrices with a scale each, as in t5xxl_fp8_e4m3fn_scaled."""
    state = {key: weight.to(dtype) for key, weight in t5().state_dict().items() if "embed_tokens" not in key}
    if scaled:
        matrices = [key for key in state if ".SelfAttention." in key or ".DenseReluDense." in key]
        state = in_scaled_fp8(state, [key for key in matrices if "bias" not in key])
    save_file({key: weight.contiguous() for key, weight in state.items()}, path)
    return path
