"""Trim / Resample Video: a piece of a clip, at another frame rate or backwards, with its sound in sync."""

from __future__ import annotations

from comfy_api.latest import io

from ..media import MediaError, formats, read
from .inputs import CRF, check, found_by, fps_input, time_input, writing_inputs
from .notice import show
from .temporary import lost_clips, temporary
from .video import clip_of, described, noted, rate_of, sequence, target_of, watched


class TrimVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierTrimVideo",
            display_name="Trim / Resample Video",
            category="Atelier",
            **found_by("cut video", "frame rate", "fps", "reverse video", "video slice", essential=True),
            description="Cuts a piece out of a clip, changes its frame rate or reverses it. Its sound stays in sync.",
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
            raise MediaError(f"The end ({end:g} s) must be after the start ({start:g} s), or 0 for the clip's end.")
        clip, first, last = clip_of(video)
        rate = rate_of(fps) if fps else clip.rate
        wanted, sound = sequence(clip, first + start, min(last, first + end) if end else last, rate)
        if reverse:
            wanted, sound = wanted[::-1], sound.reversed() if sound else None
        target = target_of(cls, format, rate, crf, bit_depth)
        cut, _, notes = temporary(watched(read.read(clip, wanted), len(wanted)), target, sound)
        size = f"{clip.width} x {clip.height}, {len(wanted)} frames at {float(rate):.4g} fps"
        summary = f"{size} = {float(len(wanted) / rate):.2f} s"
        show(cls, noted(summary, (*described(clip, target), *notes)))
        return io.NodeOutput(cut)
