"""A contact sheet of sampled clips, one per row, with its prompt below: faults that the scores miss show here."""

from pathlib import Path

import pack
import torch
from PIL import Image
from torch import Tensor

GAP, SCALE = 2, 2


def contact_sheet(videos: Tensor, labels: list[str], target: Path, every: int = 2) -> None:
    """Write clips [B, 3, T, H, W] in -1..1 as a PNG: every second frame, at twice its size."""
    pack.load_media()
    from atelier_media.sheet import grid

    pixels = ((videos.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1)[:, ::every]
    frames, width = pixels.shape[1], pixels.shape[3]
    pictures = [Image.fromarray(frame.numpy()) for clip in pixels for frame in clip]
    below = [text for label in labels for text in (label, *[""] * (frames - 1))]
    target.parent.mkdir(parents=True, exist_ok=True)
    grid(pictures, frames, width * SCALE, GAP, below).save(target)
