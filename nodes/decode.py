"""Decode Video: from latents to a playable VIDEO, written while it is decoded, and to frames where they are wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch
from comfy_api.latest import io

from ..media import formats
from ..models import bridge
from ..models.knowns import DEFAULT_FPS
from .choices import check
from .clip import CRF, rate_of, sound_of, target_of, temporary, watched, writing_inputs

VIDEO, IMAGE = 0, 1
"""Places of the outputs."""


class DecodeVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierDecodeVideo",
            display_name="Decode Video",
            category="Atelier",
            description="Decodes the sampled latent, piece by piece, into a video file. The frames are kept in memory "
            "only where IMAGE is connected. Where nothing is connected, the clip is shown here.",
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE of Load Video Model."),
                io.Latent.Input("latent", tooltip="The sampled latent."),
                io.Float.Input(
                    "fps",
                    default=0.0,
                    min=0.0,
                    max=240.0,
                    step=0.01,
                    tooltip="Frames per second of the video. 0 = the latent's own.",
                ),
                *writing_inputs(formats.available(formats.VIDEO)),
                io.Audio.Input("audio", optional=True, tooltip="Sound for the video; cut where the video ends."),
            ],
            outputs=[io.Video.Output(), io.Image.Output()],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, format=None, bit_depth=None) -> bool | str:
        return check(cls, format=format, bit_depth=bit_depth)

    @classmethod
    def fingerprint_inputs(cls, **_) -> list[bool]:
        return [bridge.output_is_used(place) for place in (VIDEO, IMAGE)]

    @classmethod
    def execute(
        cls,
        vae,
        latent: dict,
        fps: float,
        format: str = formats.DEFAULT,
        crf: int = CRF,
        bit_depth: str = "8 bit",
        audio: dict | None = None,
    ) -> io.NodeOutput:
        (video_used, images_used), samples = cls.fingerprint_inputs(), latent["samples"]
        total = len(samples) * bridge.vae_grid(vae).frames(samples.shape[2])
        chunks, kept = watched(bridge.decode_stream(vae, samples), total), []
        if images_used:
            chunks = _kept(chunks, total, kept)
            if not video_used:
                deque(chunks, maxlen=0)
                return io.NodeOutput(None, kept[0])
        rate = rate_of(fps or latent.get("frame_rate", DEFAULT_FPS))
        video, shown = temporary(chunks, target_of(cls, format, rate, crf, bit_depth), sound_of(audio))
        return io.NodeOutput(video, kept[0] if kept else None, ui=None if video_used else shown)


def _kept(chunks: Iterator[torch.Tensor], total: int, into: list[torch.Tensor]) -> Iterator[torch.Tensor]:
    """The chunks as they are; at their end all `total` frames stand in `into` as one tensor [N, H, W, 3]."""
    done = 0
    for chunk in chunks:
        if not into:
            into.append(chunk.new_empty(total, *chunk.shape[1:]))
        into[0][done : done + len(chunk)] = chunk
        done += len(chunk)
        yield chunk
