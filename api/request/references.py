"""Pictures, clips and sounds of a request: uploads, data URLs, web addresses, ids of videos and characters."""

from __future__ import annotations

import asyncio
import base64
import binascii
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import archive, files, settings
from ..errors import bad, missing, summary
from ..store import Store
from . import remote
from .body import Body

KEYS = ("image_url", "video_url", "audio_url", "url", "file_id", "id")
"""Keys of an object that may hold the address or id."""


@dataclass(frozen=True)
class ReferenceFile:
    """A file in the job's folder. kind: one of `files`. source: the id of the video it was copied from."""

    path: Path
    kind: str
    source: str | None = None


async def resolve(
    name: str, value: Any, body: Body, folder: Path, store: Store, sound: bool = False
) -> ReferenceFile | None:
    """The request's picture or clip `name`, checked and stored in `folder`; None if it has none. Raises ApiError.

    sound: what is wanted is a sound, which may be that of a clip.
    """
    check = files.checked_sound if sound else files.checked
    if (sent := body.take(name)) is not None:
        return ReferenceFile(*await asyncio.to_thread(check, sent))
    if isinstance(value, list):
        value = next(filter(None, value), None)
    if isinstance(value, dict):
        targets = [value.get(key) for key in KEYS if value.get(key)]
        if len(targets) != 1:
            raise bad(f"'{name}' must have exactly one of {', '.join(KEYS)}.", name)
        value = targets[0].get("url") if isinstance(targets[0], dict) else targets[0]
    if not value:
        return None
    if not isinstance(value, str):
        raise bad(f"'{name}' must be a file, a data URL or an id.", name)
    if value.startswith("data:"):
        content = await asyncio.to_thread(_decoded, value, name)
    elif value.startswith(("http://", "https://")):
        if not settings.current().remote_images:
            raise bad("This server fetches no addresses (remote_images in api.json is off). Send a data URL.", name)
        content = await remote.fetch(value, settings.current().max_upload_bytes)
    else:
        copy = await _copy_of(value, folder, store)
        return ReferenceFile(*await asyncio.to_thread(check, copy.path)) if sound else copy
    return ReferenceFile(*await asyncio.to_thread(_written, content, folder, check))


def _decoded(url: str, name: str) -> bytes:
    head, comma, content = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise bad(f"'{name}': a data URL must have the form data:TYPE;base64,...", name)
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise bad(f"'{name}': the data URL is not base64: {summary(error)}", name) from None


def _written(content: bytes, folder: Path, check: Callable[[Path], tuple[Path, str]]) -> tuple[Path, str]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / uuid.uuid4().hex
    path.write_bytes(content)
    return check(path)


async def _copy_of(identity: str, folder: Path, store: Store) -> ReferenceFile:
    """A copy of a finished video or a character's picture, because the original may be deleted before the job runs."""
    if character := await store.character(identity):
        picture = files.character_folder(identity) / character["picture"]
        return ReferenceFile(await asyncio.to_thread(files.copied, picture, folder), files.IMAGE)
    row = await store.job(identity)
    if row is None:
        raise missing("video or character", identity[:100])
    if row["status"] != "completed":
        raise bad(f"The video '{identity}' is {row['status']}; only a completed one can be used.", "video", "not_ready")
    video, place = files.job_folder(identity) / row["file"], archive.current()
    with suppress(FileNotFoundError):  # it is in the archive, or goes there now
        return ReferenceFile(await asyncio.to_thread(files.copied, video, folder), files.VIDEO, identity)
    into = folder / f"{uuid.uuid4().hex}{video.suffix}"
    if place is None or await asyncio.to_thread(place.fetch, identity, row["file"], into) is None:
        raise missing("file of video", identity)
    return ReferenceFile(into, files.VIDEO, identity)
