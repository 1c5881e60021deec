"""Encode Video: existing footage into a model's latents, piece by piece."""

from __future__ import annotations

from dataclasses import replace

import torch
from comfy_api.latest import io

from ..editing.encoding import Encoded, encode_clip
from ..media import read
from ..models.timeline.latent import DEFAULT_FPS, sound_of
from .inputs import MAX_SIDE, check, found_by, fps_input, time_input, vae_input
from .notice import show
from .video import clip_of, noted, rate_of

NO_RATE = (
    f"images carry no frame rate: {DEFAULT_FPS:g} fps is assumed. If theirs differs, set fps (VHS: Video Info's "
    f"fps), or the video plays at the wrong speed. To a model for 8 fps, {DEFAULT_FPS:g} fps is slow motion: give it "
    "every third frame and fps 8"
)
"""The notice for images with fps 0."""


class EncodeVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        side = dict(default=0, min=0, max=MAX_SIDE, step=8)
        return io.Schema(
            node_id="AtelierEncodeVideo",
            display_name="Encode Video",
            category="Atelier",
            **found_by("vae encode", "video to latent", "video to video", "v2v"),
            description="Encodes a clip into a model's latent, to change it (Sample Video with denoise below 1) or to "
            "continue it. The size moves to the nearest the model can take, the length to the longest.",
            inputs=[
                vae_input(),
                io.Int.Input("width", **side, tooltip="Pixels. 0 = the clip's own, or in proportion to the height."),
                io.Int.Input("height", **side, tooltip="Pixels. 0 = the clip's own, or in proportion to the width."),
                io.Combo.Input(
                    "fit",
                    options=list(read.FITS),
                    default="crop",
                    tooltip="If the aspect ratio differs: crop the excess, pad with black, or stretch.",
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
                "Encode Video takes one clip: connect 'video' or 'images', not both."
                if video is not None
                else "Encode Video has no clip: connect 'video' (Load Video, Decode Video) or 'images'."
            )
        if video is not None:
            clip, first, last = clip_of(video)
        else:
            clip = read.of_images(images, rate_of(fps or DEFAULT_FPS))
            clip = clip if fps else replace(clip, notes=(NO_RATE,))
            first, last = 0.0, clip.length
        start, rate = first + start, rate_of(fps) if fps else clip.rate
        end = min(last, start + length) if length else last
        encoded = encode_clip(vae, clip, start, end, width, height, fit, rate)
        show(cls, summary(clip, encoded))
        return io.NodeOutput(encoded.latent)


def summary(clip: read.Clip, encoded: Encoded) -> str:
    """The node's notice: size, length and frame rate as encoded, and what was changed or left out."""
    asked, (width, height), count = encoded.asked, encoded.size, encoded.count
    notes = [f"{asked[0]} x {asked[1]} -> {width} x {height}"] if asked != encoded.size else []
    if count != encoded.given:
        notes.append(f"the first {count} of {encoded.given} frames: the most the model can take")
    if clip.sound(0.0, clip.length) and sound_of(encoded.latent["samples"]) is None:
        notes.append("this model has no sound: connect it from Get Video Components to Decode Video")
    seconds = float(count / encoded.rate)
    line = f"{width} x {height}, {count} frames at {float(encoded.rate):.4g} fps = {seconds:.2f} s"
    return noted(line, (*notes, *clip.notes))
