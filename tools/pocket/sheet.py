"""Contact sheets: one clip a row, its prompt above it. Numbers do not show everything; look."""

from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

GAP, LABEL, SCALE = 2, 14, 2


def contact_sheet(videos: Tensor, labels: list[str], target: Path, every: int = 2) -> None:
    """Writes clips [B, 3, T, H, W] in -1..1 as a PNG, every second frame, twice as large."""
    pixels = ((videos.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1)[:, ::every]
    count, frames, height, width, _ = pixels.shape
    cell_width, cell_height = width * SCALE + GAP, height * SCALE + GAP + LABEL
    sheet = Image.new("RGB", (frames * cell_width, count * cell_height), (60, 60, 60))
    pen = ImageDraw.Draw(sheet)
    for row, (clip, label) in enumerate(zip(pixels, labels, strict=True)):
        pen.text((2, row * cell_height), label, fill="white")
        for column, frame in enumerate(clip):
            picture = Image.fromarray(frame.numpy()).resize((width * SCALE, height * SCALE), Image.Resampling.NEAREST)
            sheet.paste(picture, (column * cell_width, row * cell_height + LABEL))
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target)
