"""Decode Video: decodes latents into a video file as it goes, and into IMAGE if that output is connected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import torch
from comfy_api.latest import io

from ..editing import decoding
from ..media import formats
from ..models.bridge.job import output_is_used
from ..models.bridge.player import following
from ..models.timeline.latent import frame_rate_of
from .inputs import CRF, check, found_by, vae_input, writing_inputs
from .notice import show
from .temporary import lost_clips, temporary
from .video import audio_sound, rate_of, target_of

VIDEO, IMAGE, AUDIO = 0, 1, 2
"""Indices of the outputs."""


class DecodeVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierDecodeVideo",
            display_name="Decode Video",
            category="Atelier",
            **found_by("vae decode", "latent to video", essential=True),
            description="Decodes the sampled latent into a video file, piece by piece, with its sound if the model "
            "makes sound. The frames stay in memory only if IMAGE is connected. If no output is connected, the node "
            "plays the clip.",
            inputs=[
                vae_input(),
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
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="Sound for the video, instead of the latent's own. It is cut where the video ends.",
                ),
                io.Boolean.Input(
                    "sound",
                    default=True,
                    optional=True,
                    tooltip="Whether the video gets sound: that of the latent (LTX-2) or of 'audio'.",
                ),
            ],
            outputs=[io.Video.Output(), io.Image.Output(), io.Audio.Output()],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, format=None, bit_depth=None) -> bool | str:
        return check(cls, format=format, bit_depth=bit_depth)

    @classmethod
    def fingerprint_inputs(cls, **_) -> list[bool | int]:
        return [*cls._used(), lost_clips()]

    @staticmethod
    def _used() -> list[bool]:
        """Whether VIDEO, IMAGE and AUDIO are connected."""
        return [output_is_used(place) for place in (VIDEO, IMAGE, AUDIO)]

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
        sound: bool = True,
    ) -> io.NodeOutput:
        video_used, images_used, audio_used = cls._used()
        own = decoding.sound(vae, latent) if audio is None and (sound or audio_used) else None
        heard = audio or own
        if audio_used and heard is None:
            raise ValueError(
                "AUDIO of Decode Video is connected, but this latent has no sound: its model makes none. Disconnect "
                "it, or connect 'audio'."
            )
        rate = rate_of(fps or frame_rate_of(latent))
        # Front ends show a node's last preview in place of its video, so a node that will show its video plays nothing.
        plays_it = not video_used and not images_used
        with nullcontext(iter) if plays_it else following(float(rate)) as followed:
            chunks, kept = followed(decoding.frames(vae, latent)), []
            if images_used and not video_used:
                return io.NodeOutput(None, torch.cat(list(chunks)), heard)
            if images_used:
                chunks = _kept(chunks, kept)
            target = target_of(cls, format, rate, crf, bit_depth)
            written = audio_sound(heard) if sound else None
            video, shown, notes = temporary(chunks, target, written, shown_here=not video_used)
        if own and sound and fps and fps != frame_rate_of(latent):
            notes = (*notes, f"its sound was made for {frame_rate_of(latent):g} fps and does not fit {fps:g}")
        if notes:
            show(cls, ";\n".join(notes))
        images = torch.cat(kept) if kept else None
        return io.NodeOutput(video, images, heard, ui=None if video_used else shown)


def _kept(chunks: Iterator[torch.Tensor], into: list[torch.Tensor]) -> Iterator[torch.Tensor]:
    """The chunks unchanged; each is also appended to `into`."""
    for chunk in chunks:
        into.append(chunk)
        yield chunk
