"""Saved graphs that name published files: tiny files under these names, so that tests can run the graphs."""

from __future__ import annotations

import wave
from functools import cache
from pathlib import Path

import numpy as np
import tiny
import tiny_cogvideox
import tiny_ltx2
import tiny_mochi
import tiny_pyramid
import tiny_upscaler
import torch
from diffusers import LTX2Pipeline
from safetensors.torch import save_file

GRAPHS = {
    "two_stage": ((9, 64, 96), 2),
    "sound_two_stage": ((17, 64, 64), 2),
    "sound_to_video": ((17, 64, 64), 1),
    "control": ((9, 64, 96), 1),
    "ltx_video": ((9, 64, 96), 1),
    "cogvideox": ((9, 48, 64), 1),
    "mochi": ((7, 48, 64), 1),
    "pyramid_flow": ((9, 64, 64), 1),
}
"""Saved graph -> frames, height, width of a small clip, and how many times larger than these its video is."""
TONE = 440
"""Hz of the sound in speech.wav."""
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
    _put_ltx2(models)


@cache
def _pipeline() -> LTX2Pipeline:
    return tiny_ltx2.pipeline("2.0")


def _put_ltx2(models: Path) -> None:
    """LTX-2's files, unless they are there, and a second of 440 Hz in ComfyUI's input folder."""
    checkpoint = models / "checkpoints" / "ltx-2-19b-distilled-fp8.safetensors"
    if checkpoint.exists():
        return
    pipe = _pipeline()
    tiny_ltx2.single_file(checkpoint, "2.0", pipe, "fp8")
    tiny_ltx2.gemma_file(models / "text_encoders" / "gemma_3_12B_it_fp8_scaled.safetensors", pipe, scaled=True)
    upscaler = models / "latent_upscale_models" / "ltx-2-spatial-upscaler-x2-1.0.safetensors"
    tiny_upscaler.single_file(upscaler, "ltx-2 x2")
    tone = (8000 * np.sin(np.arange(16_000) / 16_000 * np.pi * 2 * TONE)).astype("<i2")
    with wave.open(str(models.parent / "input" / "speech.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(tone.tobytes())
