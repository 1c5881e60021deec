"""A file of the archive as an answer, whole or in part, like aiohttp's FileResponse for a file of this disk."""

from __future__ import annotations

import asyncio

from aiohttp import web

from ..archive import Archive
from ..errors import ApiError, missing

PIECE = 4 << 20
"""Bytes of one read."""


async def answer(
    request: web.Request, archive: Archive, identity: str, name: str, headers: dict[str, str]
) -> web.StreamResponse:
    """Send a job's file. Raises ApiError 404 if it is not there, 503 if the archive cannot be reached.

    If the archive is lost in the middle, the connection is closed, so that the client sees a short answer.
    """
    stored = await asyncio.to_thread(archive.about, identity, name)
    if stored is None:
        raise missing("file of video", identity)
    tag = f'"{stored.tag}"'
    headers = headers | {"ETag": tag, "Accept-Ranges": "bytes"}
    if any(wanted.value in (stored.tag, "*") for wanted in request.if_none_match or ()):
        return web.Response(status=304, headers={"ETag": tag})
    start, stop, part = 0, stored.size, False
    if "Range" in request.headers and request.headers.get("If-Range", tag) == tag:
        try:
            wanted, part = request.http_range, True
            start, stop, _ = wanted.indices(stored.size)
        except ValueError:
            start = stored.size
        if start >= stop:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{stored.size}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{stored.size}"
    response = web.StreamResponse(status=206 if part else 200, headers=headers)
    response.content_length = stop - start
    piece = await asyncio.to_thread(archive.read, identity, name, start, min(start + PIECE, stop))  # before the headers
    await response.prepare(request)
    try:
        while True:
            await response.write(piece)
            start += len(piece)
            if start >= stop or not piece:
                break
            piece = await asyncio.to_thread(archive.read, identity, name, start, min(start + PIECE, stop))
    except ApiError as error:
        raise ConnectionResetError(error.message) from error
    return response
