"""Videos: /v1/videos, and the calls on one video. Each call is one function."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from .. import archive, files
from ..errors import ApiError, bad, missing
from ..jobs import board, claims, start
from ..jobs.runner import LOOK_EVERY, prompt_id
from ..request import body, fields
from ..state import Api
from ..store import ACTIVE, Row
from . import archived, so_far

POLL_AFTER_MS = "500"
"""Milliseconds that the SDKs' poll helpers wait between two requests."""
LARGE = 1 << 16
"""Bytes from which an answer is compressed beside the event loop."""


async def create(api: Api, request: web.Request) -> web.Response:
    return await _make(api, request, "generate")


async def create_and_wait(api: Api, request: web.Request) -> web.StreamResponse:
    """vLLM-Omni's `/v1/videos/sync`: answer with the finished file. The job is cancelled if the client disconnects."""
    (row,) = await _started(api, request, "generate", most=1)
    while row["status"] in ACTIVE:
        if body.disconnected(request):
            await api.runner.cancel(row)
            raise ConnectionResetError("the client has disconnected")
        await asyncio.sleep(LOOK_EVERY)
        row = await _existing(api, row["id"])
    about = {"X-Video-Id": row["id"], "X-Warnings": json.dumps(row["warnings"])}
    if row["completed_at"]:
        began = row["started_at"] or row["created_at"]  # a job may end before it is first seen at work
        about["X-Inference-Time-S"] = f"{row['completed_at'] - began:.3f}"
    return await _file(request, row, "video", about)


async def edit(api: Api, request: web.Request) -> web.Response:
    return await _make(api, request, "edit")


async def extend(api: Api, request: web.Request) -> web.Response:
    return await _make(api, request, "extend")


async def remix(api: Api, request: web.Request) -> web.Response:
    source = await _job(api, request)
    return await _make(api, request, "edit", video={"id": source["id"]}, model=source["model"])


async def _make(api: Api, request: web.Request, operation: str, **fixed: Any) -> web.Response:
    rows = await _started(api, request, operation, **fixed)
    return _shown(api, rows[0])


async def _started(api: Api, request: web.Request, operation: str, most: int | None = None, **fixed: Any) -> list[Row]:
    """Read a request and queue its jobs. most: how many jobs it may have. Raises ApiError."""
    first = start.new_id(files.JOB)
    async with claims.received(request, first, api.store, api.runner) as sent:
        shot = await body.off_the_loop(fields.shot, sent.fields | fixed)
        if most is not None and (shot.n or 1) > most:
            raise bad(f"'n' is {shot.n}, but /v1/videos/sync makes one video. Use /v1/videos.", "n")
        ids = [first, *(start.new_id(files.JOB) for _ in range(1, shot.n or 1))]
        return await start.queue_jobs(operation, shot, sent, ids, api.store, api.runner)


async def retrieve(api: Api, request: web.Request) -> web.Response:
    return _shown(api, await _job(api, request))


async def list_videos(api: Api, request: web.Request) -> web.Response:
    page = fields.parsed(fields.Page, dict(request.query))
    listed = await api.store.page(page.after, page.limit, page.order == "desc")
    if listed is None:
        raise bad(f"'after' is not the id of a video: '{page.after[:100]}'.", "after")
    rows, more = listed
    live = api.runner.live(rows)
    data = [fields.video(row, state) for row, state in zip(rows, live, strict=True)]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    text = json.dumps({"object": "list", "data": data, **ends, "has_more": more})
    answer = web.Response(text=text, content_type="application/json", zlib_executor_size=LARGE)
    answer.enable_compression()  # records resemble each other: a page of 100 shrinks from 100 KB to less than 10
    return answer


async def delete(api: Api, request: web.Request) -> web.Response:
    row = await _job(api, request)
    await api.runner.delete(row)
    return web.json_response({"id": row["id"], "object": "video.deleted", "deleted": True})


async def cancel(api: Api, request: web.Request) -> web.Response:
    row = await _job(api, request)
    await api.runner.cancel(row)
    return _shown(api, await api.store.job(row["id"]) or row)


async def content(api: Api, request: web.Request) -> web.StreamResponse:
    row, variant = await _job(api, request), request.query.get("variant", "video")
    if variant in WHILE_RUNNING:
        return await WHILE_RUNNING[variant](api, request, row)
    if variant == IMAGE:
        return await _storyboard_image(request, row)
    if variant not in VARIANTS:
        raise bad(f"'variant' must be one of {', '.join([*VARIANTS, *WHILE_RUNNING, IMAGE])}.", "variant")
    return await _file(request, row, variant)


async def _file(
    request: web.Request, row: Row, variant: str, headers: dict[str, str] | None = None
) -> web.StreamResponse:
    """A video's file, or its thumbnail or sprite sheet. Raises ApiError if the video is not completed."""
    if row["status"] == "failed":
        raise ApiError(422, "video_failed", f"The video failed: {row['error']['message']}", "id")
    if row["status"] != "completed":
        raise ApiError(404, "video_not_ready", f"The video is {row['status']}, not completed.", "id")
    made = partial(VARIANTS[variant], files.job_folder(row["id"]) / row["file"])
    return await _sent(request, row["id"], row["file"], FILES.get(variant, row["file"]), made, headers)


async def _storyboard_image(request: web.Request, row: Row) -> web.StreamResponse:
    """A picture or clip that was sent for the storyboard's cards. Raises ApiError 404."""
    images, number = row["settings"].get(board.NAME, ()), fields.parsed(fields.Numbered, dict(request.query)).number
    name = images[number - 1].get("file") if number <= len(images) else None
    if name is None:
        raise ApiError(404, "not_found", f"No file was sent for image {number} of the storyboard.", "number")
    return await _sent(request, row["id"], name, name, lambda: files.job_folder(row["id"]) / name)


async def _sent(
    request: web.Request,
    identity: str,
    kept: str,
    name: str,
    made: Callable[[], Path],
    headers: dict[str, str] | None = None,
) -> web.StreamResponse:
    """The file `name` of a job: as `made` has it from this disk if the file `kept` is here, else from the archive."""
    about = {"Content-Type": KINDS.get(Path(name).suffix, "application/octet-stream")}
    about |= {"X-Content-Type-Options": "nosniff"} | (headers or {})
    here, place = (files.job_folder(identity) / kept).is_file(), archive.current()
    if place is not None and not here:
        return await archived.answer(request, place, identity, name, about)
    if not here:
        raise missing("file of video", identity)
    return web.FileResponse(await asyncio.to_thread(made), headers=about)


async def _preview(api: Api, request: web.Request, row: Row) -> web.Response:
    """The newest picture of a running job."""
    picture = api.queue.preview(prompt_id(row["id"])) if row["status"] == "in_progress" else None
    if picture is None:
        raise so_far.no_preview()
    encoded = io.BytesIO()
    await asyncio.to_thread(picture.convert("RGB").save, encoded, "JPEG")
    headers = {"Cache-Control": "no-store"}
    return web.Response(body=encoded.getvalue(), content_type="image/jpeg", headers=headers)


async def _so_far(api: Api, request: web.Request, row: Row) -> web.Response:
    """The part of a running job's clip that is there, as an animation; 304 if the client has the newest."""
    if row["status"] != "in_progress":
        raise so_far.no_preview()
    return await so_far.answer(api.queue, prompt_id(row["id"]), request)


WHILE_RUNNING: dict[str, Callable[[Api, web.Request, Row], Awaitable[web.Response]]] = {
    "preview": _preview,
    "so_far": _so_far,
}
VARIANTS: dict[str, Callable[[Path], Path]] = {
    "video": lambda video: video,
    "thumbnail": files.thumbnail,
    "spritesheet": files.spritesheet,
}
IMAGE = "storyboard_image"
KINDS = {
    **{".mp4": "video/mp4", ".webm": "video/webm"},
    **{".webp": "image/webp", ".jpg": "image/jpeg", ".png": "image/png"},
}
FILES = {"thumbnail": files.THUMBNAIL, "spritesheet": files.SPRITESHEET}
"""The names of the pictures of a video, which lie beside it."""


async def _job(api: Api, request: web.Request) -> Row:
    return await _existing(api, request.match_info["id"])


async def _existing(api: Api, job_id: str) -> Row:
    row = await api.store.job(job_id)
    if row is None:
        raise missing("video", job_id[:100])
    return row


def _shown(api: Api, row: Row) -> web.Response:
    (live,) = api.runner.live([row])
    return web.json_response(fields.video(row, live), headers={"openai-poll-after-ms": POLL_AFTER_MS})
