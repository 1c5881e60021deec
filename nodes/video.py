"""Shared by the nodes for files: a VIDEO as a clip to read, its writing target, and notes on both."""

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
    """Frames per second as a fraction; NTSC rates come out exact: 23.976 is 24000/1001."""
    return Fraction(fps).limit_denominator(1001)


def audio_sound(audio: dict | None) -> Sound | None:
    """An AUDIO as sound to write."""
    return of_waveform(audio["waveform"], audio["sample_rate"]) if audio else None


def clip_of(video: Any) -> tuple[read.Clip, float, float]:
    """A VIDEO as a clip to read, and the start and end of its active part in seconds. Raises MediaError."""
    if isinstance(video, InputImpl.VideoFromComponents):
        parts = video.get_components()
        clip = read.of_images(parts.images, Fraction(parts.frame_rate), audio_sound(parts.audio))
        return clip, 0.0, clip.length
    clip = read.of_file(video.get_stream_source())
    if not hasattr(video, "get_active_trim_window"):  # newer ComfyUI: a VIDEO may be a part of its file
        return clip, 0.0, clip.length
    start, length = video.get_active_trim_window()
    return clip, start, min(clip.length, start + length) if length else clip.length


def sequence(clip: read.Clip, start: float, end: float, rate: Fraction) -> tuple[list[int], Sound | None]:
    """The frame numbers of a clip sampled at `rate` from `start` to `end` seconds, and the sound of that span."""
    wanted = read.frames_at(clip, rate, start, end)
    return wanted, clip.sound(start, start + float(len(wanted) / rate))


def watched(chunks: Iterator[torch.Tensor], total: int) -> Iterator[torch.Tensor]:
    """The chunks unchanged. After each one ComfyUI shows the progress and can cancel."""
    report, done = progress(total), 0
    for chunk in chunks:
        done += len(chunk)
        yield chunk
        report(done)


def target_of(node: type[io.ComfyNode], format: str, rate: Fraction, crf: int, bit_depth: str) -> Target:
    """The writing target, with the running graph in its tags. Raises MediaError for an unknown format."""
    tags = {
        name: json.dumps(content) for name, content in metadata(node.hidden.prompt, node.hidden.extra_pnginfo).items()
    }
    return Target(formats.named(format), rate, crf, DEPTHS[bit_depth], tags)


def described(clip: read.Clip, target: Target) -> tuple[str, ...]:
    """Notes on a clip as read, and on the bit depth if the format changes it."""
    depth = f"{target.style.name} is {target.depth} bit"
    return (*clip.notes, depth) if target.depth != target.asked_depth else clip.notes


def noted(text: str, notes: Iterable[str]) -> str:
    """A node's line, and below it the notes in brackets, each once."""
    lines = ";\n".join(dict.fromkeys(notes))
    return f"{text}\n({lines})" if lines else text
