"""A file gets its name when it is whole: hidden while it is written, then named so that nothing is overwritten."""

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
"""What file systems without hard links answer: exFAT, some network shares."""
ABANDONED = 24 * 3600
"""Seconds without a write after which an unfinished file belongs to a process that was killed."""


@dataclass(frozen=True)
class Numbered:
    """Names STEM_NUMBER_SUFFIX in a folder. A clip gets the first that is free when it is whole.

    Several processes may write to one folder: the name is taken atomically, so each clip gets its own.
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
    """What became of a clip: the name it got, and what an artist should know of how it was written."""

    path: Path
    notes: tuple[str, ...] = ()


class Unfinished:
    """`part` is written to; `path` is the name that it got, once it is whole."""

    def __init__(self, name: Path | Numbered) -> None:
        self.name = name
        self.path = name if isinstance(name, Path) else name.wanted
        self.part = self.path.with_name(f".{self.path.name[:100]}.{uuid.uuid4().hex}.part")

    def finish(self) -> None:
        """Give the name. A plain path is replaced; of numbered names the first free one is taken."""
        if isinstance(self.name, Path):
            os.replace(self.part, self.path)
            return
        for number in count(self.name.number):
            self.path = self.name.named(number)
            if _taken_for(self.part, self.path):
                return

    def discard(self) -> None:
        """Remove what is left under the hidden name."""
        _remove(self.part)


def _taken_for(part: Path, path: Path) -> bool:
    """Move `part` to `path` unless something has that name already. Atomic among processes."""
    try:
        if part.is_dir():
            if path.exists():  # else an empty folder would be replaced
                return False
            os.rename(part, path)  # fails on a folder that is not empty
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
    """A hidden file or folder to write; it gets its name when all went well and is removed when not.

    `writer` names the encoder in messages. Raises MediaError where the disk is full or the encoder refuses.
    """
    made = Unfinished(name)
    try:
        made.part.parent.mkdir(parents=True, exist_ok=True)  # another process may have cleared the temporary folder
        _sweep(made.part.parent)
        yield made
        made.finish()
    except OSError as error:  # FFmpeg's errors are, too
        if error.errno in NO_ROOM:
            raise MediaError(
                f"There is no room for {made.path.name} in {made.path.parent} ({os.strerror(error.errno)}). Free some "
                "space and queue again: what was sampled is still there."
            ) from error
        if not isinstance(error, av.error.FFmpegError):
            raise
        raise _refused(made.path, writer, error) from error
    except av.error.FFmpegError as error:
        raise _refused(made.path, writer, error) from error
    finally:
        made.discard()


def _sweep(folder: Path) -> None:
    """Remove what killed processes left unfinished."""
    for path in folder.glob(".*.part"):
        try:
            newest = max((entry.stat().st_mtime for entry in path.iterdir()), default=0) if path.is_dir() else 0
            if time.time() - max(newest, path.stat().st_mtime) > ABANDONED:
                _remove(path)
        except OSError:  # another process removes it
            continue


def _refused(path: Path, writer: str, error: Exception) -> MediaError:
    return MediaError(
        f"{path.name} could not be written ({writer}): {error}. It may not take this size or frame rate; try another "
        "format."
    )
