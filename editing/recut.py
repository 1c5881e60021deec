"""Re-cuts a clip: drops, repeats and reorders pieces, with gaps that the model fills."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..models.bridge.vae import encode, vae_grid
from ..models.contract.grid import Grid
from ..models.timeline.latent import CUTS, finished, frame_rate_of, with_holes
from ..models.timeline.sound import Stretch, edited, hole
from .decoding import scenes_apart

if TYPE_CHECKING:
    import comfy.sd

_SECONDS = r"([0-9]{1,9}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})"
GAP, PIECE = re.compile(rf"gap\s+{_SECONDS}", re.IGNORECASE), re.compile(rf"{_SECONDS}?\s*-\s*{_SECONDS}?")
MOST_FRAMES = 100_000
CUT_LOOK = "Write pieces as '0-1.5' and gaps as 'gap 0.5', in seconds, one per line or separated by commas."


def read_cuts(text: str, frames: int, frame_rate: float, grid: Grid) -> list[int | None]:
    """The clip's frame numbers in their new order; None is a frame for the model to make.

    text: pieces "from-to" and "gap length" in seconds, one per line or separated by commas. If the model cannot make
    the length, the last gap is extended; without a gap, frames at the end are dropped. Raises ValueError, which names
    the piece that cannot be read or holds no frame.
    """
    order: list[int | None] = []
    for piece in filter(None, (part.strip() for part in re.split(r"[,\n]", text))):
        gap, ends = GAP.fullmatch(piece), PIECE.fullmatch(piece)
        if gap:
            frame_numbers: list[int | None] = [None] * min(round(float(gap[1]) * frame_rate), MOST_FRAMES + 1)
        elif ends:
            begin, end = (float(number) * frame_rate if number else None for number in ends.groups())
            frame_numbers = list(range(round(begin or 0), frames if end is None else min(round(end), frames)))
            if not frame_numbers:
                raise ValueError(
                    f"The piece '{piece}' holds no frame: the clip goes from 0 to {frames / frame_rate:g} seconds. "
                    + CUT_LOOK
                )
        else:
            raise ValueError(f"'{piece}' is not a piece or a gap. {CUT_LOOK}")
        order += frame_numbers
        if len(order) > MOST_FRAMES:
            raise ValueError(f"At '{piece}' the new clip has more than {MOST_FRAMES:,} frames. Cut it in parts.")
    if all(frame is None for frame in order):
        raise ValueError(f"There is no piece of the clip here. {CUT_LOOK}")
    step = grid.temporal * grid.group
    spare = (len(order) - 1) % step
    if spare and None in order:
        last_gap = len(order) - order[::-1].index(None)
        return order[:last_gap] + [None] * (step - spare) + order[last_gap:]
    return order[: len(order) - spare]


def filled(order: list[int | None]) -> list[int]:
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


def stretches_of(order: list[int | None]) -> list[Stretch]:
    """The order of `read_cuts` as stretches: consecutive frames of the clip, and holes."""
    stretches: list[Stretch] = []
    for frame in order:
        last = stretches[-1] if stretches else None
        if last and (last.clip is None if frame is None else last.clip == 0 and last.start + last.frames == frame):
            stretches[-1] = replace(last, frames=last.frames + 1)
        else:
            stretches.append(hole(1) if frame is None else Stretch(1, frame))
    return stretches
