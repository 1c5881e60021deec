"""Clips between nodes: VIDEOs over files in ComfyUI's temporary folder, which are there as long as they are used."""

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
    prefix = f"{PREFIX}_{uuid.uuid4().hex}"  # no file takes the name of one that has gone: see _PassingFile
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
