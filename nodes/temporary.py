"""Temporary clips: VIDEOs backed by files in ComfyUI's temporary folder, which live as long as the VIDEO."""

from __future__ import annotations

import os
import uuid
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakSet

import folder_paths
import torch
from comfy_api.latest import InputImpl, io, ui

from ..media.sound import Sound
from ..media.unfinished import Numbered
from ..media.write import Target, write

PREFIX = "atelier/clip"


class _PassingFile(str):
    """The path of a temporary file. The file is removed when this object is garbage-collected.

    The lifetime hangs on the path, not on the VIDEO, because ComfyUI builds a trimmed VIDEO from the path alone.
    """

    def __new__(cls, path: Path) -> _PassingFile:
        self = super().__new__(cls, path)
        weakref.finalize(self, _remove, path)
        return self

    def __deepcopy__(self, _: dict) -> _PassingFile:
        return self


def _remove(path: Path) -> None:
    with suppress(OSError):  # Windows keeps a file that is being read; ComfyUI clears the folder at its next start
        path.unlink(missing_ok=True)


def temporary(
    chunks: Iterator[torch.Tensor], target: Target, sound: Sound | None, shown_here: bool = False
) -> tuple[Any, ui.PreviewVideo | None, tuple[str, ...]]:
    """Write the frames to a temporary file. Returns its VIDEO, its preview (None if browsers cannot play it), notes.

    The file lives as long as the VIDEO. With `shown_here` it stays, as ComfyUI's own previews do.
    ComfyUI caches the VIDEO, not the file, so a node that calls this must put `lost_clips` in its fingerprint.
    """
    prefix = f"{PREFIX}_{uuid.uuid4().hex}"  # never reused: the finalizer of _PassingFile removes by name
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_temp_directory())
    file = write(Numbered(Path(folder), name, counter, target.style.suffix), chunks, target, sound)
    preview = ui.PreviewVideo([ui.SavedResult(file.path.name, subfolder, io.FolderType.temp)]) if target.plays else None
    video = InputImpl.VideoFromFile(str(file.path) if shown_here else _PassingFile(file.path))
    _kept.videos.add(video)
    return video, preview, file.notes


@dataclass
class _Kept:
    """VIDEOs over temporary files that are still referenced, and how many times files were found missing."""

    videos: WeakSet = field(default_factory=WeakSet)
    losses: int = 0


_kept = _Kept()


def lost_clips() -> int:
    """How many times temporary files were found deleted. In a node's fingerprint, it makes ComfyUI run the node again.

    The files are deleted when a second ComfyUI starts on the same folder, or when a person clears it. The count is for
    all nodes together, because ComfyUI's cache gives a result to every node with the same inputs.
    """
    gone = [video for video in _kept.videos if not os.path.isfile(video.get_stream_source())]
    if gone:
        _kept.videos.difference_update(gone)
        _kept.losses += 1
    return _kept.losses
