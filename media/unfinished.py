"""Writes files under a hidden name and renames them when they are complete, without overwriting another file."""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import av

from . import MediaError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV)
"""Errors of file systems without hard links: exFAT, some network shares."""
ABANDONED = 24 * 3600
"""Seconds without a write after which an unfinished file belongs to a process that was killed."""


@dataclass(frozen=True)
class Numbered:
    """Names STEM_NUMBER_SUFFIX in a folder. A clip gets the first free one when it is complete.

    The name is taken atomically, so several processes may write to one folder.
    """

    folder: Path
    stem: str
    number: int
    suffix: str = ""

    @property
    def wanted(self) -> Path:
        return self.named(self.number)

    def named(self, number: int) -> Path:
        return self.folder / f"{self.stem}_{number:05}_{self.suffix}"


@dataclass(frozen=True)
class Written:
    """A written clip: its path, and notes for the artist on how it was written."""

    path: Path
    notes: tuple[str, ...] = ()


class Unfinished:
    """A file or folder that is being written to `part`. `finish` renames it to `path`."""

    def __init__(self, name: Path | Numbered) -> None:
        self.name = name
        self.path = name if isinstance(name, Path) else name.wanted
        self.part = self.path.with_name(f".{self.path.name[:100]}.{uuid.uuid4().hex}.part")

    def finish(self) -> None:
        """Rename `part`. An existing file at a plain path is replaced; numbered names take the first free number."""
        if isinstance(self.name, Path):
            os.replace(self.part, self.path)
            return
        for number in count(self.name.number):
            self.path = self.name.named(number)
            if _taken_for(self.part, self.path):
                return

    def discard(self) -> None:
        """Remove `part` if it still exists."""
        _remove(self.part)


def _taken_for(part: Path, path: Path) -> bool:
    """Move `part` to `path` unless that name exists. Atomic across processes."""
    try:
        if part.is_dir():
            if path.exists():  # os.rename would replace an empty folder
                return False
            os.rename(part, path)  # fails if a folder with files exists
            return True
        try:
            os.link(part, path)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            os.replace(part, path)
        return True
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR) and path.exists():
            return False
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def unfinished(name: Path | Numbered, writer: str) -> Iterator[Unfinished]:
    """A hidden file or folder to write. It is renamed on success and removed on any error.

    writer: the encoder's name for messages. Raises MediaError if the disk is full or the encoder refuses.
    """
    file = Unfinished(name)
    try:
        file.part.parent.mkdir(parents=True, exist_ok=True)  # another process may have cleared the temporary folder
        _sweep(file.part.parent)
        yield file
        file.finish()
    except OSError as error:  # some of FFmpeg's errors are OSErrors, too
        if error.errno in NO_ROOM:
            raise MediaError(
                f"There is no room for {file.path.name} in {file.path.parent} ({os.strerror(error.errno)}). Free some "
                "space and queue again: the sampled latent is still in ComfyUI's cache."
            ) from error
        if not isinstance(error, av.error.FFmpegError):
            raise
        raise _refused(file.path, writer, error) from error
    except av.error.FFmpegError as error:
        raise _refused(file.path, writer, error) from error
    finally:
        file.discard()


def _sweep(folder: Path) -> None:
    """Remove unfinished files of processes that were killed."""
    for path in folder.glob(".*.part"):
        try:
            newest = max((entry.stat().st_mtime for entry in path.iterdir()), default=0) if path.is_dir() else 0
            if time.time() - max(newest, path.stat().st_mtime) > ABANDONED:
                _remove(path)
        except OSError:  # another process is removing it
            continue


def _refused(path: Path, writer: str, error: Exception) -> MediaError:
    return MediaError(
        f"{path.name} could not be written ({writer}): {error}. The encoder may not take this size or frame rate; try "
        "another format."
    )
