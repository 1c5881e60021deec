"""Saved graphs that name published files: tiny files under these names, so that tests can run the graphs."""

from __future__ import annotations

from pathlib import Path

import tiny
import tiny_upscaler
import torch
from safetensors.torch import save_file

GRAPHS = {"two_stage": 2}
"""Saved graph -> how many times larger than its Empty Video Latent its video is."""


def put_files(models: Path) -> None:
    """Write the files into ComfyUI's models folder."""
    for folder in ("checkpoints", "text_encoders", "latent_upscale_models", "loras"):
        (models / folder).mkdir(parents=True, exist_ok=True)
    tiny.single_file(models / "checkpoints" / "ltxv-13b-0.9.8-distilled.safetensors", "0.9.5")
    tiny.t5_file(models / "text_encoders" / "t5xxl_tiny.safetensors")
    tiny_upscaler.single_file(models / "latent_upscale_models" / "ltxv-spatial-upscaler-0.9.8.safetensors", "spatial")
    # An IC-LoRA of one layer of tiny.core_network, which is 64 wide.
    layer = "diffusion_model.transformer_blocks.0.attn1.to_q"
    halves = {f"{layer}.lora_A.weight": torch.ones(4, 64), f"{layer}.lora_B.weight": torch.ones(64, 4)}
    save_file(halves, models / "loras" / "ltxv-097-ic-lora-canny-control-comfyui.safetensors")
