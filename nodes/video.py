"""What the nodes for files share: a VIDEO as a clip to read, how it is to be written, and what is said of both."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import torch
from comfy_api.latest import InputImpl, io

from ..media import formats, read
from ..media.sound import Sound, of_waveform
from ..media.write import Target
from ..models.bridge.job import metadata, progress
from .inputs import DEPTHS


def rate_of(fps: float) -> Fraction:
    """Frames per second as films count them: 23.976 is 24000/1001."""
    return Fraction(fps).limit_denominator(1001)


def sound_of(audio: dict | None) -> Sound | None:
    """An AUDIO as sound to write."""
    return of_waveform(audio["waveform"], audio["sample_rate"]) if audio else None


def clip_of(video: Any) -> tuple[read.Clip, float, float]:
    """A VIDEO as a clip to read, and which seconds of it are meant. Raises MediaError when it cannot be read."""
    if isinstance(video, InputImpl.VideoFromComponents):
        parts = video.get_components()
        clip = read.of_images(parts.images, Fraction(parts.frame_rate), sound_of(parts.audio))
        return clip, 0.0, clip.length
    clip = read.of_file(video.get_stream_source())
    if not hasattr(video, "get_active_trim_window"):  # newer ComfyUI: a VIDEO may be a part of its file
        return clip, 0.0, clip.length
    start, length = video.get_active_trim_window()
    return clip, start, min(clip.length, start + length) if length else clip.length


def sequence(clip: read.Clip, start: float, end: float, rate: Fraction) -> tuple[list[int], Sound | None]:
    """Which frames of a clip are seen at `rate` from `start` to `end` seconds, and what is heard."""
    wanted = read.frames_at(clip, rate, start, end)
    return wanted, clip.sound(start, start + float(len(wanted) / rate))


def watched(chunks: Iterator[torch.Tensor], total: int) -> Iterator[torch.Tensor]:
    """The chunks as they are; ComfyUI shows how far they are, and can stop them."""
    report, done = progress(total), 0
    for chunk in chunks:
        done += len(chunk)
        yield chunk
        report(done)


def target_of(node: type[io.ComfyNode], format: str, rate: Fraction, crf: int, bit_depth: str) -> Target:
    """How a clip is to be written, the running graph in its tags. Raises MediaError for an unknown format."""
    tags = {
        name: json.dumps(content) for name, content in metadata(node.hidden.prompt, node.hidden.extra_pnginfo).items()
    }
    return Target(formats.named(format), rate, crf, DEPTHS[bit_depth], tags)


def described(clip: read.Clip, target: Target) -> tuple[str, ...]:
    """What an artist should know of a clip that was read and of how it is written."""
    depth = f"{target.style.name} is {target.depth} bit"
    return (*clip.notes, depth) if target.depth != target.asked_depth else clip.notes


def noted(text: str, notes: Iterable[str]) -> str:
    """A node's line with each note about it, once, in brackets below."""
    lines = ";\n".join(dict.fromkeys(notes))
    return f"{text}\n({lines})" if lines else text
