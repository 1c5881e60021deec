"""Receive one file of the Hugging Face Hub: resume where it broke off, check size and hash, leave room on the disk."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

CHUNK = 1 << 20
KEPT_FREE = 10**9
"""Bytes of a disk that are never filled."""
ATTEMPTS = 6
"""Failures in a row, without a byte between them, after which a download ends."""
LONGEST_WAIT = 300.0
"""Seconds that a server's Retry-After is obeyed for."""
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)


class Cancelled(Exception):
    """The download was cancelled."""


class DownloadError(Exception):
    """A download failed; the message says what to do. `code`: gated, offline, disk_full, wrong_file, network, ..."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Broken(Exception):
    """The connection ended, or the server is busy: worth another try after `wait` seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Remote:
    """A file of a repository, and its place here. bytes, sha256: what it must be, where that is known."""

    repository: str
    revision: str
    path: str
    page: str
    target: Path
    bytes: int | None = None
    sha256: str | None = None
    size: int = 0


@dataclass(frozen=True)
class _Facts:
    """What the hub says of a file. hash: SHA-256 of a large file, git's SHA-1 of a small one."""

    url: str
    size: int
    hash: str


def hub() -> ModuleType:
    """huggingface_hub, imported now. Raises DownloadError if downloads are impossible."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise DownloadError("offline", "HF_HUB_OFFLINE is set, so nothing is downloaded. Unset it and try again.")
    try:
        import huggingface_hub
    except ImportError:
        raise DownloadError(
            "no_hub", "Downloads need 'huggingface_hub': pip install huggingface_hub with ComfyUI's Python."
        ) from None
    return huggingface_hub


def place() -> str | None:
    """The hub's address if HF_ENDPOINT names one, as it is set now."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def receive(remote: Remote, report: Callable[[int], None], stop: threading.Event) -> int:
    """Fetch a file to its target unless it is there. Returns its size in bytes.

    report(have): called with the bytes that are here, often. Raises Cancelled, DownloadError, OSError.
    """
    remote.target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(remote.target, report, stop):
        if remote.target.is_file() and remote.bytes in (None, remote.target.stat().st_size):
            report(size := remote.target.stat().st_size)
            return size
        facts = _patient(lambda: _ask(remote), stop)
        part = remote.target.with_name(f".{remote.target.name}.{facts.hash[:12]}.part")
        for old in remote.target.parent.glob(f".{remote.target.name}.*.part"):
            if old != part:  # of another version
                old.unlink(missing_ok=True)
        _receive(facts, part, report, stop)
        os.replace(part, remote.target)
        os.utime(remote.target.parent)  # ComfyUI lists a folder again if its time differs, and that counts in ticks
        return facts.size


def _ask(remote: Remote) -> _Facts:
    """Size and hash from the hub. Raises DownloadError if they are not those of the catalogue."""
    library = hub()
    url = library.hf_hub_url(remote.repository, remote.path, revision=remote.revision, endpoint=place())
    try:
        facts = library.get_hf_file_metadata(url, token=library.get_token(), endpoint=place())
    except Exception as error:
        raise _worth_another(error, remote.page) from None
    digest = (facts.etag or "").removeprefix("sha256:")
    if facts.size is None or not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", digest):
        raise DownloadError("wrong_file", f"The hub does not say the size or the hash of {remote.path}.")
    differs = remote.bytes not in (None, facts.size) or remote.sha256 not in (None, digest)
    if differs:
        raise DownloadError(
            "wrong_file",
            f"{remote.path} at {remote.page} is not the file that this catalogue knows: it has {facts.size} bytes and "
            f"the hash {digest[:12]}..., expected {remote.bytes or facts.size} and {(remote.sha256 or digest)[:12]}... "
            "It was not downloaded. Update Atelier, or report it.",
        )
    return _Facts(url, facts.size, digest)


def _receive(facts: _Facts, part: Path, report: Callable[[int], None], stop: threading.Event) -> None:
    """Complete `part` and check it; a part with a wrong hash is deleted."""
    part.touch()
    with part.open("r+b", buffering=0) as file:  # unbuffered: what is reported is on disk, and a full one fails here
        have = file.seek(0, os.SEEK_END)
        _check_room(part.parent, facts.size - have)
        digest = _Digest(part, facts)
        digest.advance(have)
        try:
            while have < facts.size:
                have = _patient(lambda: _append(facts, file, digest, report, stop), stop, progress=file.tell)
        finally:
            found = digest.finish(complete=have == facts.size)
    if have != facts.size or found != facts.hash:
        part.unlink(missing_ok=True)
        raise DownloadError(
            "wrong_file", f"{part.name[1:].rsplit('.', 2)[0]} arrived damaged (size or hash). Try again."
        )


def _append(facts: _Facts, file: Any, digest: _Digest, report: Callable[[int], None], stop: threading.Event) -> int:
    """Append what the server sends from the end of the file on. Returns how many bytes the file then has."""
    checked = have = file.tell()
    report(have)
    with _stream(facts.url, have) as (begin, chunks):
        if begin != have:  # the server sends the whole file
            file.truncate(begin)
            digest.restart()
            have = checked = file.seek(begin)
        for chunk in chunks:
            if have - checked > 64 * CHUNK:
                _check_room(Path(file.name).parent, facts.size - have)
                checked = have
            _write(file, chunk[: facts.size - have], facts)
            have = file.tell()
            digest.advance(have)
            report(have)
            if stop.is_set():
                raise Cancelled
    if have < facts.size:
        raise _Broken("the connection ended early")
    return have


def _write(file: Any, chunk: bytes, facts: _Facts) -> None:
    left = memoryview(chunk)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        raise _no_room(Path(file.name).parent, facts.size - file.tell()) if error.errno in _FULL else error from None


@contextmanager
def _stream(url: str, begin: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """(where the bytes begin, the bytes) of a file from `begin` on. Raises _Broken, DownloadError."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, get_session

    headers = build_hf_headers() | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={begin}-"} if begin else {})
    session, timeout = get_session(), constants.HF_HUB_DOWNLOAD_TIMEOUT
    try:
        if hasattr(session, "stream"):  # httpx, from huggingface_hub 1.0 on
            with session.stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as answer:
                yield _begin(answer, begin), answer.iter_bytes(CHUNK)
        else:
            with session.get(url, headers=headers, timeout=timeout, stream=True) as answer:
                yield _begin(answer, begin), answer.iter_content(CHUNK)
    except (Cancelled, DownloadError, _Broken):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None and getattr(error, "response", None) is None:
            raise  # of this machine's disk
        raise _worth_another(error, url) from None


def _begin(answer: Any, wanted: int) -> int:
    """Where the body of an answer begins. Raises _Broken or DownloadError if it is not the file."""
    if answer.status_code == 206 and wanted:
        match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
        if match is None or int(match[1]) > wanted:
            raise _Broken("the server sent another part of the file")
        return int(match[1])
    if answer.status_code == 200:
        return 0
    raise _status(answer, "")


def _status(answer: Any, page: str) -> Exception:
    """The error for a refused request."""
    code, wait = answer.status_code, answer.headers.get("Retry-After", "")
    if code in (408, 429) or code >= 500:
        return _Broken(f"the server answered {code}", min(float(wait), LONGEST_WAIT) if wait.isdigit() else None)
    if code == 416:
        return DownloadError("wrong_file", "The file at the hub has become shorter. Try again.")
    return DownloadError("refused", f"The hub refused the download ({code}). {_licence(page)}")


def _licence(page: str) -> str:
    where = f"Accept its licence at {page} and" if page else "Accept its licence on its page and"
    return f"{where} set HF_TOKEN (or run 'hf auth login') for the account that accepted it."


def hub_errors(error: Exception, page: str) -> DownloadError:
    """An error of huggingface_hub in words, without its request's headers and addresses."""
    name = type(error).__name__
    if isinstance(error, DownloadError):
        return error
    if isinstance(error, _Broken):
        return DownloadError("network", f"The download broke off: {error}. Start it again: it continues there.")
    if name == "GatedRepoError":
        return DownloadError("gated", f"This model is gated. {_licence(page)}")
    if name == "RepositoryNotFoundError":
        return DownloadError("not_found", f"{page} does not exist, or needs a login: {_licence(page)}")
    if name in ("EntryNotFoundError", "RemoteEntryNotFoundError", "RevisionNotFoundError"):
        return DownloadError("not_found", f"{page} no longer has this file. Update Atelier, or report it.")
    if name == "OfflineModeIsEnabled":
        return DownloadError("offline", "HF_HUB_OFFLINE is set, so nothing is downloaded. Unset it and try again.")
    if isinstance(error, OSError) and error.errno in _FULL:
        return DownloadError("disk_full", f"The disk is full ({os.strerror(error.errno)}). Free some space.")
    if isinstance(error, OSError) and error.errno is not None and getattr(error, "response", None) is None:
        return DownloadError("disk", f"The file cannot be written: {os.strerror(error.errno)}.")
    answer = getattr(error, "response", None)
    if answer is not None and isinstance(known := _status(answer, page), DownloadError):
        return known
    return DownloadError("network", f"The hub cannot be reached ({name}). Check the network, or HF_ENDPOINT.")


def _worth_another(error: Exception, page: str) -> Exception:
    """_Broken for a fault of the line or a busy server, DownloadError for what another try cannot mend."""
    if isinstance(error, (_Broken, DownloadError)):
        return error
    answer = getattr(error, "response", None)
    if answer is not None and isinstance(broken := _status(answer, page), _Broken):
        return broken
    known = hub_errors(error, page)
    return _Broken(f"{type(error).__name__}") if known.code == "network" else known


def _patient(action: Callable[[], Any], stop: threading.Event, progress: Callable[[], int] = lambda: 0) -> Any:
    """The action's result. It is tried again after _Broken, until it fails ATTEMPTS times without progress."""
    failures, before = 0, progress()
    while True:
        try:
            return action()
        except _Broken as error:
            failures = 1 if progress() > before else failures + 1
            before = progress()
            if failures >= ATTEMPTS:
                raise hub_errors(error, "") from None
            if stop.wait(error.wait if error.wait is not None else min(30.0, 0.1 * 2**failures)):
                raise Cancelled from None


def _check_room(folder: Path, needed: int) -> None:
    if shutil.disk_usage(folder).free - needed < KEPT_FREE:
        raise _no_room(folder, needed)


def _no_room(folder: Path, needed: int) -> DownloadError:
    free = shutil.disk_usage(folder).free
    return DownloadError(
        "disk_full",
        f"There is no room in {folder}: {needed / 1e9:.1f} GB to download, {free / 1e9:.1f} GB free, and 1 GB stays "
        "free. Free some space, or name another folder in extra_model_paths.yaml. What has arrived is kept.",
    )


@contextmanager
def _alone(target: Path, report: Callable[[int], None], stop: threading.Event) -> Iterator[None]:
    """Hold a file's lock, among the processes of this machine. Who waits reports how far the other one is."""
    from filelock import FileLock, Timeout

    lock = FileLock(target.with_name(f".{target.name}.lock"))
    while True:
        try:
            lock.acquire(timeout=0.2)
            break
        except Timeout:
            parts = target.parent.glob(f".{target.name}.*.part")
            report(max((part.stat().st_size for part in parts), default=0))
            if stop.is_set():
                raise Cancelled from None
    try:
        yield
        Path(lock.lock_file).unlink(missing_ok=True)  # complete: whoever waits finds the file itself
    finally:
        lock.release()


class _Digest:
    """The hash of a growing file, computed in a thread, so that receiving does not wait for it."""

    def __init__(self, path: Path, facts: _Facts) -> None:
        self._path, self._facts, self._have, self._generation = path, facts, 0, 0
        self._more, self._ended, self._result = threading.Condition(), False, ""
        self._thread = threading.Thread(target=self._run, name="atelier-hash", daemon=True)
        self._thread.start()

    def advance(self, have: int) -> None:
        """The first `have` bytes are written."""
        with self._more:
            self._have = have
            self._more.notify()

    def restart(self) -> None:
        """The file was cut to nothing."""
        with self._more:
            self._have, self._generation = 0, self._generation + 1

    def finish(self, complete: bool) -> str:
        """The hash in hexadecimal digits, or "" if the file is not complete."""
        with self._more:
            self._ended = True
            if not complete:
                self._generation = -1
            self._more.notify()
        self._thread.join()
        return self._result

    def _new(self) -> Any:
        if len(self._facts.hash) == 64:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self._facts.size, usedforsecurity=False)  # as git names a file

    def _run(self) -> None:
        digest, generation = self._new(), 0
        with self._path.open("rb") as file:
            while True:
                with self._more:
                    self._more.wait_for(lambda: self._ended or self._have != file.tell())
                    have, current, ended = self._have, self._generation, self._ended
                if current < 0:
                    return
                if current != generation or file.tell() > have:
                    digest, generation = self._new(), current
                    file.seek(0)
                elif file.tell() < have:
                    digest.update(file.read(min(CHUNK, have - file.tell())))
                elif ended:
                    self._result = digest.hexdigest()
                    return
