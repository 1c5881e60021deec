"""Encode Video and Trim Video: a clip that exists, made ready for a model, piece by piece."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import partial

import torch
from comfy_api.latest import io

from ..media import MediaError, formats, read
from ..models.bridge.vae import encode_stream, vae_grid
from ..models.timeline.latent import DEFAULT_FPS
from .inputs import check
from .notice import show
from .video import (
    CRF,
    clip_of,
    described,
    lost_clips,
    noted,
    rate_of,
    sequence,
    target_of,
    temporary,
    watched,
    writing_inputs,
)

MAX_SIDE = 16384
NO_RATE = (
    f"images carry no frame rate: {DEFAULT_FPS:g} fps is assumed.\nIf theirs is another, set fps (VHS: Video Info's "
    f"fps),\nor the video plays at another speed. To a model\nfor 8 fps, {DEFAULT_FPS:g} fps is slow motion: give it "
    "every\nthird frame and fps 8"
)
"""What an artist should know who connects images and leaves fps at 0."""


def time_input(name: str, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=0.0, min=0.0, max=86_400.0, step=0.01, tooltip=tooltip)


def fps_input() -> io.Float.Input:
    return io.Float.Input(
        "fps",
        default=0.0,
        min=0.0,
        max=240.0,
        step=0.01,
        tooltip="Frames per second. The speed stays: frames are left out or repeated. 0 = the clip's own.",
    )


class EncodeVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        side = dict(default=0, min=0, max=MAX_SIDE, step=8)
        return io.Schema(
            node_id="AtelierEncodeVideo",
            display_name="Encode Video",
            category="Atelier",
            description="Encodes a clip into the latent of a model, to change it (Sample Video with denoise below 1) "
            "or to go on from it. Sizes and lengths a model cannot take move to the nearest it can.",
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE of Load Video Model."),
                io.Int.Input("width", **side, tooltip="Pixels. 0 = the clip's own, or in proportion to the height."),
                io.Int.Input("height", **side, tooltip="Pixels. 0 = the clip's own, or in proportion to the width."),
                io.Combo.Input(
                    "fit",
                    options=list(read.FITS),
                    default="crop",
                    tooltip="Where the shape differs: crop what is too much, pad with black, or stretch.",
                ),
                fps_input(),
                time_input("start", "Seconds into the clip where encoding begins."),
                time_input("length", "Seconds to encode. 0 = to the end."),
                io.Video.Input("video", optional=True, tooltip="The clip. Connect this or images."),
                io.Image.Input("images", optional=True, tooltip="The clip's frames. Connect this or video."),
            ],
            outputs=[io.Latent.Output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, fit=None) -> bool | str:
        return check(cls, fit=fit)

    @classmethod
    def execute(
        cls,
        vae,
        width: int,
        height: int,
        fit: str,
        fps: float,
        start: float,
        length: float,
        video=None,
        images: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        if (video is None) == (images is None):
            raise ValueError(
                "Encode Video takes one clip: connect 'video' or 'images', and not both."
                if video is not None
                else "Encode Video has no clip: connect 'video' (Load Video, Decode Video) or 'images'."
            )
        if video is not None:
            clip, first, last = clip_of(video)
        else:
            clip = read.of_images(images, rate_of(fps or DEFAULT_FPS))
            clip = clip if fps else replace(clip, notes=(NO_RATE,))
            first, last = 0.0, clip.length
        rate = rate_of(fps) if fps else clip.rate
        first += start
        wanted = read.frames_at(clip, rate, first, min(last, first + length) if length else last)
        grid = vae_grid(vae)
        asked = _asked(clip, width, height)
        size = tuple(map(grid.legal_side, asked))
        count = grid.legal_frames(len(wanted))
        count -= grid.temporal * grid.group if count > len(wanted) else 0
        frames = partial(read.read, clip, wanted[:count], size, fit)
        samples = encode_stream(vae, frames, size[::-1], count)
        show(cls, _said(clip, asked, size, len(wanted), count, rate))
        return io.NodeOutput({"samples": samples, "frame_rate": float(rate)})


def _asked(clip: read.Clip, width: int, height: int) -> tuple[int, int]:
    """Width and height; one that is not given (0) follows from the other, both from the clip."""
    wide = width or (round(height * clip.width / clip.height) if height else clip.width)
    high = height or (round(width * clip.height / clip.width) if width else clip.height)
    return wide, high


def _said(
    clip: read.Clip, asked: tuple[int, int], size: tuple[int, int], given: int, count: int, rate: Fraction
) -> str:
    """What an artist should know of what was encoded."""
    notes = [f"{asked[0]} x {asked[1]} -> {size[0]} x {size[1]}"] if asked != size else []
    if count != given:
        notes.append(f"the first {count} of {given} frames: the most it takes of them")
    if clip.sound(0.0, clip.length):
        notes.append("its sound stays behind: take it from\nGet Video Components to Decode Video")
    summary = f"{size[0]} x {size[1]}, {count} frames at {float(rate):.4g} fps = {float(count / rate):.2f} s"
    return noted(summary, (*notes, *clip.notes))


class TrimVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierTrimVideo",
            display_name="Trim / Resample Video",
            category="Atelier",
            description="Cuts a piece out of a clip, changes its frame rate or turns it round, with its sound in step.",
            inputs=[
                io.Video.Input("video", tooltip="The clip."),
                time_input("start", "Seconds into the clip where the piece begins."),
                time_input("end", "Seconds into the clip where the piece ends. 0 = the end of the clip."),
                fps_input(),
                io.Boolean.Input("reverse", default=False, tooltip="Play it backwards, the sound too."),
                *writing_inputs(formats.available(formats.VIDEO)),
            ],
            outputs=[io.Video.Output()],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, format=None, bit_depth=None) -> bool | str:
        return check(cls, format=format, bit_depth=bit_depth)

    @classmethod
    def fingerprint_inputs(cls, **_) -> int:
        return lost_clips()

    @classmethod
    def execute(
        cls,
        video,
        start: float,
        end: float,
        fps: float,
        reverse: bool,
        format: str = formats.DEFAULT,
        crf: int = CRF,
        bit_depth: str = "8 bit",
    ) -> io.NodeOutput:
        if end and end <= start:
            raise MediaError(f"The end ({end:g} s) must be after the start ({start:g} s), or 0: the end of the clip.")
        clip, first, last = clip_of(video)
        rate = rate_of(fps) if fps else clip.rate
        wanted, sound = sequence(clip, first + start, min(last, first + end) if end else last, rate)
        if reverse:
            wanted, sound = wanted[::-1], sound.reversed() if sound else None
        target = target_of(cls, format, rate, crf, bit_depth)
        made, _, notes = temporary(watched(read.read(clip, wanted), len(wanted)), target, sound)
        size = f"{clip.width} x {clip.height}, {len(wanted)} frames at {float(rate):.4g} fps"
        summary = f"{size} = {float(len(wanted) / rate):.2f} s"
        show(cls, noted(summary, (*described(clip, target), *notes)))
        return io.NodeOutput(made)
