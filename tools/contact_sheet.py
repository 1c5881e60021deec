"""A contact sheet: frames of a video side by side in one picture, each with its time, to judge a clip at a glance."""

import math
from pathlib import Path

import av
from PIL import Image, ImageDraw

GAP, LABEL = 6, 16
"""Pixels between the frames, and the height of the line with the time."""


def contact_sheet(video: Path, target: Path, count: int = 12, columns: int = 4, width: int = 192) -> Path:
    """Write ``count`` frames of ``video``, evenly spread from first to last, as a PNG; ``width`` is a frame's."""
    frames = frames_of(video, count)
    columns = min(columns, len(frames))
    rows = math.ceil(len(frames) / columns)
    height = round(frames[0][1].height * width / frames[0][1].width)
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + LABEL + GAP) + GAP), "#202020")
    draw = ImageDraw.Draw(sheet)
    for index, (seconds, frame) in enumerate(frames):
        left = GAP + index % columns * (width + GAP)
        top = GAP + index // columns * (height + LABEL + GAP)
        sheet.paste(frame.resize((width, height), Image.Resampling.LANCZOS), (left, top))
        draw.text((left, top + height + 2), f"{seconds:.2f} s", fill="#d0d0d0")
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target)
    return target


def frames_of(video: Path, count: int) -> list[tuple[float, Image.Image]]:
    """(time, picture) of ``count`` frames, or of all when there are fewer. Two passes, so that only these are kept."""
    with av.open(str(video)) as container:
        total = sum(1 for _ in container.decode(video=0))
    if total == 0:
        raise ValueError(f"{video} holds no video frames")
    last = total - 1
    wanted = {round(i * last / (count - 1)) for i in range(count)} if total > count > 1 else set(range(total))
    with av.open(str(video)) as container:
        return [
            (float(frame.time or 0), frame.to_image())
            for index, frame in enumerate(container.decode(video=0))
            if index in wanted
        ]
