"""What latents look like without decoding them: the linear function of their channels that fits the colours best."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLLTXVideo
from torch import Tensor

from pocket.autoencoder import encode
from pocket.world import clips

CLIPS, SEED = 96, 60_000_000


def small(videos: Tensor, size: torch.Size) -> Tensor:
    """Clips [B, 3, T, H, W] at the size of their latents [B, C, t, h, w]: the first frame, then means of groups."""
    rest = F.interpolate(videos[:, :, 1:], size=(size[2] - 1, *size[3:]), mode="area")
    return torch.cat([F.interpolate(videos[:, :, :1], size=(1, *size[3:]), mode="area"), rest], dim=2)


def fit(vae: AutoencoderKLLTXVideo) -> tuple[dict[str, list], float]:
    """Factors [channels][3] and bias [3], by least squares on rendered clips; and the share of variance explained."""
    videos = clips(CLIPS, SEED).video
    latents = encode(vae, videos)
    seen = latents.movedim(1, -1).flatten(0, -2)
    wanted = small(videos, latents.shape).movedim(1, -1).flatten(0, -2)
    seen = torch.cat([seen, torch.ones(len(seen), 1)], dim=1)
    solved = torch.linalg.lstsq(seen, wanted).solution
    left = (seen @ solved - wanted).var() / wanted.var()
    rows = [[round(value, 3) for value in row] for row in solved.tolist()]
    return {"factors": rows[:-1], "bias": rows[-1]}, 1 - left.item()


def write(folder: Path) -> float:
    """Puts the fit for the folder's autoencoder into its recipe.json; returns the share of variance explained."""
    vae = AutoencoderKLLTXVideo.from_pretrained(folder / "vae", torch_dtype=torch.float32)
    colours, explained = fit(vae)
    path = folder / "recipe.json"
    recipe = json.loads(path.read_text())
    # Everything but the long list on lines of its own.
    text = json.dumps(recipe | {"preview": "@"}, indent=2).replace('"@"', json.dumps(colours))
    path.write_text(text + "\n")
    return explained
