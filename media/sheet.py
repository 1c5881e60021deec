"""Contact sheets: frames of clips side by side in one picture, to judge or choose at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw

from . import read
from .film import Source
from .probe import pictures_of

GAP, LABEL = 4, 24
"""Pixels between frames, and for a label beside or below them."""
GROUND, INK = (32, 32, 32), (224, 224, 224)


def contact_sheet(clips: list[torch.Tensor], count: int, width: int) -> torch.Tensor:
    """Clips [F, H, W, 3] in 0..1 -> one picture [1, h, w, 3]: `count` frames of each, `width` pixels wide.

    Each clip has a numbered row. Clips may differ in length and size. Frames are spread evenly from first to last; a
    clip with fewer than `count` shows all.
    """
    rows = [grid(_pictures(clip, count), count, width) for clip in clips]
    sheet = Image.new("RGB", (LABEL + max(row.width for row in rows), sum(row.height for row in rows) + GAP), GROUND)
    pen, top = ImageDraw.Draw(sheet), GAP
    for number, row in enumerate(rows, start=1):
        sheet.paste(row, (LABEL, top))
        pen.text((LABEL // 2, top + (row.height - GAP) // 2), str(number), fill=INK, anchor="mm")
        top += row.height
    return torch.from_numpy(np.asarray(sheet).astype(np.float32) / 255)[None]


def of_file(
    source: Source,
    count: int,
    columns: int,
    width: int,
    gap: int = GAP,
    times: bool = False,
    enlarge: bool = False,
) -> Image.Image:
    """`count` frames of a video file from first to last, in rows of `columns`. times: write each frame's time below it.

    width: of a frame, in pixels; a smaller clip keeps its own size unless `enlarge`. Raises MediaError if the file
    cannot be read.
    """
    clip = read.of_file(source)
    numbers = evenly(len(clip.times), count)
    labels = [f"{clip.times[number]:.2f} s" for number in numbers] if times else None
    return grid(pictures_of(clip, numbers), columns, width if enlarge else min(width, clip.width), gap, labels)


def grid(
    pictures: Sequence[Image.Image],
    columns: int,
    width: int,
    gap: int = GAP,
    labels: Sequence[str] | None = None,
) -> Image.Image:
    """Pictures of one size in rows, each `width` pixels wide, with a gap after it and its label, if any, below it."""
    first = pictures[0]
    height, columns = max(1, round(first.height * width / first.width)), min(columns, len(pictures))
    across, down = width + gap, height + gap + (LABEL if labels else 0)
    sheet = Image.new("RGB", (columns * across, -(-len(pictures) // columns) * down), GROUND)
    pen = ImageDraw.Draw(sheet)
    for number, picture in enumerate(pictures):
        left, top = number % columns * across, number // columns * down
        sheet.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (left, top))
        if labels:
            pen.text((left + 2, top + height + LABEL // 2), labels[number], fill=INK, anchor="lm")
    return sheet


def evenly(total: int, count: int) -> list[int]:
    """The numbers of `count` frames spread from the first of `total` to the last; all if there are fewer."""
    count = min(total, count)
    return [round(number * (total - 1) / max(count - 1, 1)) for number in range(count)]


def _pictures(clip: torch.Tensor, count: int) -> list[Image.Image]:
    pixels = clip[evenly(len(clip), count), ..., :3].clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
    return [Image.fromarray(frame) for frame in pixels]
