"""Reading a request's body: JSON, a form, or multipart with files, into plain fields and files on the disk."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import BodyPartReader, MultipartReader, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from .. import settings
from ..errors import ApiError, bad, words
from . import json_text
from .dialects import canonical

Fields = dict[str, Any]
T = TypeVar("T")

MAX_TEXT, MAX_TEXTS = 24 << 20, 32 << 20
"""Bytes of one text field, of which a data URL may have 20,971,520; and of all of them, or of JSON."""
MAX_FORM = 4 << 20
"""Bytes of a form without parts, each of which may be written as three."""
MAX_FIELDS, MAX_NAME, MAX_DEPTH = 200, 200, 8
"""Fields or parts, characters of a field's name, and how deep fields lie in each other."""
_OVERHEAD = 1 << 20
"""Bytes of a multipart body beside texts and files: boundaries and headers."""
_LINES, _TURN = 10_000, 256
"""Lines of a multipart body beside its contents; and reads after which others get a turn, because what lies in the
buffer is read without waiting."""
_PATIENCE, _SLOWEST = 60.0, 16_384
"""Seconds that a body may take whatever its size, and bytes a second that it must bring beyond them."""
_one_at_a_time = asyncio.Lock()
"""A parser holds the whole process, off the event loop too. So between two of them the loop gets its turn."""


@dataclass
class Body:
    """What a client sent. Until they are taken, files are there under their fields' names, not yet looked into."""

    fields: Fields = field(default_factory=dict)
    files: list[tuple[str, Path]] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)

    def take(self, name: str) -> Path | None:
        """The first file of this name, or of another name for the same thing; it is not there any more then."""
        named = [file for file in self.files if file[0] == name]
        found = next(iter(named or [file for file in self.files if canonical(file[0]) == name]), None)
        if found is None:
            return None
        self.files.remove(found)
        self.taken.append(found[0])
        return found[1]


@asynccontextmanager
async def received(request: web.Request, folder: Path) -> AsyncIterator[Body]:
    """The body, its files in `folder`, which goes again if the call fails; files that nobody took go in any case."""
    try:
        sent = await read(request, folder, int(settings.current().max_upload_mb * 1e6))
        yield sent
        for _, unused in sent.files:
            unused.unlink(missing_ok=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


async def read(request: web.Request, folder: Path, max_bytes: int, max_texts: int = MAX_TEXTS) -> Body:
    """Read the body; files go into `folder` under names of our own. Raises ApiError.

    max_bytes: of all files together. max_texts: of all text fields, or of JSON.
    """
    try:
        if request.content_type == "multipart/form-data":
            body, pairs = await _multipart(request, folder, max_bytes, max_texts)
            body.fields = nested(pairs)
        elif request.content_type == "application/x-www-form-urlencoded":
            body = Body(await off_the_loop(_form, await _content(request, min(MAX_FORM, max_texts))))
        else:
            body = Body(await off_the_loop(_json, await _content(request, max_texts)))
    except (ValueError, RuntimeError, HttpProcessingError) as error:  # RuntimeError: aiohttp's, of a part's charset
        raise bad(f"The body cannot be read: {words(error)}", code="invalid_body") from None
    if len(body.fields) > MAX_FIELDS:
        raise bad(f"The body has {len(body.fields):,} fields; up to {MAX_FIELDS} are read.", code="invalid_body")
    return body


async def off_the_loop(parse: Callable[..., T], *given: Any) -> T:
    """What `parse` makes of something large, made in a thread of its own."""
    async with _one_at_a_time:
        return await asyncio.to_thread(parse, *given)


def _too_large(most: int, name: str | None = None) -> ApiError:
    what = "request" if name is None else f"field '{name[:MAX_NAME]}'"
    return ApiError(
        413, "too_large", f"The {what} is longer than {most:,} bytes; send pictures and clips as files.", name
    )


async def _content(request: web.Request, most: int) -> bytes:
    """The whole body. Raises ApiError 413 as soon as it is known to be longer than `most` bytes."""
    stream = _Counted(request, most)
    content = bytearray()
    while chunk := await stream.readany():
        content += chunk
    return bytes(content)


class _Counted:
    """The bytes of a request's body as aiohttp's StreamReader gives them, up to `most`. Raises ApiError 408 and 413."""

    def __init__(self, request: web.Request, most: int) -> None:
        if (request.content_length or 0) > most:
            raise _too_large(most)
        self._stream: StreamReader = request.content
        self._most, self._size, self._reads, self._lines = most, 0, 0, 0
        self._since = time.monotonic()

    async def readany(self) -> bytes:
        return await self._counted(self._stream.readany())

    async def readline(self, **limits: int) -> bytes:
        self._lines += 1
        if self._lines > _LINES:
            raise ValueError(f"it has more than {_LINES:,} lines beside the contents of its parts")
        return await self._counted(self._stream.readline(**limits))

    async def read(self, size: int = -1) -> bytes:
        return await self._counted(self._stream.read(size))

    def unread_data(self, content: bytes) -> None:
        self._size -= len(content)
        self._stream.unread_data(content)

    def at_eof(self) -> bool:
        return self._stream.at_eof()

    async def _counted(self, reading: Awaitable[bytes]) -> bytes:
        """What is read next. Raises ApiError 408 where the client takes longer than any line that works."""
        left = self._since + _PATIENCE + self._size / _SLOWEST - time.monotonic()
        try:
            content = await asyncio.wait_for(reading, max(0.0, left))
        except asyncio.TimeoutError:
            raise ApiError(408, "too_slow", "The request's body did not arrive in time; send it again.") from None
        self._size += len(content)
        if self._size > self._most:
            raise _too_large(self._most)
        self._reads += 1
        if self._reads % _TURN == 0:
            await asyncio.sleep(0)
        return content


def _json(content: bytes) -> Fields:
    if not content.strip():
        return {}
    value = json_text.parsed(content)
    if not isinstance(value, dict):
        raise ValueError("a JSON object is expected")
    return value


def _form(content: bytes) -> Fields:
    return nested(urllib.parse.parse_qsl(content.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))


async def _multipart(
    request: web.Request, folder: Path, max_bytes: int, max_texts: int
) -> tuple[Body, list[tuple[str, str]]]:
    """The files, and the names and values of the text fields."""
    body, pairs, parts, texts, files = Body(), [], 0, 0, 0
    reader = MultipartReader(request.headers, _Counted(request, max_bytes + max_texts + _OVERHEAD))
    while (part := await reader.next()) is not None:
        parts += 1
        if not isinstance(part, BodyPartReader) or not part.name or len(part.name) > MAX_NAME or parts > MAX_FIELDS:
            raise ValueError(f"up to {MAX_FIELDS} parts, each with a name of up to {MAX_NAME} letters, are expected")
        if part.filename is None:
            text = await _take(part, min(MAX_TEXT, max_texts - texts))
            pairs.append((part.name, text.decode()))
            texts += len(text)
        else:
            files += await _save(part, folder, body, max_bytes - files)
    return body, pairs


async def _take(part: BodyPartReader, most: int) -> bytes:
    content = bytearray()
    while chunk := await part.read_chunk():
        content += chunk
        if len(content) > most:
            raise _too_large(most, part.name)
    return bytes(content)


async def _save(part: BodyPartReader, folder: Path, body: Body, most: int) -> int:
    """Write a file part to the disk; returns its bytes. Empty ones, and a second of one name, count as not sent."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    path, size = folder / uuid.uuid4().hex, 0
    with path.open("wb") as file:
        while chunk := await part.read_chunk(1 << 18):
            size += len(chunk)
            if size > most:
                raise ApiError(413, "too_large", "The files are larger than this server takes.", part.name)
            await asyncio.to_thread(file.write, chunk)
    if size:
        body.files.append((part.name, path))
    else:
        await asyncio.to_thread(path.unlink)
    return size


def nested(pairs: list[tuple[str, str]]) -> Fields:
    """Bracketed names as the SDKs write them: a[b]=1, a[b][]=1, loras[][name]=x. Raises ValueError."""
    fields: Fields = {}
    for name, value in pairs:
        if len(name) > MAX_NAME:
            raise ValueError(f"the field '{name[:80]}...' has a name longer than {MAX_NAME} letters")
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
