"""Fetch published models from the Hugging Face Hub: one after another in a thread, resumed, checked, cancellable.

A file is received under a hidden name beside its place and renamed when it is complete and its hash is right. Nothing
is imported and no connection is opened before a download is asked for.
"""

from __future__ import annotations

import fnmatch
import logging
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from .published import Here, Published, catalogue, is_plain, own_paths, target_folder
from .receive import Cancelled, DownloadError, Remote, hub, hub_errors, place, receive

RUNNING, DONE, FAILED, CANCELLED = "running", "done", "failed", "cancelled"
PACE_SECONDS = 10.0
"""The speed is that of the last seconds."""


@dataclass(frozen=True)
class Progress:
    """How far a download is: bytes, bytes per second, seconds left (None: unknown)."""

    state: str
    done: int
    total: int
    speed: float = 0.0
    left: float | None = None
    file: str = ""
    code: str = ""
    error: str = ""


class Download:
    """Entries of the catalogue being fetched, in a thread of its own."""

    def __init__(self, entries: list[Published]) -> None:
        self.entries, self.state, self.code, self.error = entries, RUNNING, "", ""
        self._done: dict[str, int] = {}
        self._total = {entry.id: entry.bytes for entry in entries}
        self._file, self._stop, self._ended = "", threading.Event(), threading.Event()
        self._pace: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=100)
        self._arrived = 0
        threading.Thread(target=self._run, name="atelier-download", daemon=True).start()

    @property
    def progress(self) -> Progress:
        done, total = sum(self._done.values()), sum(self._total.values())
        (then, before), now = self._pace[0], time.monotonic()
        speed = (self._arrived - before) / (now - then) if now > then and self.state == RUNNING else 0.0
        left = max(0, total - done) / speed if speed > 0 else None
        return Progress(self.state, min(done, total), total, speed, left, self._file, self.code, self.error)

    def cancel(self) -> None:
        """Stop. What has arrived is kept under its hidden name, so that the next download continues there."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end; False if it has not come after `seconds`."""
        return self._ended.wait(seconds)

    def _run(self) -> None:
        try:
            for entry in self.entries:
                self._fetch(entry)
            self.state = DONE
        except Cancelled:
            self.state = CANCELLED
        except Exception as error:
            known = error if isinstance(error, DownloadError) else hub_errors(error, self.entries[0].page)
            self.code, self.error, self.state = known.code, str(known), FAILED
            logging.warning("Atelier: the download of %s failed: %s", self.entries[0].name, known)
        finally:
            self._ended.set()

    def _fetch(self, entry: Published) -> None:
        if Here().has(entry):
            return
        remotes = _of_folder(entry) if entry.folder else _of_files(entry)
        self._total[entry.id] = sum(remote.bytes or remote.size for remote in remotes)
        for remote in remotes:
            self._file = remote.path
            before = self._done.get(entry.id, 0)
            self._last = None
            size = receive(remote, lambda have, base=before, one=entry: self._report(one, base, have), self._stop)
            self._done[entry.id] = before + size
        if entry.folder:
            _settle(_staging(entry), target_folder("diffusers") / entry.folder.split("/")[1])
        self._total[entry.id] = self._done[entry.id]

    def _report(self, entry: Published, base: int, have: int) -> None:
        """`have` bytes of a file are here. What was here at the start does not count for the speed."""
        self._done[entry.id] = base + have
        if self._last is not None and have > self._last:
            self._arrived += have - self._last
        self._last, now = have, time.monotonic()
        if now - self._pace[-1][0] > 0.2:
            self._pace.append((now, self._arrived))
            while len(self._pace) > 2 and now - self._pace[0][0] > PACE_SECONDS:
                self._pace.popleft()


def _of_files(entry: Published) -> list[Remote]:
    return [
        Remote(
            *(entry.repository, entry.revision, file.path, entry.page),
            target=target_folder(file.folder) / file.name,
            bytes=file.bytes,
            sha256=file.sha256,
            size=file.about,
        )
        for file in entry.files
    ]


def _of_folder(entry: Published) -> list[Remote]:
    """The files of the repository that match the entry's patterns, from the hub's own list."""
    try:
        information = (
            hub().HfApi(endpoint=place()).model_info(entry.repository, revision=entry.revision, files_metadata=True)
        )
    except Exception as error:
        raise hub_errors(error, entry.page) from None
    found = []
    for one in information.siblings or ():
        wanted = any(fnmatch.fnmatchcase(one.rfilename, pattern) for pattern in entry.patterns)
        if not wanted or not is_plain(one.rfilename):
            continue
        finished = target_folder("diffusers") / entry.folder.split("/")[1] / one.rfilename
        target = finished if finished.is_file() else _staging(entry) / one.rfilename
        lfs = one.lfs or {}
        sha256 = lfs.get("sha256") if isinstance(lfs, dict) else getattr(lfs, "sha256", None)
        found.append(
            Remote(
                *(entry.repository, information.sha or entry.revision, one.rfilename, entry.page),
                target=target,
                bytes=one.size,
                sha256=sha256,
                size=one.size or 0,
            )
        )
    if not any(remote.path.endswith((".safetensors", ".gguf")) for remote in found):
        raise DownloadError("not_found", f"{entry.page} has no files that match {', '.join(entry.patterns)}.")
    return found


def _staging(entry: Published) -> Path:
    """Where a folder's files wait until all are here: hidden, so that the loader does not list half a model."""
    return target_folder("diffusers") / f".{entry.folder.split('/')[1]}.part"


def _settle(staging: Path, folder: Path) -> None:
    """Move a complete staging folder to its name, or its files into the folder that has it."""
    if not staging.is_dir():
        return
    if not folder.exists():
        os.rename(staging, folder)
        return
    for file in sorted(path for path in staging.rglob("*") if path.is_file()):
        (folder / file.relative_to(staging)).parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, folder / file.relative_to(staging))
    shutil.rmtree(staging, ignore_errors=True)


_downloads: dict[str, Download] = {}
_lock = threading.Lock()


def start(entry: Published, needed: Iterable[Published]) -> Download:
    """Fetch `needed` (see published.missing) for an entry. If that is being done already, it is the same download."""
    with _lock:
        running = _downloads.get(entry.id)
        if running is None or running.state != RUNNING:
            running = _downloads[entry.id] = Download(list(needed) or [entry])
        return running


def current(id: str) -> Download | None:
    """The last download of an entry since ComfyUI started; None if there was none."""
    return _downloads.get(id)


def remove(entry: Published, note: Callable[[Path], None] = lambda path: None) -> int:
    """Delete an entry's files and what a cancelled download left of them. Returns the number of files deleted.

    Parts that other models need, and those that other entries share, stay.
    """
    paths = own_paths(entry)
    if entry.folder:
        others = [other for other in catalogue().values() if other.folder == entry.folder and other.id != entry.id]
        shared = any(map(Here().has, others))
        paths = paths if shared or not entry.part else [path.parent for path in paths]
        shutil.rmtree(_staging(entry), ignore_errors=True)
    for path in paths:
        note(path)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        os.utime(path.parent)
    for file in entry.files:
        for part in target_folder(file.folder).glob(f".{file.name}.*"):
            part.unlink(missing_ok=True)
    _downloads.pop(entry.id, None)
    return len(paths)
