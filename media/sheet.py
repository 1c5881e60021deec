"""A contact sheet of several clips: one numbered row each, frames from first to last, to choose one at a glance."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw

GAP, LABEL = 4, 24
GROUND, INK = (32, 32, 32), (224, 224, 224)


def contact_sheet(clips: list[torch.Tensor], count: int, width: int) -> torch.Tensor:
    """Clips [F, H, W, 3] in 0..1 -> one picture [1, h, w, 3]: `count` frames of each, `width` pixels wide.

    Clips may differ in length and size; their frames are spread evenly, and a clip of fewer frames shows all.
    """
    rows = [_row(clip, str(number), min(count, len(clip)), width) for number, clip in enumerate(clips, start=1)]
    heights = [row.height + GAP for row in rows]
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(heights) + GAP), GROUND)
    for number, row in enumerate(rows):
        sheet.paste(row, (0, GAP + sum(heights[:number])))
    return torch.from_numpy(np.asarray(sheet).astype(np.float32) / 255)[None]


def _row(clip: torch.Tensor, label: str, count: int, width: int) -> Image.Image:
    at = torch.linspace(0, len(clip) - 1, count).round().long()
    pixels = (clip[at, ..., :3].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    height = max(1, round(pixels.shape[1] * width / pixels.shape[2]))
    row = Image.new("RGB", (LABEL + count * (width + GAP), height), GROUND)
    for column, frame in enumerate(pixels):
        picture = Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS)
        row.paste(picture, (LABEL + column * (width + GAP), 0))
    ImageDraw.Draw(row).text((LABEL // 2, height // 2), label, fill=INK, anchor="mm")
    return row
