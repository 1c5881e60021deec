"""What the small LTX model that ships says of itself: the size of its pictures and of its latents, its guidance."""

from __future__ import annotations

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "models" / "pocket"
_RECIPE = json.loads((FOLDER / "recipe.json").read_text())
_VAE = json.loads((FOLDER / "vae" / "config.json").read_text())

SIDE: int = _RECIPE["width"]
"""Pixels; its pictures are square."""
SIZE = f"{SIDE}x{SIDE}"
GUIDANCE: float = _RECIPE["guidance"]
CHANNELS: int = _VAE["latent_channels"]
SPATIAL: int = _VAE["patch_size"] * 2 ** sum(_VAE["spatio_temporal_scaling"])
"""Pixels on a side of a latent."""
