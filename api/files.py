"""The files of the API: one folder per job in ComfyUI's output folder, characters in its user folder.

No name that a client sent ever becomes a path, and what a file is, is read from its bytes.
"""

from __future__ import annotations

import io
import re
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import folder_paths

from ..media import probe, sheet
from . import settings
from .errors import bad, words

IMAGE, VIDEO = "image", "video"
JOB, CHARACTER = "video_", "char_"
"""How the names of folders begin, which are the ids of what lies in them."""
MADE = "video"
"""The name of a made video; SaveVideo adds a number to it."""
_NAME = re.compile(rf"({JOB}|{CHARACTER})[0-9a-f]{{32}}")
_SENT = re.compile(r"[0-9a-f]{32}(\.\w{1,5})?")
"""Names of folders, and of files that were sent or are not finished yet."""
MAX_PIXELS = 64_000_000
SHEET = 16, 4, 256, 0
"""Frames of a sprite sheet, frames in a row, pixels of each at most, and between them."""

FORMATS = {".webp": "WEBP", ".jpg": "JPEG", ".png": "PNG"}
"""What a picture is written as."""

_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", IMAGE, ".png"),
    (0, b"\xff\xd8\xff", IMAGE, ".jpg"),
    (8, b"WEBP", IMAGE, ".webp"),
    (4, b"ftyp", VIDEO, ".mp4"),
    (0, b"\x1a\x45\xdf\xa3", VIDEO, ".webm"),
)
"""Offset, bytes, kind, suffix of what is taken."""


def job_folder(job_id: str) -> Path:
    """Where everything of one job lies: its video, what was made of it, what was sent with it."""
    return Path(folder_paths.get_output_directory()) / "atelier" / "videos" / job_id


def character_folder(character_id: str) -> Path:
    return settings.folder() / "characters" / character_id


def for_graph(path: Path) -> str:
    """A file of the output folder as LoadImage and LoadVideo name it."""
    return path.relative_to(folder_paths.get_output_directory()).as_posix() + " [output]"


def sniff(path: Path) -> tuple[str, str]:
    """(kind, suffix) by the first bytes. Raises ApiError."""
    with path.open("rb") as file:
        head = file.read(16)
    for offset, signature, kind, suffix in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return kind, suffix
    if not head:
        raise bad("The file is empty.", code="empty_file")
    raise bad("The file is none of PNG, JPEG, WebP, MP4, MOV, WebM, Matroska.", code="unsupported_file")


def checked(path: Path) -> tuple[Path, str]:
    """A file that was received, opened to see that it is whole and named by what it is: (its new path, kind).

    Raises ApiError or MediaError where it cannot be read.
    """
    kind, suffix = sniff(path)
    if kind == IMAGE:
        _open_image(path)
    else:
        facts(path)
    named = path.with_name(uuid.uuid4().hex + suffix)
    path.rename(named)
    return named, kind


def _open_image(path: Path) -> None:
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise bad(f"The image has {image.width} x {image.height} pixels; up to {MAX_PIXELS} are taken.")
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise bad(f"The image cannot be read: {words(error)}", code="invalid_image") from None


def facts(path: Path) -> probe.Facts:
    """What a video is, as it is seen. Raises MediaError."""
    return probe.probe(path, "The video", MAX_PIXELS)


def thumbnail(video: Path) -> Path:
    """The first frame as WebP beside the video, made once."""
    return _beside(video, "thumbnail.webp", lambda: probe.pictures(video, [0])[0])


def spritesheet(video: Path) -> Path:
    """Up to sixteen frames, evenly spread, in rows of four, as JPEG beside the video, made once."""
    return _beside(video, "spritesheet.jpg", lambda: sheet.of_file(video, *SHEET))


def _beside(video: Path, name: str, make: Callable[[], Any]) -> Path:
    made = video.with_name(name)
    if not made.is_file():
        save_picture(make(), made)
    return made


def save_picture(picture: Any, path: Path) -> None:
    """Write a PIL image, whole or not at all. Raises OSError, where the disk is full too: Pillow, writing to the disk
    itself, takes no notice of a write that was cut short."""
    encoded, half = io.BytesIO(), path.with_name(f"{uuid.uuid4().hex}{path.suffix}")
    picture.save(encoded, FORMATS[path.suffix])
    try:
        half.write_bytes(encoded.getbuffer())
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def copied(source: Path, folder: Path, name: str | None = None) -> Path:
    """A copy under a name of its own (the suffix stays), so that deleting the one never touches the other."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(source, folder / ((name or uuid.uuid4().hex) + source.suffix)))


def size_of(folder: Path) -> int:
    """Bytes in a folder, which may go while it is looked at."""
    size = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += file.stat().st_size if file.is_file() else 0
    return size


def remove(folder: Path) -> bool:
    """Remove a folder with all that is in it; whether it is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def folder_of(identity: str) -> Path:
    """The folder of a job or of a character."""
    return character_folder(identity) if identity.startswith(CHARACTER) else job_folder(identity)


def only_uploads() -> list[Path]:
    """Folders of jobs and characters with nothing in them but what was sent: no video that somebody may want."""
    found = []
    for folder in (*job_folder("").glob(f"{JOB}*"), *character_folder("").glob(f"{CHARACTER}*")):
        if _NAME.fullmatch(folder.name) and all(_SENT.fullmatch(file.name) for file in folder.iterdir()):
            found.append(folder)
    return found
