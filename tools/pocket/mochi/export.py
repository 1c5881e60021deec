"""Exports the pocket Mochi as an ordinary MochiPipeline folder in half precision."""

from pathlib import Path

import torch
from diffusers import AutoencoderKLMochi, FlowMatchEulerDiscreteScheduler, MochiPipeline

from pocket.export import export_pipeline
from pocket.mochi.sample import Mochi
from pocket.mochi.transformer import build

RECIPE = {
    "name": "Atelier pocket Mochi",
    "width": 64,
    "height": 64,
    "frames": 19,
    "fps": 8,
    "steps": 32,
    "guidance": 3.0,
    "negative_prompt": "",
}


def export(work: Path, folder: Path) -> None:
    """Exports the model in `work` to `folder`; training may still run."""
    transformer = build()
    transformer.load_state_dict(torch.load(work / "transformer.pt", map_location="cpu")["mean"])
    parts = {
        "vae": AutoencoderKLMochi.from_pretrained(work / "vae"),
        "transformer": transformer,
        "scheduler": FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
        "force_zeros_for_empty_prompt": True,  # as Mochi's authors do
    }
    export_pipeline(MochiPipeline, parts, Mochi.load, RECIPE, work, folder)
