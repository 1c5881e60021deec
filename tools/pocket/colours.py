"""Preview colours: the linear function of the latent channels that fits the pixels' colours best."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pocket.model import Model
from pocket.world import clips

CLIPS, SEED = 96, 60_000_000


def small(videos: Tensor, size: torch.Size) -> Tensor:
    """Clips [B, 3, T, H, W] at the size of their latents [B, C, t, h, w]: the first frame, then means of groups."""
    rest = F.interpolate(videos[:, :, 1:], size=(size[2] - 1, *size[3:]), mode="area")
    return torch.cat([F.interpolate(videos[:, :, :1], size=(1, *size[3:]), mode="area"), rest], dim=2)


def latents_and_colours(model: Model, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Latent pixels of rendered clips: channels followed by a 1 [N, C + 1], and colours [N, 3]."""
    videos = clips(count, seed, **{name: model.recipe[name] for name in ("width", "height")}).video
    latents = model.encode(videos)
    seen = latents.movedim(1, -1).flatten(0, -2)
    wanted = small(videos, latents.shape).movedim(1, -1).flatten(0, -2)
    return torch.cat([seen, torch.ones(len(seen), 1)], dim=1), wanted


def fit(model: Model) -> dict[str, list]:
    """Factors [channels][3] and bias [3], by least squares."""
    solved = torch.linalg.lstsq(*latents_and_colours(model, CLIPS, SEED)).solution
    rows = [[round(value, 5) for value in row] for row in solved.tolist()]
    return {"factors": rows[:-1], "bias": rows[-1]}


def explained(model: Model, colours: dict[str, list], count: int = 16) -> float:
    """The share of the colours' variance that these factors explain, on clips that the fit did not use."""
    seen, wanted = latents_and_colours(model, count, SEED + 1)
    left = seen @ torch.tensor([*colours["factors"], colours["bias"]]) - wanted
    return 1 - (left.var() / wanted.var()).item()


def write(model: Model, folder: Path) -> float:
    """Puts the fit for the folder's autoencoder into its recipe.json; returns the share of variance explained."""
    colours = fit(model)
    path = folder / "recipe.json"
    recipe = json.loads(path.read_text())
    # One line for each entry except the long list, which is a single line.
    text = json.dumps(recipe | {"preview": "@"}, indent=2).replace('"@"', json.dumps(colours))
    path.write_text(text + "\n")
    return explained(model, colours)
