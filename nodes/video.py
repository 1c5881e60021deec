"""What the nodes for files share: a VIDEO as a clip to read, a clip written as a file-backed VIDEO, and its inputs."""

from __future__ import annotations

import json
import os
import uuid
import weakref
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any
from weakref import WeakSet

import folder_paths
import torch
from comfy_api.latest import InputImpl, io, ui

from ..media import formats, read
from ..media.formats import CRF_MAX
from ..media.sound import Sound, of_waveform
from ..media.unfinished import Numbered
from ..media.write import Target, write
from ..models.bridge.job import metadata, progress

CRF = 16
DEPTHS = {"8 bit": 8, "10 bit": 10}
TEMPORARY = "atelier/clip"


def writing_inputs(names: list[str]) -> list[io.Input]:
    """How a clip is written: format, quality, bit depth. All optional, so that graphs saved without them still run."""
    return [
        io.Combo.Input(
            "format",
            options=names,
            default=names[0],
            optional=True,
            tooltip="Container and codec. H.264 plays everywhere; ProRes and FFV1 are for editing. Core's Save Video "
            "makes MP4 files of all but ProRes; Save Video As keeps every format.",
        ),
        io.Int.Input(
            "crf",
            default=CRF,
            min=0,
            max=CRF_MAX,
            optional=True,
            tooltip="Quality, on the scale of x264: lower is better and bigger. 0 to 10 is for working on, 16 looks "
            "like the frames, 28 is small. Not used by ProRes, FFV1, GIF and PNG.",
        ),
        io.Combo.Input(
            "bit_depth",
            options=list(DEPTHS),
            default="8 bit",
            optional=True,
            tooltip="10 bit keeps soft gradients without steps, but browsers do not play it in H.264 and H.265.",
        ),
    ]


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


class _PassingFile(str):
    """The path of a file that is removed when ComfyUI no longer holds this object, in its cache or elsewhere.

    A path and not the VIDEO: ComfyUI makes a VIDEO that is a part of another one from that one's path.
    """

    def __new__(cls, path: Path) -> _PassingFile:
        self = super().__new__(cls, path)
        weakref.finalize(self, _remove, path)
        return self

    def __deepcopy__(self, _: dict) -> _PassingFile:
        return self


def _remove(path: Path) -> None:
    with suppress(OSError):  # on Windows a file that is being read stays; ComfyUI clears the folder when it starts
        path.unlink(missing_ok=True)


def temporary(
    chunks: Iterator[torch.Tensor], target: Target, sound: Sound | None, shown_here: bool = False
) -> tuple[Any, ui.PreviewVideo | None, tuple[str, ...]]:
    """The frames as a VIDEO over a file in ComfyUI's temporary folder, how a node shows it where a browser can, notes.

    The file is there as long as the VIDEO is; one that is shown stays, as ComfyUI's own previews do.
    ComfyUI keeps the VIDEO, not the file: a node that calls this has `lost_clips` in its fingerprint.
    """
    prefix = f"{TEMPORARY}_{uuid.uuid4().hex}"  # no file takes the name of one that has gone: see _PassingFile
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_temp_directory())
    made = write(Numbered(Path(folder), name, counter, target.style.suffix), chunks, target, sound)
    shown = ui.PreviewVideo([ui.SavedResult(made.path.name, subfolder, io.FolderType.temp)]) if target.plays else None
    video = InputImpl.VideoFromFile(str(made.path) if shown_here else _PassingFile(made.path))
    _kept.videos.add(video)
    return video, shown, made.notes


@dataclass
class _Kept:
    """VIDEOs over temporary files that ComfyUI's cache, or anything else, still holds, and how often some were lost."""

    videos: WeakSet = field(default_factory=WeakSet)
    losses: int = 0


_kept = _Kept()


def lost_clips() -> int:
    """How often temporary files were found deleted. In a node's fingerprint, it makes ComfyUI run the node again.

    The files go when a second ComfyUI starts on the same folder, or when a person clears it. Which node of which graph
    made one is not asked: ComfyUI's cache gives a result to every node with the same inputs.
    """
    gone = [video for video in _kept.videos if not os.path.isfile(video.get_stream_source())]
    if gone:
        _kept.videos.difference_update(gone)
        _kept.losses += 1
    return _kept.losses


def described(clip: read.Clip, target: Target) -> tuple[str, ...]:
    """What an artist should know of a clip that was read and of how it is written."""
    depth = f"{target.style.name} is {target.depth} bit"
    return (*clip.notes, depth) if target.depth != target.asked_depth else clip.notes


def noted(text: str, notes: Iterable[str]) -> str:
    """A node's line with each note about it, once, in brackets below."""
    lines = ";\n".join(dict.fromkeys(notes))
    return f"{text}\n({lines})" if lines else text
