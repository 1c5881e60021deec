"""Latents to RGB without a decoder: a linear function of the channels. It is published, fitted, or in false colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .grid import Grid

CHARTS, CHART_FRAMES, CHART_SIDE = 8, 3, 8
"""Number of clips that colours are fitted to, latent frames per clip, and latent pixels per side."""
LEAVES, SMALLEST_LEAF, GREY_LEAVES = 12, 0.12, 0.3
"""Discs per clip, the smallest diameter as a share of the picture, and the share of discs that are grey."""


@dataclass(frozen=True)
class Colours:
    """Latent channels to red, green and blue in about -1..1: factors [channels][3] and bias [3]."""

    factors: Sequence[Sequence[float]]
    bias: Sequence[float] = (0.0, 0.0, 0.0)


def false_colours(channels: int) -> Colours:
    """Show thirds of the channels as red, green and blue, for latents of about unit variance without fitted colours.

    Shapes and motion are visible. The colours mean nothing.
    """
    size = (channels + 2) // 3
    strength = 0.5 / size**0.5  # a third's sum then has a standard deviation of a quarter of the range
    return Colours([[strength * (channel // size == colour) for colour in range(3)] for channel in range(channels)])


def fitted_colours(encode: Callable[[torch.Tensor], torch.Tensor], grid: Grid) -> Colours:
    """Fit a linear function from an autoencoder's latent channels to RGB by least squares, on clips of moving discs.

    encode(images [F, H, W, 3] in 0..1) -> latents [1, C, T, h, w].
    """
    side, encoded, targets = CHART_SIDE * grid.spatial, [], []
    for number in range(CHARTS):
        clip = moving_leaves(grid.frames(CHART_FRAMES), side, side, seed=number)
        latents = encode(clip)
        encoded.append(latents[0].movedim(0, -1).flatten(0, 2).double().cpu())
        targets.append((as_small(clip, latents.shape[2:]) * 2 - 1).flatten(0, 2).double())
    channels, colours = torch.cat(encoded), torch.cat(targets)
    channels = torch.cat([channels, channels.new_ones(len(channels), 1)], dim=1)
    solution = torch.linalg.lstsq(channels, colours).solution.tolist()
    return Colours(solution[:-1], solution[-1])


def as_small(clip: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """A clip [F, H, W, 3] averaged down to the size (T, h, w) of its latents."""
    first, others = clip.movedim(-1, 0)[None].split([1, len(clip) - 1], dim=2)
    small = [torch.nn.functional.interpolate(first, (1, *size[1:]), mode="area")]
    if size[0] > 1:
        small.append(torch.nn.functional.interpolate(others, (size[0] - 1, *size[1:]), mode="area"))
    return torch.cat(small, dim=2)[0].movedim(0, -1)


def moving_leaves(frames: int, height: int, width: int, seed: int) -> torch.Tensor:
    """A clip [F, H, W, 3] in 0..1 of discs that drift over each other on a grey ground, often in saturated colours.

    Areas and edges are distributed as in photographs: this is the dead leaves model, whose radii have a density of
    r ** -3 (Lee, Mumford, Huang 2001).
    """
    generator = torch.Generator().manual_seed(seed)
    start, drift, colours = (torch.rand(LEAVES, n, generator=generator) for n in (2, 2, 3))
    share, ground, grey = (torch.rand(n, generator=generator) for n in (LEAVES, 1, LEAVES))
    colours = torch.where(grey[:, None] < GREY_LEAVES, colours[:, :1], colours)
    colours, ground = ((1 - torch.cos(torch.pi * value)) / 2 for value in (colours, ground))  # more at the ends
    radii = SMALLEST_LEAF / (1 - share * (1 - SMALLEST_LEAF**2)).sqrt() / 2
    rows, columns = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)[None]
    times = torch.linspace(-0.25, 0.25, frames)[:, None, None]
    clip = ground.expand(frames, height, width, 3).clone()
    for (top, left), (down, right), colour, radius in zip(start, drift * 2 - 1, colours, radii, strict=True):
        clip[(rows - top - down * times) ** 2 + (columns - left - right * times) ** 2 < radius**2] = colour
    return clip
