"""Join Videos: two clips into one file, piece by piece."""

from __future__ import annotations

from itertools import chain

from comfy_api.latest import io

from ..media import formats, read, sound
from .inputs import CRF, check, found_by, writing_inputs
from .notice import show
from .temporary import lost_clips, temporary
from .video import clip_of, described, noted, sequence, target_of, watched

FORWARD, BACKWARD = "forward", "backward"


class JoinVideos(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierJoinVideos",
            display_name="Join Videos",
            category="Atelier",
            **found_by("concatenate video", "merge videos", essential=True),
            description="Joins two clips, frames and sound. The new clip has the frame rate of the first input and the "
            "size of the larger one.",
            inputs=[
                io.Video.Input("first", tooltip="A clip. The result has its frame rate."),
                io.Video.Input("second", tooltip="The clip to join to it."),
                io.Combo.Input(
                    "direction",
                    options=[FORWARD, BACKWARD],
                    default=FORWARD,
                    tooltip="forward: the second comes after the first. backward: it comes before it.",
                ),
                io.Combo.Input(
                    "fit",
                    options=list(read.FITS),
                    default="crop",
                    tooltip="If the aspect ratios differ: crop the excess, pad with black, or stretch.",
                ),
                *writing_inputs(formats.available(formats.VIDEO)),
            ],
            outputs=[io.Video.Output()],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, direction=None, fit=None, format=None, bit_depth=None) -> bool | str:
        return check(cls, direction=direction, fit=fit, format=format, bit_depth=bit_depth)

    @classmethod
    def fingerprint_inputs(cls, **_) -> int:
        return lost_clips()

    @classmethod
    def execute(
        cls,
        first,
        second,
        direction: str,
        fit: str,
        format: str = formats.DEFAULT,
        crf: int = CRF,
        bit_depth: str = "8 bit",
    ) -> io.NodeOutput:
        clips = [clip_of(video) for video in (first, second)]
        rate, larger = clips[0][0].rate, max((clip for clip, *_ in clips), key=lambda clip: clip.width * clip.height)
        if direction == BACKWARD:
            clips.reverse()
        parts = [(clip, *sequence(clip, start, end, rate)) for clip, start, end in clips]
        size, total = (larger.width, larger.height), sum(len(wanted) for _, wanted, _ in parts)
        frames = chain.from_iterable(read.read(clip, wanted, size, fit) for clip, wanted, _ in parts)
        joined_sound = sound.in_a_row([(part, float(len(wanted) / rate)) for _, wanted, part in parts])
        target = target_of(cls, format, rate, crf, bit_depth)
        video, _, notes = temporary(watched(frames, total), target, joined_sound)
        summary = f"{size[0]} x {size[1]}, {total} frames at {float(rate):.4g} fps = {float(total / rate):.2f} s"
        show(cls, noted(summary, (*(note for clip, *_ in parts for note in described(clip, target)), *notes)))
        return io.NodeOutput(video)
