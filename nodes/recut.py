"""Re-cut Video: pieces of a clip in a new order, from its file, and another clip's frames in the gaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch
from comfy_api.latest import io

from ..editing.recut import filled
from ..media import formats, read, sound
from ..models.timeline.cuts import Order, read_order, runs
from .inputs import CRF, check, found_by, time_input, writing_inputs
from .notice import show
from .temporary import lost_clips, temporary
from .video import clip_of, described, noted, target_of, watched


class RecutVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierRecutVideo",
            display_name="Re-cut Video",
            category="Atelier",
            **found_by("cut video", "rearrange", "splice"),
            description="Puts pieces of a clip in a new order, with their sound. No model takes part: every frame is "
            "the clip's own. Gaps show the frames of 'filling', or the clip's frames beside them.",
            inputs=[
                io.Video.Input("video", tooltip="The clip."),
                io.String.Input(
                    "cuts",
                    multiline=True,
                    default="0 - 1\n2 -",
                    tooltip="The new clip from start to end, one piece per line: 'from - to' in seconds of the old "
                    "clip ('2 -' goes to its end), or 'gap' and its seconds. As in Re-cut Shot.",
                ),
                io.Video.Input(
                    "filling", optional=True, tooltip="What the gaps show, such as the clip that Re-cut Shot filled."
                ),
                time_input("filling_start", "Seconds into the new clip where 'filling' begins.", optional=True),
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
        cuts: str,
        filling=None,
        filling_start: float = 0.0,
        format: str = formats.DEFAULT,
        crf: int = CRF,
        bit_depth: str = "8 bit",
    ) -> io.NodeOutput:
        clip, start, end = clip_of(video)
        numbers = read.frames_at(clip, clip.rate, start, end)
        order = read_order(cuts, len(numbers), float(clip.rate))
        parts = _parts(order, clip, numbers, start, _Filling(filling, filling_start, clip.rate))
        target = target_of(cls, format, clip.rate, crf, bit_depth)
        size = (clip.width, clip.height)
        heard = sound.in_a_row([(part.sound, float(len(part.wanted) / clip.rate)) for part in parts])
        made, _, notes = temporary(watched(_frames(parts, size), len(order)), target, heard)
        summary = f"{size[0]} x {size[1]}, {len(order)} frames at {float(clip.rate):.4g} fps"
        show(cls, noted(f"{summary} = {float(len(order) / clip.rate):.2f} s", (*described(clip, target), *notes)))
        return io.NodeOutput(made)


@dataclass(frozen=True)
class _Part:
    """Frames of one clip in a row, and their sound."""

    clip: read.Clip
    wanted: list[int]
    sound: sound.Sound | None


class _Filling:
    """The clip for gaps: its frames at `rate`, of which the first is at `start` seconds of the new clip."""

    def __init__(self, video, start: float, rate: Fraction) -> None:
        self.clip, self.rate, self.first, self.numbers, self.begin = None, rate, round(start * rate), [], 0.0
        if video is not None:
            self.clip, self.begin, end = clip_of(video)
            self.numbers = read.frames_at(self.clip, rate, self.begin, end)

    def part(self, place: int, count: int) -> _Part | None:
        """The frames for `count` places of the new clip from `place` on; None if it does not have them all."""
        at = place - self.first
        if self.clip is None or at < 0 or at + count > len(self.numbers):
            return None
        since = self.begin + float(at / self.rate)
        return _Part(self.clip, self.numbers[at : at + count], self.clip.sound(since, since + float(count / self.rate)))


def _parts(order: Order, clip: read.Clip, numbers: list[int], start: float, filling: _Filling) -> list[_Part]:
    """The new clip in parts. A gap that the filling lacks holds the nearest frames, without sound."""
    parts, place, held = [], 0, filled(order)
    for run in runs(order):
        if run[0] is None:
            still = _Part(clip, [numbers[frame] for frame in held[place : place + len(run)]], None)
            parts.append(filling.part(place, len(run)) or still)
        else:
            since = start + float(run[0] / clip.rate)
            wanted = numbers[run[0] : run[-1] + 1]
            parts.append(_Part(clip, wanted, clip.sound(since, since + float(len(run) / clip.rate))))
        place += len(run)
    return parts


def _frames(parts: list[_Part], size: tuple[int, int]) -> Iterator[torch.Tensor]:
    for part in parts:
        yield from read.read(part.clip, part.wanted, size, "crop")
