"""Reading a request's body: JSON, a form, or multipart with files, into plain fields and files on the disk."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import urllib.parse
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from .. import settings
from ..errors import ApiError, bad, words

Fields = dict[str, Any]

MAX_TEXT = 24 * 1024 * 1024
"""Bytes of one text field: a data URL may have 20,971,520 characters."""
MAX_PARTS, MAX_DEPTH = 200, 8


@dataclass
class Body:
    """What a client sent. A file is there under the name of its field, not yet looked into."""

    fields: Fields = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)


@asynccontextmanager
async def received(request: web.Request, folder: Path) -> AsyncIterator[Body]:
    """The body, its files in `folder`, which goes again if the call fails; files that nobody took go in any case."""
    try:
        sent = await read(request, folder, int(settings.current().max_upload_mb * 1e6))
        yield sent
        for unused in sent.files.values():
            unused.unlink(missing_ok=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


async def read(request: web.Request, folder: Path, max_bytes: int) -> Body:
    """Read the body; files go into `folder` under names of our own. Raises ApiError."""
    try:
        if request.content_type == "multipart/form-data":
            body = await _multipart(request, folder, max_bytes)
        elif request.content_type == "application/x-www-form-urlencoded":
            text = (await request.read()).decode()
            pairs = urllib.parse.parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARTS)
            body = Body(nested(pairs))
        else:
            body = Body(_json(await request.read()))
        json.dumps(body.fields, ensure_ascii=False).encode()  # half a surrogate pair can be written nowhere
    except web.HTTPRequestEntityTooLarge:
        raise ApiError(413, "too_large", "The request is too large; send big files as multipart.") from None
    except (ValueError, RecursionError, HttpProcessingError) as error:
        raise bad(f"The body cannot be read: {words(error)}", code="invalid_body") from None
    return body


def _json(content: bytes) -> Fields:
    if not content.strip():
        return {}
    value = json.loads(content)
    if not isinstance(value, dict):
        raise ValueError("a JSON object is expected")
    return value


async def _multipart(request: web.Request, folder: Path, max_bytes: int) -> Body:
    pairs: list[tuple[str, str]] = []
    body, total, parts = Body(), 0, 0
    reader = await request.multipart()
    while (part := await reader.next()) is not None:
        parts += 1
        if not isinstance(part, BodyPartReader) or not part.name or parts > MAX_PARTS:
            raise ValueError(f"up to {MAX_PARTS} parts, each with a name, are expected")
        if part.filename is None:
            text = await _take(part, MAX_TEXT)
            pairs.append((part.name, text.decode()))
            total += len(text)
        else:
            total += await _save(part, folder, body, max_bytes - total)
    body.fields = nested(pairs)
    return body


async def _take(part: BodyPartReader, most: int) -> bytes:
    content = bytearray()
    while chunk := await part.read_chunk():
        content += chunk
        if len(content) > most:
            raise ApiError(413, "too_large", f"The field '{part.name}' is longer than {most} bytes.", part.name)
    return bytes(content)


async def _save(part: BodyPartReader, folder: Path, body: Body, most: int) -> int:
    """Write a file part to the disk; returns its bytes. An empty one counts as not sent."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    path, size = folder / uuid.uuid4().hex, 0
    with path.open("wb") as file:
        while chunk := await part.read_chunk(1 << 18):
            size += len(chunk)
            if size > most:
                raise ApiError(413, "too_large", "The files are larger than this server takes.", part.name)
            await asyncio.to_thread(file.write, chunk)
    if size and part.name not in body.files:
        body.files[part.name] = path
    return size


def nested(pairs: list[tuple[str, str]]) -> Fields:
    """Bracketed names as the SDKs write them: a[b]=1, a[b][]=1, loras[][name]=x. Raises ValueError."""
    fields: Fields = {}
    for name, value in pairs:
        match = re.fullmatch(r"([^\[\]]+)((?:\[[^\[\]]*\])*)", name)
        steps = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])] if match else [name]
        if len(steps) > MAX_DEPTH:
            raise ValueError(f"the field '{name[:80]}' is nested too deeply")
        _put(fields, steps, value)
    return fields


def _put(into: Any, steps: list[str], value: str) -> None:
    """Walk `steps`, an empty one meaning "a list's next entry", and leave `value` at the end."""
    step, rest = steps[0], steps[1:]
    if isinstance(into, list):
        if not rest:
            into.append(value)
            return
        if not (into and isinstance(into[-1], dict) and rest[0] not in into[-1]):
            into.append({})
        _put(into[-1], rest, value)
    elif not rest:
        into[step] = value
    else:
        kind = list if rest[0] == "" else dict
        if not isinstance(into.setdefault(step, kind()), kind):
            raise ValueError(f"the field '{step}' is sent in two forms")
        _put(into[step], rest, value)
