"""Reads a request's body (JSON, a form, or multipart with files) into plain fields and files on disk."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import BodyPartReader, MultipartReader, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from ..errors import ApiError, bad, summary
from . import json_text
from .dialects import canonical

Fields = dict[str, Any]
T = TypeVar("T")

MAX_TEXT, MAX_TEXTS = 24 << 20, 32 << 20
"""Bytes of one text field, and of all text fields or a JSON body. OpenAI allows data URLs of 20,971,520 bytes."""
MAX_FORM = 4 << 20
"""Bytes of an urlencoded form, in which one byte may take three (%XX)."""
MAX_FIELDS, MAX_NAME, MAX_DEPTH = 200, 200, 8
"""Fields or parts of a body, characters of a field's name, and levels of nesting."""
_OVERHEAD = 1 << 20
"""Bytes of a multipart body's boundaries and headers."""
_LINES, _TURN = 10_000, 256
"""Lines of a multipart body's boundaries and headers; and reads after which the event loop runs other tasks, because
a read of buffered data does not wait."""
_PATIENCE, _SLOWEST = 60.0, 16_384
"""Seconds that a body of any size may take, and the bytes per second that it must bring after them."""
_one_at_a_time = asyncio.Lock()
"""Lets one parser run at a time. Each holds the GIL even in its own thread; the event loop runs between two of them."""


@dataclass
class Body:
    """The content of a request. `files` has (field name, path) of each upload, unchecked, until it is taken."""

    fields: Fields = field(default_factory=dict)
    files: list[tuple[str, Path]] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)

    def take(self, name: str) -> Path | None:
        """Remove and return the first file of this name, or else of an alias of it. None if there is none."""
        named = [file for file in self.files if file[0] == name]
        file = next(iter(named or [file for file in self.files if canonical(file[0]) == name]), None)
        if file is None:
            return None
        self.files.remove(file)
        self.taken.append(file[0])
        return file[1]


def disconnected(request: web.Request) -> bool:
    """Whether the client has closed the connection."""
    return request.transport is None or request.transport.is_closing()


async def read(request: web.Request, folder: Path, max_bytes: int, max_texts: int = MAX_TEXTS) -> Body:
    """Read a body, and write its files into `folder` under random names. Raises ApiError 400, 408, 413.

    max_bytes: of all files together. max_texts: bytes of all text fields, or of JSON.
    """
    try:
        if request.content_type == "multipart/form-data":
            body, pairs = await _multipart(request, folder, max_bytes, max_texts)
            body.fields = nested(pairs)
        elif request.content_type == "application/x-www-form-urlencoded":
            body = Body(await off_the_loop(_form, await content_of(request, min(MAX_FORM, max_texts))))
        else:
            body = Body(await off_the_loop(_json, await content_of(request, max_texts)))
    except (ValueError, RuntimeError, HttpProcessingError) as error:  # RuntimeError: aiohttp's, of a part's charset
        raise bad(f"The body cannot be read: {summary(error)}", code="invalid_body") from None
    if len(body.fields) > MAX_FIELDS:
        raise bad(f"The body has {len(body.fields):,} fields; up to {MAX_FIELDS} are read.", code="invalid_body")
    return body


async def off_the_loop(parse: Callable[..., T], *args: Any, **named: Any) -> T:
    """Run a parser of large text in a thread."""
    async with _one_at_a_time:
        return await asyncio.to_thread(parse, *args, **named)


def _too_large(most: int, name: str | None = None) -> ApiError:
    what = "request" if name is None else f"field '{name[:MAX_NAME]}'"
    return ApiError(
        413, "too_large", f"The {what} is longer than {most:,} bytes. Send pictures and clips as files.", name
    )


async def content_of(request: web.Request, most: int) -> bytes:
    """The whole body. Raises ApiError 413 as soon as it exceeds `most` bytes."""
    stream = _Counted(request, most)
    content = bytearray()
    while chunk := await stream.readany():
        content += chunk
    return bytes(content)


class _Counted:
    """A request's body with the methods of aiohttp's StreamReader. Raises ApiError 413 beyond `most` bytes, and 408."""

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
            raise ValueError(f"its boundaries and headers have more than {_LINES:,} lines")
        return await self._counted(self._stream.readline(**limits))

    async def read(self, size: int = -1) -> bytes:
        return await self._counted(self._stream.read(size))

    def unread_data(self, content: bytes) -> None:
        self._size -= len(content)
        self._stream.unread_data(content)

    def at_eof(self) -> bool:
        return self._stream.at_eof()

    async def _counted(self, reading: Awaitable[bytes]) -> bytes:
        """The next bytes. Raises ApiError 408 if the client is slower than _SLOWEST after _PATIENCE."""
        left = self._since + _PATIENCE + self._size / _SLOWEST - time.monotonic()
        try:
            content = await asyncio.wait_for(reading, max(0.0, left))
        except asyncio.TimeoutError:
            raise ApiError(408, "too_slow", "The request's body did not arrive in time. Send it again.") from None
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
    """Fields of an urlencoded form. yarl unquotes 4 MB of escapes in C, where urllib holds the GIL."""
    if content.count(b"&") >= MAX_FIELDS:
        raise ValueError(f"it may have up to {MAX_FIELDS} fields")
    return nested(list(URL.build(query_string=content.decode(), encoded=True).query.items()))


async def _multipart(
    request: web.Request, folder: Path, max_bytes: int, max_texts: int
) -> tuple[Body, list[tuple[str, str]]]:
    """(body with the files, (name, value) of each text field)."""
    body, pairs, parts, texts, files = Body(), [], 0, 0, 0
    reader = MultipartReader(request.headers, _Counted(request, max_bytes + max_texts + _OVERHEAD))
    while (part := await reader.next()) is not None:
        parts += 1
        if not isinstance(part, BodyPartReader) or not part.name or len(part.name) > MAX_NAME or parts > MAX_FIELDS:
            raise ValueError(f"it may have up to {MAX_FIELDS} parts, each with a name of up to {MAX_NAME} letters")
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
    """Write a file part to disk and return its size. An empty file counts as not sent."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    path, size = folder / uuid.uuid4().hex, 0
    with path.open("wb") as file:
        while chunk := await part.read_chunk(1 << 18):
            size += len(chunk)
            if size > most:
                raise ApiError(413, "too_large", "The files are larger than this server's max_upload_mb.", part.name)
            await asyncio.to_thread(file.write, chunk)
    if size:
        body.files.append((part.name, path))
    else:
        await asyncio.to_thread(path.unlink)
    return size


def nested(pairs: list[tuple[str, str]]) -> Fields:
    """Nested fields from the SDKs' bracketed names: a[b]=1, a[b][]=1, loras[][name]=x. Raises ValueError.

    Lines of a text end with \\n, as in JSON: browsers end those of a form with \\r\\n.
    """
    fields: Fields = {}
    for name, value in pairs:
        if len(name) > MAX_NAME:
            raise ValueError(f"the field '{name[:80]}...' has a name longer than {MAX_NAME} letters")
        match = re.fullmatch(r"([^\[\]]+)((?:\[[^\[\]]*\])*)", name)
        steps = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])] if match else [name]
        if len(steps) > MAX_DEPTH:
            raise ValueError(f"the field '{name[:80]}' is nested too deeply")
        _put(fields, steps, value.replace("\r\n", "\n"))
    return fields


def _put(into: Any, steps: list[str], value: str) -> None:
    """Store `value` under the path `steps`. An empty step is the next entry of a list."""
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
            raise ValueError(f"the field '{step}' is sent in two forms, such as {step}=1 and {step}[x]=1")
        _put(into[step], rest, value)
