"""The files of the API: one folder per job in ComfyUI's output folder, one per character in its user folder.

A name that a client sent never becomes a path. A file's type is read from its first bytes.
"""

from __future__ import annotations

import io
import re
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import folder_paths

from ..media import probe, sheet
from . import settings
from .errors import bad, summary

if TYPE_CHECKING:
    import torch

IMAGE, VIDEO, SOUND = "image", "video", "sound"
JOB, CHARACTER = "video_", "char_"
"""Prefixes of the ids of jobs and characters. A folder is named after the id."""
VIDEO_NAME = "video"
"""The name of a finished video; SaveVideo adds a number to it."""
THUMBNAIL, SPRITESHEET = "thumbnail.webp", "spritesheet.jpg"
_NAME = re.compile(rf"({JOB}|{CHARACTER})[0-9a-f]{{32}}")
_SENT = re.compile(r"[0-9a-f]{32}(\.\w{1,5})?")
"""Names of folders, and of uploads and unfinished files in them."""
MAX_PIXELS = 64_000_000
"""Pixels of an uploaded picture, or of a frame of an uploaded clip."""
MAX_SIDE = 4096
"""Pixels: larger pictures of a storyboard are scaled down before they are in memory as floats."""
MAX_SOUND = 600.0
"""Seconds of an uploaded sound: 230 MB in LoadAudio's memory, in stereo."""
SHEET = 16, 4, 256, 0
"""A sprite sheet's number of frames, frames per row, longest side of a frame and gap (both in pixels)."""

FORMATS = {".webp": "WEBP", ".jpg": "JPEG", ".png": "PNG"}
"""Suffix -> Pillow's name of the format that a picture is written in."""

_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", IMAGE, ".png"),
    (0, b"\xff\xd8\xff", IMAGE, ".jpg"),
    (8, b"WEBP", IMAGE, ".webp"),
    (4, b"ftyp", VIDEO, ".mp4"),
    (0, b"\x1a\x45\xdf\xa3", VIDEO, ".webm"),
    (8, b"WAVE", SOUND, ".wav"),
    (0, b"fLaC", SOUND, ".flac"),
    (0, b"OggS", SOUND, ".ogg"),
    (0, b"ID3", SOUND, ".mp3"),
    *((0, bytes((0xFF, second)), SOUND, ".mp3") for second in (0xFB, 0xF3, 0xF2, 0xFA)),
)
"""Accepted files: (offset, signature at it, kind, suffix)."""


def job_folder(job_id: str) -> Path:
    """The folder of one job: its video, its thumbnail and sprite sheet, its uploads."""
    return Path(folder_paths.get_output_directory()) / "atelier" / "videos" / job_id


def character_folder(character_id: str) -> Path:
    return settings.folder() / "characters" / character_id


def for_graph(path: Path) -> str:
    """The name of a file of the output folder for LoadImage and LoadVideo."""
    return path.relative_to(folder_paths.get_output_directory()).as_posix() + " [output]"


def sniff(path: Path) -> tuple[str, str]:
    """(kind, suffix) of a file by its first bytes. Raises ApiError."""
    with path.open("rb") as file:
        head = file.read(16)
    for offset, signature, kind, suffix in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return kind, suffix
    if not head:
        raise bad("The file is empty.", code="empty_file")
    raise bad(
        "The file's type is not supported. Send PNG, JPEG, WebP, MP4, MOV, WebM or Matroska; as sound WAV, FLAC, MP3, "
        "Ogg or M4A.",
        code="unsupported_file",
    )


def checked(path: Path) -> tuple[Path, str]:
    """Check that an upload can be decoded, and rename it with the suffix of its type. Returns (new path, kind).

    Raises ApiError or MediaError.
    """
    kind, suffix = sniff(path)
    if kind == IMAGE:
        _open_image(path)
    elif kind == SOUND:
        raise bad("The file is a sound. Send a picture or a clip.", code="unsupported_file")
    else:
        facts(path)
    return _renamed(path, suffix), kind


def checked_sound(path: Path) -> tuple[Path, str]:
    """`checked` of an upload that is to be heard: a sound, or a clip with sound. Its kind is SOUND."""
    kind, suffix = sniff(path)
    if kind != IMAGE:
        probe.sound_seconds(path, "The sound", MAX_SOUND)
        kind = SOUND
    return _renamed(path, suffix), kind


def _renamed(path: Path, suffix: str) -> Path:
    return path.rename(path.with_name(uuid.uuid4().hex + suffix))


def _open_image(path: Path) -> None:
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise bad(f"The image has {image.width} x {image.height} pixels; up to {MAX_PIXELS:,} are allowed.")
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise bad(f"The image cannot be read: {summary(error)}", code="invalid_image") from None


def picture(path: Path) -> torch.Tensor:
    """A picture's pixels, upright: [H, W, 3] in 0..1, at most MAX_SIDE wide and high. It has passed `checked`."""
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        image.thumbnail((MAX_SIDE, MAX_SIDE))
        pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    return torch.from_numpy(pixels.astype(np.float32) / 255)


def facts(path: Path) -> probe.Facts:
    """Size, length and frame rate of a video, after rotation. Raises MediaError."""
    return probe.probe(path, "The video", MAX_PIXELS)


def thumbnail(video: Path) -> Path:
    """The first frame as WebP, in a file beside the video that is written once."""
    return _beside(video, THUMBNAIL, lambda: probe.pictures(video, [0])[0])


def spritesheet(video: Path) -> Path:
    """Up to 16 evenly spaced frames in rows of 4 as JPEG, in a file beside the video that is written once."""
    return _beside(video, SPRITESHEET, lambda: sheet.of_file(video, *SHEET))


def _beside(video: Path, name: str, make: Callable[[], Any]) -> Path:
    picture = video.with_name(name)
    if not picture.is_file():
        save_picture(make(), picture)
    return picture


def save_picture(picture: Any, path: Path) -> None:
    """Write a PIL image, whole or not at all. Raises OSError.

    Pillow encodes into memory, because it does not notice a short write when it writes to a full disk itself.
    """
    encoded, unfinished = io.BytesIO(), path.with_name(f"{uuid.uuid4().hex}{path.suffix}")
    picture.save(encoded, FORMATS[path.suffix])
    try:
        unfinished.write_bytes(encoded.getbuffer())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def copied(source: Path, folder: Path, name: str | None = None) -> Path:
    """Copy a file into `folder`, under `name` or a random one (the suffix stays). Returns the copy's path."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(source, folder / ((name or uuid.uuid4().hex) + source.suffix)))


def size_of(folder: Path) -> int:
    """Bytes in a folder. Files may disappear meanwhile."""
    size = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += file.stat().st_size if file.is_file() else 0
    return size


def remove(folder: Path) -> bool:
    """Remove a folder and its content. Returns whether it is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def folder_of(identity: str) -> Path:
    """The folder of a job or of a character."""
    return character_folder(identity) if identity.startswith(CHARACTER) else job_folder(identity)


def jobs_here() -> list[str]:
    """Ids of all jobs that have a folder on this disk."""
    return [folder.name for folder in job_folder("").glob(f"{JOB}*") if _NAME.fullmatch(folder.name)]


def only_uploads() -> list[Path]:
    """Folders of jobs and characters that hold uploads only, no finished video."""
    folders = []
    for folder in (*job_folder("").glob(f"{JOB}*"), *character_folder("").glob(f"{CHARACTER}*")):
        if _NAME.fullmatch(folder.name) and all(_SENT.fullmatch(file.name) for file in folder.iterdir()):
            folders.append(folder)
    return folders
