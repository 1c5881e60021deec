"""The files of the API: one folder per job in ComfyUI's output folder, characters in its user folder.

No name that a client sent ever becomes a path, and what a file is, is read from its bytes.
"""

from __future__ import annotations

import re
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import folder_paths

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
SHEET_COLUMNS, SHEET_ROWS, SHEET_WIDTH = 4, 4, 256

_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", IMAGE, ".png"),
    (0, b"\xff\xd8\xff", IMAGE, ".jpg"),
    (8, b"WEBP", IMAGE, ".webp"),
    (4, b"ftyp", VIDEO, ".mp4"),
    (0, b"\x1a\x45\xdf\xa3", VIDEO, ".webm"),
)
"""Offset, bytes, kind, suffix of what is taken."""


@dataclass(frozen=True)
class Clip:
    """What a video file is: sides in pixels, frames, frames per second."""

    width: int
    height: int
    frames: int
    fps: float

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


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

    Raises ApiError where it cannot be read.
    """
    kind, suffix = sniff(path)
    if kind == IMAGE:
        _open_image(path)
    else:
        probe(path)
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


def probe(path: Path) -> Clip:
    """What a video is, every frame counted. Raises ApiError where there is none to be read."""
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if stream.width * stream.height > MAX_PIXELS:
                raise bad(f"The video has {stream.width} x {stream.height} pixels; up to {MAX_PIXELS} are taken.")
            next(container.decode(stream))  # a container with a good index and no pictures is no video
            container.seek(0)
            frames = sum(packet.pts is not None for packet in container.demux(stream))
            return Clip(stream.width, stream.height, frames, float(stream.average_rate or 24))
    except (av.FFmpegError, IndexError, StopIteration, ValueError) as error:
        reason = words(error) if str(error) else "it has no pictures"
        raise bad(f"The video cannot be read: {reason}", code="invalid_video") from None


def frames(path: Path, indices: list[int]) -> list:
    """These frames of a video (in rising order) as PIL images."""
    import av

    wanted, found = set(indices), []
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                found.append(frame.to_image())
                if len(found) == len(wanted):
                    break
    return found


def thumbnail(video: Path) -> Path:
    """The first frame as WebP beside the video, made once."""
    return _beside(video, "thumbnail.webp", lambda: frames(video, [0])[0])


def spritesheet(video: Path) -> Path:
    """Up to sixteen frames, evenly spread, in rows of four, as JPEG beside the video, made once."""
    return _beside(video, "spritesheet.jpg", lambda: _sheet(video))


def _sheet(video: Path):
    from PIL import Image

    clip = probe(video)
    count = min(SHEET_COLUMNS * SHEET_ROWS, clip.frames)
    pictures = frames(video, sorted({round(i * (clip.frames - 1) / max(count - 1, 1)) for i in range(count)}))
    width = min(SHEET_WIDTH, clip.width)
    height = max(1, round(clip.height * width / clip.width))
    sheet = Image.new("RGB", (width * SHEET_COLUMNS, height * -(-len(pictures) // SHEET_COLUMNS)))
    for index, picture in enumerate(pictures):
        sheet.paste(picture.resize((width, height)), (index % SHEET_COLUMNS * width, index // SHEET_COLUMNS * height))
    return sheet


def _beside(video: Path, name: str, make) -> Path:
    made = video.with_name(name)
    if not made.is_file():
        half = video.with_name(f"{uuid.uuid4().hex}{made.suffix}")
        try:
            make().save(half)
            half.replace(made)
        finally:
            half.unlink(missing_ok=True)
    return made


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
