"""Exports the pocket CogVideoX as an ordinary CogVideoXPipeline folder in half precision."""

from pathlib import Path

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXPipeline

from pocket.cogvideox.sample import CogVideoX
from pocket.cogvideox.transformer import SCHEDULER, build
from pocket.export import export_pipeline

RECIPE = {
    "name": "Atelier pocket CogVideoX",
    "width": 64,
    "height": 64,
    "frames": 17,
    "fps": 8,
    "steps": 25,
    "guidance": 3.0,
    "negative_prompt": "",
}


def export(work: Path, folder: Path) -> None:
    """Exports the model in `work` to `folder`; training may still run."""
    transformer = build()
    transformer.load_state_dict(torch.load(work / "transformer.pt", map_location="cpu")["mean"])
    parts = {
        "vae": AutoencoderKLCogVideoX.from_pretrained(work / "vae"),
        "transformer": transformer,
        "scheduler": CogVideoXDDIMScheduler(**SCHEDULER),
    }
    export_pipeline(CogVideoXPipeline, parts, CogVideoX.load, RECIPE, work, folder)
