"""Save Video As: saves a clip in formats that core's Save Video cannot write."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import InputImpl, io, ui

from ..media import MediaError, film, formats, read
from ..media.copy import copy
from ..media.unfinished import Numbered
from ..media.write import FASTEST_GIF, Target, write
from .inputs import CRF, check, found_by, writing_inputs
from .notice import show
from .video import clip_of, described, noted, sequence, target_of, watched

AS_IT_IS = "as it is"
DEFAULT_PREFIX = "atelier/video"


class SaveVideoAs(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierSaveVideoAs",
            display_name="Save Video As",
            category="Atelier",
            **found_by("export video", "gif", "webm", "prores", "video combine", essential=True),
            description="Saves a clip in ComfyUI's output folder, unchanged or in another format: ProRes, lossless, "
            "WebM, GIF, animated WebP, a folder of PNG pictures.",
            inputs=[
                io.Video.Input("video", tooltip="The clip. Its sound is saved with it."),
                io.String.Input(
                    "filename_prefix",
                    default=DEFAULT_PREFIX,
                    tooltip="Folder and start of the file name, in ComfyUI's output folder. %year%, %month%, %day%, "
                    "%width% and %height% are filled in.",
                ),
                *writing_inputs([AS_IT_IS, *formats.available()]),
            ],
            outputs=[],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, filename_prefix=None, format=None, bit_depth=None) -> bool | str:
        wrong = outside(filename_prefix) if isinstance(filename_prefix, str) else ""  # None: it comes through a link
        return wrong or check(cls, format=format, bit_depth=bit_depth)

    @classmethod
    def execute(
        cls, video, filename_prefix: str, format: str = AS_IT_IS, crf: int = CRF, bit_depth: str = "8 bit"
    ) -> io.NodeOutput:
        clip, first, last = clip_of(video)
        file_backed = not isinstance(video, InputImpl.VideoFromComponents)
        as_it_is = format == AS_IT_IS and file_backed and (first, last) == (0.0, clip.length)
        rate = min(clip.rate, Fraction(FASTEST_GIF)) if format == "gif" else clip.rate
        target = target_of(cls, formats.DEFAULT if format == AS_IT_IS else format, rate, crf, bit_depth)
        source = video.get_stream_source() if as_it_is else None
        name, subfolder = place(filename_prefix, clip, film.suffix(source) if as_it_is else target.style.suffix)
        if as_it_is:
            written = copy(source, name, target.tags)
        else:
            wanted, sound = sequence(clip, first, last, rate)
            written = write(name, watched(read.read(clip, wanted), len(wanted)), target, sound)
        lost = () if as_it_is else _lost(clip, target)
        show(cls, noted(f"{subfolder}/{written.path.name}".lstrip("/"), (*lost, *written.notes)))
        return io.NodeOutput(ui=_shown(written.path, subfolder))


def outside(prefix: str) -> str:
    """The error message for a prefix that leads out of ComfyUI's output folder; "" if it stays inside."""
    output = folder_paths.get_output_directory()
    inside = os.path.abspath(os.path.join(output, os.path.normpath(prefix or DEFAULT_PREFIX)))
    if "\0" not in prefix and (inside + os.sep).startswith(os.path.join(os.path.abspath(output), "")):
        return ""
    return (
        f"The prefix '{prefix}' leads out of ComfyUI's output folder. Expected: a name, or folders and a name, such as "
        "'film/shot'."
    )


def place(prefix: str, clip: read.Clip, suffix: str) -> tuple[Numbered, str]:
    """The next file name with that prefix, and its folder inside ComfyUI's output folder.

    A prefix without a name ("", ".") means the input's default. Raises MediaError if it leads out of the folder.
    """
    if wrong := outside(prefix):
        raise MediaError(wrong)
    prefix = DEFAULT_PREFIX if os.path.normpath(prefix) == "." else prefix
    output = folder_paths.get_output_directory()
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, output, clip.width, clip.height)
    return Numbered(Path(folder), name, counter, suffix), subfolder


def _lost(clip: read.Clip, target: Target) -> list[str]:
    """Notes on what the other format changes: bit depth, sound, frame rate."""
    lost = list(described(clip, target))
    if not target.style.sound and clip.sound(0.0, clip.length):
        lost.append(f"{target.style.name} has no sound")
    if target.rate != clip.rate:
        lost.append(f"{float(clip.rate):.4g} -> {float(target.rate):.4g} fps, the most a GIF can show")
    return lost


def _shown(path: Path, subfolder: str) -> dict[str, Any] | None:
    """The node's preview of the saved file: a video, an animation or a picture. None if browsers cannot show it."""
    if path.is_dir():
        first = min(path.iterdir())
        return {"images": [ui.SavedResult(first.name, f"{subfolder}/{path.name}".lstrip("/"), io.FolderType.output)]}
    saved = ui.SavedResult(path.name, subfolder, io.FolderType.output)
    if path.suffix == ".gif":
        return {"images": [saved]}
    return ui.PreviewVideo([saved]).as_dict() if path.suffix in (".mp4", ".webm", ".webp") else None
