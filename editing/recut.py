"""Re-cuts a clip: drops, repeats and reorders pieces, with gaps that the model fills."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..models.bridge.vae import encode, vae_grid
from ..models.contract.grid import Grid
from ..models.timeline.cuts import Order, read_order, runs
from ..models.timeline.latent import CUTS, finished, frame_rate_of, with_holes
from ..models.timeline.sound import Stretch, edited, hole
from .decoding import scenes_apart

if TYPE_CHECKING:
    import comfy.sd


def read_cuts(text: str, frames: int, frame_rate: float, grid: Grid) -> Order:
    """The clip's frame numbers in their new order, `cuts.read_order`'s, at a length that the model can make.

    If it cannot make the length, the last gap is extended; without a gap, frames at the end are dropped. Raises
    ValueError as `read_order` does.
    """
    order = read_order(text, frames, frame_rate)
    step = grid.temporal * grid.group
    spare = (len(order) - 1) % step
    if spare and None in order:
        last_gap = len(order) - order[::-1].index(None)
        return order[:last_gap] + [None] * (step - spare) + order[last_gap:]
    return order[: len(order) - spare]


def filled(order: Order) -> list[int]:
    """The order with gaps filled for the encoder: each half of a gap repeats the nearest frame of the clip."""
    known = torch.tensor([place for place, frame in enumerate(order) if frame is not None])
    places = torch.arange(len(order))
    after = torch.searchsorted(known, places).clamp(max=len(known) - 1)
    before = (after - 1).clamp(min=0)
    nearer = torch.where((known[after] - places).abs() < (places - known[before]).abs(), after, before)
    return [order[place] for place in known[nearer]]


def recut(latent: dict, text: str, vae: comfy.sd.VAE) -> dict:
    """The clip re-cut as `text` says: decoded, reordered and re-encoded, with holes for gaps.

    A latent frame with one frame to make is a hole as a whole. Raises ValueError as `read_cuts` does.
    """
    clip, grid = finished(latent), vae_grid(vae)
    order = read_cuts(text, grid.frames(clip.shape[2]), frame_rate_of(latent), grid)
    shown = torch.cat(list(scenes_apart(vae, clip, latent.get(CUTS, ())))).unflatten(0, (len(clip), -1))
    samples = encode(vae, shown[:, filled(order)])
    missing = torch.tensor([frame is None for frame in order]).float()
    mask = torch.cat([missing[:1], missing[1:].view(-1, grid.temporal).amax(dim=1)])
    return with_holes(latent, samples, mask, edited([latent], stretches_of(order)))


def stretches_of(order: Order) -> list[Stretch]:
    """The order of `read_cuts` as stretches: consecutive frames of the clip, and holes."""
    return [hole(len(run)) if run[0] is None else Stretch(len(run), run[0]) for run in runs(order)]
