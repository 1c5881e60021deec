"""Saved graphs that name published files: tiny files under these names, so that tests can run the graphs."""

from __future__ import annotations

from pathlib import Path

import tiny
import tiny_cogvideox
import tiny_mochi
import tiny_pyramid
import tiny_upscaler
import torch
from safetensors.torch import save_file

GRAPHS = {
    "two_stage": ((9, 64, 96), 2),
    "control": ((9, 64, 96), 1),
    "ltx_video": ((9, 64, 96), 1),
    "cogvideox": ((9, 48, 64), 1),
    "mochi": ((7, 48, 64), 1),
    "pyramid_flow": ((9, 64, 64), 1),
}
"""Saved graph -> frames, height, width of a small clip, and how many times larger than these its video is."""
T5 = "t5xxl_fp8_e4m3fn_scaled.safetensors"


def put_files(models: Path) -> None:
    """Write the files into ComfyUI's models folder."""
    folders = ("checkpoints", "diffusion_models", "text_encoders", "vae", "latent_upscale_models", "loras")
    for folder in folders:
        (models / folder).mkdir(parents=True, exist_ok=True)
    tiny.single_file(models / "checkpoints" / "ltxv-13b-0.9.8-distilled.safetensors", "0.9.5")
    tiny.single_file(models / "checkpoints" / "ltxv-2b-0.9.8-distilled.safetensors", "0.9.5")
    tiny.t5_file(models / "text_encoders" / T5, scaled=True)
    tiny_upscaler.single_file(models / "latent_upscale_models" / "ltxv-spatial-upscaler-0.9.8.safetensors", "spatial")
    # An IC-LoRA of one layer of tiny.core_network, which is 64 wide.
    layer = "diffusion_model.transformer_blocks.0.attn1.to_q"
    halves = {f"{layer}.lora_A.weight": torch.ones(4, 64), f"{layer}.lora_B.weight": torch.ones(64, 4)}
    save_file(halves, models / "loras" / "ltxv-097-ic-lora-canny-control-comfyui.safetensors")
    networks, vaes = models / "diffusion_models", models / "vae"
    tiny_cogvideox.single_file(
        networks / "CogVideoX_1_5_5b_T2V_bf16.safetensors", tiny_cogvideox.network("1.5 5B").state_dict()
    )
    save_file(tiny_cogvideox.vae("1.5 5B").state_dict(), vaes / "cogvideox_vae_bf16.safetensors")
    tiny_mochi.network_file(networks / "mochi_preview_fp8_scaled.safetensors")
    autoencoder = dict(zip(("encoder", "decoder"), tiny_mochi.core_halves(), strict=True))
    weights = {
        f"{name}.{key}": weight for name, half in autoencoder.items() for key, weight in half.state_dict().items()
    }
    save_file(weights, vaes / "mochi_vae.safetensors")
    tiny_pyramid.network_file(networks / "pyramid_flow_miniflux_bf16_v2.safetensors", "miniflux")
    tiny_pyramid.vae_file(vaes / "pyramid_flow_vae_bf16.safetensors")
    tiny_pyramid.clip_file(models / "text_encoders" / "clip_l.safetensors", "clip_l")
