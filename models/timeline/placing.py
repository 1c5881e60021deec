"""Place images in a clip: find the latent frame they begin at, choose which to encode, and write them into a LATENT."""

from __future__ import annotations

import torch

from ..contract.grid import Grid
from .latent import frame_rate_of, mask_of, picture_of, sound_of, with_mask, with_streams


def place(latent: dict, content: torch.Tensor, start: int, strength: float) -> dict:
    """Write known content [1 or B, C, t, H, W] into a LATENT from latent frame `start` on; returns a new LATENT.

    strength 1 keeps the content, 0 ignores it, and a value between keeps it in part. Latent frames past the end are
    dropped. Raises ValueError if channels or size do not fit.
    """
    samples = picture_of(latent).clone()
    if content.shape[1] != samples.shape[1] or content.shape[3:] != samples.shape[3:]:
        raise ValueError(
            f"The encoded images have latents {tuple(content.shape[1:])} (channels, frames, height, width), but the "
            f"latent they go into has {tuple(samples.shape[1:])}. Use the VAE of the same Load Video Model node."
        )
    count = min(content.shape[2], samples.shape[2] - start)
    where = slice(start, start + count)
    samples[:, :, where] = content[:, :, :count].to(samples)
    mask = mask_of(latent)
    mask[:, :, where] = 1.0 - strength
    return with_mask({**latent, "samples": with_streams(latent["samples"], samples, sound_of(latent["samples"]))}, mask)


def start_of(position: str, time: float, count: int, latent: dict, grid: Grid) -> int:
    """The latent frame where `count` images begin: position is "first", "last" or "at time" (seconds)."""
    end = picture_of(latent).shape[2]
    if position == "first":
        return 0
    if position == "last":
        return max(0, end - max(1, count // grid.temporal))
    return min(latent_frame_of(round(time * frame_rate_of(latent)), grid), end - 1)


def latent_frame_of(frame: int, grid: Grid) -> int:
    """The latent frame that the frame with this number, from 0, is in."""
    return -(-frame // grid.temporal)


def frame_of(position: str, time: float, latent: dict, grid: Grid) -> int:
    """The frame of the shot, from 0, that an image is: position is "first", "last" or "at time" (seconds)."""
    last = grid.frames(latent["samples"].shape[2]) - 1
    return {"first": 0, "last": last}.get(position, min(last, round(time * frame_rate_of(latent))))


def clip_for(count: int, start: int, grid: Grid) -> list[int]:
    """Indices of the images to encode, of `count` images that begin at latent frame `start`.

    The first latent frame of a clip is one frame long, each other one `temporal` frames. At the start, images that do
    not fill a latent frame are left out. Elsewhere the clip gets one extra frame in front, whose latent frame is
    discarded, and the last image is repeated if there are fewer images than one latent frame has.
    """
    step = grid.temporal
    if start == 0:
        return list(range((count - 1) // step * step + 1))
    return [0, *(min(n, count - 1) for n in range(max(1, count // step) * step))]


def keyframes(times: str, strengths: str, count: int, latent: dict, grid: Grid) -> list[tuple[int, float]]:
    """The frame, from 0, and strength of each of `count` images, read from "first, 1.5, 50%, last" and "1" or "1, 0.5".

    Raises ValueError for a time that cannot be read, lies after the end, or falls on another image's latent frame.
    """
    when = [word.strip().lower() for word in times.split(",") if word.strip()]
    kept = [word.strip() for word in strengths.split(",") if word.strip()]
    if len(when) != count:
        raise ValueError(f"There are {count} images and {len(when)} times ('{times}'). Write one time for each image.")
    if len(kept) not in (1, count):
        raise ValueError(f"There are {count} images and {len(kept)} strengths. Write one for each, or one for all.")
    frames = [_keyframe(word, latent, grid) for word in when]
    placed: dict[int, str] = {}
    for frame, word in zip(frames, when, strict=True):
        start = latent_frame_of(frame, grid)
        if start in placed:
            raise ValueError(
                f"The images at '{placed[start]}' and '{word}' fall on the same latent frame, which is "
                f"{grid.temporal} frames of video long. Move one of them."
            )
        placed[start] = word
    return list(zip(frames, [_share(word) for word in kept] * (count // len(kept)), strict=True))


def _keyframe(word: str, latent: dict, grid: Grid) -> int:
    rate, end = frame_rate_of(latent), picture_of(latent).shape[2]
    if word in ("first", "last"):
        return frame_of(word, 0.0, latent, grid)
    length = (grid.frames(end) - 1) / rate  # the time of the last frame
    try:
        seconds = float(word[:-1]) / 100 * length if word.endswith("%") else float(word)
    except ValueError:
        raise ValueError(f"'{word}' is not a time. Write seconds, first, last, or a percentage such as 50%.") from None
    if not 0 <= seconds <= length + 1 / rate:
        raise ValueError(f"The time '{word}' is outside the shot, whose last frame is at {length:.2f} seconds.")
    return frame_of("at time", seconds, latent, grid)


def _share(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError(f"The strength '{word}' is not a number from 0 to 1.")
    return value
