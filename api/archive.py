"""The lasting place of finished videos, if the owner names one: a bucket or any file system of fsspec's, as s3://bucket.

A job's folder is on this disk while ComfyUI works in it. When its video is finished, the folder's files are copied to
the archive. `jobs/mover.py` does so. Calls block; run them in a thread. fsspec is imported with the first.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from . import settings
from .errors import ApiError, summary

PATIENT = {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}}
"""Seconds and attempts of S3's client, which would wait for minutes."""
DEFAULTS: dict[str, dict[str, Any]] = {"s3": {"config_kwargs": PATIENT}, "file": {"auto_mkdir": True}}
"""Protocol -> fsspec's options that the owner's `files_options` extend."""
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


@dataclass(frozen=True)
class Stored:
    """A file in the archive. tag: changes when the file does."""

    size: int
    tag: str


class Archive:
    """Folders of finished jobs, by id. A call raises ApiError 503 if the archive cannot be reached now."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        """Nothing is connected yet. Raises ApiError if fsspec does not know the address or lacks a package for it."""
        from fsspec.core import url_to_fs

        protocol = url.partition("://")[0]
        self.name, self._reported = f"the place of finished videos ({protocol}://)", ""
        wanted = {"use_listings_cache": False, "skip_instance_cache": True} | DEFAULTS.get(protocol, {}) | options
        try:
            self._files, root = url_to_fs(url, **wanted)
        except ImportError:
            package = PACKAGES.get(protocol, f"fsspec's package for {protocol}")
            message = f"'files' in api.json needs {package}: pip install {package}, then restart ComfyUI."
            raise ApiError(503, "files_unavailable", message) from None
        except Exception as error:
            message = f"'files' or 'files_options' in api.json cannot be used: {type(error).__name__}."
            logging.error("Atelier: %s %s", message, summary(error))
            raise ApiError(500, "misconfigured", message) from None
        self._root = root.rstrip("/")

    def put(self, folder: Path) -> None:
        """Copy the files of a job's folder, and compare their sizes."""
        with self._reached(missing_bucket=True):
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                size, place = file.stat().st_size, self._place(folder.name, file.relative_to(folder).as_posix())
                self._files.put_file(str(file), place)
                if (there := self._files.info(place)["size"]) != size:
                    raise OSError(f"{file.name} has {there} of {size} bytes there")

    def about(self, identity: str, name: str) -> Stored | None:
        """A file's size and tag; None if it is not here."""
        with self._reached(), suppress(FileNotFoundError):
            info = self._files.info(self._place(identity, name))
            tag = info.get("ETag") or f"{info['size']:x}-{info.get('mtime') or info.get('created') or 0}"
            return Stored(info["size"], str(tag).strip('"'))
        return None

    def read(self, identity: str, name: str, start: int, stop: int) -> bytes:
        """The bytes of a file from `start` to before `stop`."""
        with self._reached():
            return self._files.cat_file(self._place(identity, name), start=start, end=stop)

    def fetch(self, identity: str, name: str, into: Path) -> Path | None:
        """Copy a file to `into` on this disk, whole or not at all. Returns `into`, or None if there is no such file."""
        into.parent.mkdir(parents=True, exist_ok=True)
        unfinished = into.with_name(f"{into.stem}.part")
        try:
            with self._reached(), suppress(FileNotFoundError):
                self._files.get_file(self._place(identity, name), str(unfinished))
                return unfinished.replace(into)
        finally:
            unfinished.unlink(missing_ok=True)
        return None

    def remove(self, identity: str) -> None:
        """Remove a job's files."""
        with self._reached(), suppress(FileNotFoundError):
            self._files.rm(f"{self._root}/{identity}", recursive=True)

    def _place(self, identity: str, name: str) -> str:
        return f"{self._root}/{identity}/{name}"

    @contextmanager
    def _reached(self, missing_bucket: bool = False) -> Iterator[None]:
        """Turn every error of a client library, which may be of any class, into ApiError 503.

        missing_bucket: whether FileNotFoundError means that, too. It passes otherwise, because a file is missing.
        """
        try:
            yield
        except Exception as error:
            if isinstance(error, FileNotFoundError) and not missing_bucket:
                raise
            if str(error) != self._reported:  # it may name the owner's bucket: for the log only
                self._reported = str(error)
                logging.warning("Atelier: %s: %s: %s", self.name, type(error).__name__, error)
            message = f"{self.name[0].upper()}{self.name[1:]} cannot be reached now. Nothing is lost; try again."
            raise ApiError(503, "files_unreachable", message) from error


def current() -> Archive | None:
    """The archive of the owner's settings, or None: files stay on this disk. Raises ApiError, SettingsError."""
    owner = settings.current()
    return _opened(owner.files, json.dumps(owner.files_options)) if owner.files else None


@lru_cache(maxsize=1)
def _opened(url: str, options: str) -> Archive:
    return Archive(url, json.loads(options))
