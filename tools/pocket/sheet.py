"""A contact sheet of sampled clips, one per row, with its prompt below: faults that the scores miss show here."""

from collections.abc import Sequence
from pathlib import Path

import pack
import torch
from PIL import Image
from torch import Tensor

GAP, WIDTH = 2, 128


def contact_sheet(videos: Sequence[Tensor], labels: list[str], target: Path, columns: int | None = None) -> None:
    """Write clips [3, T, H, W] in -1..1 as a PNG, `columns` frames of each: by default every second of the first's."""
    pack.load_media()
    from atelier_media.sheet import grid

    columns = columns or (videos[0].shape[1] + 1) // 2
    pictures = [picture for clip in videos for picture in spread(clip, columns)]
    below = [text for label in labels for text in (label, *[""] * (columns - 1))]
    target.parent.mkdir(parents=True, exist_ok=True)
    grid(pictures, columns, WIDTH, GAP, below).save(target)


def spread(clip: Tensor, count: int) -> list[Image.Image]:
    """So many frames of a clip [3, T, H, W] in -1..1, from the first to the last."""
    chosen = clip[:, torch.linspace(0, clip.shape[1] - 1, count).round().long()]
    pixels = ((chosen.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0)
    return [Image.fromarray(frame.numpy()) for frame in pixels]
