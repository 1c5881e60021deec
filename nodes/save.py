"""Save Video As: a clip in the formats that core's Save Video does not make."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import InputImpl, io, ui

from ..media import MediaError, formats, read
from ..media.write import FASTEST_GIF, Target, copy, write
from .inputs import check
from .notice import show
from .video import CRF, clip_of, described, sequence, target_of, watched, writing_inputs

AS_IT_IS = "as it is"


class SaveVideoAs(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierSaveVideoAs",
            display_name="Save Video As",
            category="Atelier",
            description="Saves a clip in ComfyUI's output folder, as it is or in another format: ProRes, lossless, "
            "WebM, GIF, animated WebP, a folder of PNG pictures.",
            inputs=[
                io.Video.Input("video", tooltip="The clip, with its sound."),
                io.String.Input(
                    "filename_prefix",
                    default="atelier/video",
                    tooltip="Folder and beginning of the name, in ComfyUI's output folder. %year%, %month%, %day%, "
                    "%width% and %height% are filled in.",
                ),
                *writing_inputs([AS_IT_IS, *formats.available()]),
            ],
            outputs=[],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, format=None, bit_depth=None) -> bool | str:
        return check(cls, format=format, bit_depth=bit_depth)

    @classmethod
    def execute(
        cls, video, filename_prefix: str, format: str = AS_IT_IS, crf: int = CRF, bit_depth: str = "8 bit"
    ) -> io.NodeOutput:
        clip, first, last = clip_of(video)
        path, subfolder = place(filename_prefix, clip)
        file_backed = not isinstance(video, InputImpl.VideoFromComponents)
        as_it_is = format == AS_IT_IS and file_backed and (first, last) == (0.0, clip.length)
        rate = min(clip.rate, Fraction(FASTEST_GIF)) if format == "gif" else clip.rate
        target = target_of(cls, formats.DEFAULT if format == AS_IT_IS else format, rate, crf, bit_depth)
        if as_it_is:
            source = video.get_stream_source()
            path = path.with_name(path.name + read.suffix(source))
            copy(source, path, target.tags)
        else:
            path = path.with_name(path.name + target.style.suffix)
            wanted, sound = sequence(clip, first, last, rate)
            write(path, watched(read.read(clip, wanted), len(wanted)), target, sound)
        show(cls, f"{subfolder}/{path.name}\n{_lost(clip, target, as_it_is)}".strip("/\n"))
        return io.NodeOutput(ui=_shown(path, subfolder))


def place(prefix: str, clip: read.Clip) -> tuple[Path, str]:
    """Where the next clip of that prefix goes, without its suffix, and its folder inside ComfyUI's output folder.

    Raises MediaError when that is outside of it.
    """
    output = folder_paths.get_output_directory()
    inside = os.path.abspath(os.path.join(output, os.path.normpath(prefix)))
    if "\0" in prefix or not inside.startswith(os.path.join(os.path.abspath(output), "")):
        raise MediaError(
            f"The prefix '{prefix}' leads out of ComfyUI's output folder. Expected: a name, with folders in front of "
            "it if you like, such as 'film/shot'."
        )
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, output, clip.width, clip.height)
    return Path(folder) / f"{name}_{counter:05}_", subfolder


def _lost(clip: read.Clip, target: Target, as_it_is: bool) -> str:
    """What an artist should know of a clip that was saved."""
    if as_it_is:
        return ""
    lost = []
    if not target.style.sound and clip.sound(0.0, clip.length):
        lost.append(f"{target.style.name} has no sound")
    if target.rate != clip.rate:
        lost.append(f"{float(clip.rate):.4g} -> {float(target.rate):.4g} fps, the most a GIF can show")
    return ";\n".join(filter(None, (described(clip, target), *lost)))


def _shown(path: Path, subfolder: str) -> dict[str, Any] | None:
    """How the node shows what it saved: as a video, an animation or a picture, where a browser can."""
    if path.is_dir():
        first = min(path.iterdir())
        return {"images": [ui.SavedResult(first.name, f"{subfolder}/{path.name}".lstrip("/"), io.FolderType.output)]}
    saved = ui.SavedResult(path.name, subfolder, io.FolderType.output)
    if path.suffix == ".gif":
        return {"images": [saved]}
    return ui.PreviewVideo([saved]).as_dict() if path.suffix in (".mp4", ".webm", ".webp") else None
