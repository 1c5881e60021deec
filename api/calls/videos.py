"""The calls of the API, one function each: read the request, do it, answer in OpenAI's form."""

from __future__ import annotations

import asyncio
import io
import logging
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.client_exceptions import ClientConnectionError

from .. import access, catalogue, files, settings
from ..errors import ApiError, bad, missing
from ..graphs import comfy_queue
from ..jobs import start
from ..jobs.runner import Runner, prompt_id
from ..request import body, fields, references
from ..store import Row, Store, StoreTooNew
from . import openapi, prompts

POLL_AFTER_MS = "500"
"""How long the SDKs' poll helpers are asked to wait between two looks."""


@dataclass(frozen=True)
class Api:
    """What the calls share."""

    store: Store
    runner: Runner


_api: Api | None = None
_opening = asyncio.Lock()


async def _open() -> Api:
    """The store and the runner, opened with the first request."""
    global _api
    async with _opening:
        if _api is None:
            store = Store(settings.folder() / "videos.db")
            runner = Runner(store)
            await runner.recover()
            _api = Api(store, runner)
    return _api


async def answer(name: str, request: web.Request) -> web.StreamResponse:
    """Run the call `name`; whatever goes wrong has OpenAI's form of error."""
    try:
        access.check(request)
        api = await _open()
        await api.runner.clean()
        return await CALLS[name](api, request)
    except ApiError as error:
        return error.response()
    except (settings.SettingsError, StoreTooNew) as error:
        logging.error("Atelier: %s", error)
        return ApiError(500, "misconfigured", str(error)).response()
    except (web.HTTPException, ConnectionError, ClientConnectionError, asyncio.CancelledError):
        raise
    except Exception:
        logging.exception("Atelier: %s failed", name)
        return ApiError(500, "internal_error", "An error of this server; ComfyUI's log says more.").response()


async def create(api: Api, request: web.Request) -> web.Response:
    return await _make(api, request, "generate")


async def edit(api: Api, request: web.Request) -> web.Response:
    return await _make(api, request, "edit")


async def extend(api: Api, request: web.Request) -> web.Response:
    return await _make(api, request, "extend")


async def remix(api: Api, request: web.Request) -> web.Response:
    source = _job(api, request)
    return await _make(api, request, "edit", video={"id": source["id"]}, model=source["model"])


async def _make(api: Api, request: web.Request, operation: str, **fixed: Any) -> web.Response:
    first = start.new_id("video")
    async with _received(request, files.job_folder(first)) as sent:
        shot = fields.shot(sent.fields | fixed)
        ids = [first, *(start.new_id("video") for _ in range(1, shot.n or 1))]
        try:
            rows = await start.start(operation, shot, sent, ids, api.store, api.runner)
        except BaseException:
            for job_id in ids:
                files.remove(files.job_folder(job_id))
            raise
    return _shown(api, rows[0])


async def retrieve(api: Api, request: web.Request) -> web.Response:
    return _shown(api, _job(api, request))


async def list_videos(api: Api, request: web.Request) -> web.Response:
    page = fields.parsed(fields.Page, dict(request.query))
    found = api.store.page(page.after, page.limit, page.order == "desc")
    if found is None:
        raise bad(f"There is no video '{page.after[:100]}' to go on from.", "after")
    rows, more = found
    live = api.runner.live(rows)
    data = [fields.video(row, state) for row, state in zip(rows, live, strict=True)]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return web.json_response({"object": "list", "data": data, **ends, "has_more": more})


async def delete(api: Api, request: web.Request) -> web.Response:
    row = _job(api, request)
    await api.runner.delete(row)
    return web.json_response({"id": row["id"], "object": "video.deleted", "deleted": True})


async def cancel(api: Api, request: web.Request) -> web.Response:
    row = _job(api, request)
    await api.runner.cancel(row)
    return _shown(api, api.store.job(row["id"]) or row)


async def content(api: Api, request: web.Request) -> web.StreamResponse:
    row, variant = _job(api, request), request.query.get("variant", "video")
    if variant == "preview":
        return await _preview(row)
    if variant not in VARIANTS:
        raise bad(f"'variant' must be one of {', '.join(VARIANTS)} and preview.", "variant")
    if row["status"] == "failed":
        raise ApiError(422, "video_failed", f"There is no video: {row['error']['message']}", "id")
    if row["status"] != "completed":
        raise ApiError(404, "video_not_ready", f"The video is {row['status']}, not completed.", "id")
    video = files.job_folder(row["id"]) / row["file"]
    if not video.is_file():
        raise missing("file of video", row["id"])
    path = await asyncio.to_thread(VARIANTS[variant], video)
    kind = {".mp4": "video/mp4", ".webm": "video/webm", ".webp": "image/webp", ".jpg": "image/jpeg"}
    headers = {"Content-Type": kind.get(path.suffix, "application/octet-stream"), "X-Content-Type-Options": "nosniff"}
    return web.FileResponse(path, headers=headers)


async def _preview(row: Row) -> web.Response:
    picture = comfy_queue.preview(prompt_id(row["id"])) if row["status"] == "in_progress" else None
    if picture is None:
        raise ApiError(404, "no_preview", "There is no preview now; --preview-method switches them on.", "variant")
    encoded = io.BytesIO()
    await asyncio.to_thread(picture.convert("RGB").save, encoded, "JPEG")
    headers = {"Cache-Control": "no-store"}
    return web.Response(body=encoded.getvalue(), content_type="image/jpeg", headers=headers)


async def create_character(api: Api, request: web.Request) -> web.Response:
    identity = start.new_id("char")
    folder = files.character_folder(identity)
    async with _received(request, folder) as sent:
        named = fields.parsed(fields.Named, sent.fields)
        given = await references.resolve("video", named.video, sent, folder, api.store)
        if given is None:
            raise bad("'video' is missing: the character's clip or picture.", "video", "missing_required_parameter")
        picture = await asyncio.to_thread(_portrait, given)
        row = {"id": identity, "name": named.name, "created_at": time.time(), "picture": picture.name}
        api.store.add_character({**row, "bytes": files.size_of(folder)})
    return _shown_character(row)


async def get_character(api: Api, request: web.Request) -> web.Response:
    return _shown_character(_character(api, request))


async def delete_character(api: Api, request: web.Request) -> web.Response:
    row = _character(api, request)
    api.store.forget_character(row["id"])
    await asyncio.to_thread(files.remove, files.character_folder(row["id"]))
    return web.json_response({"id": row["id"], "object": "character.deleted", "deleted": True})


def _character(api: Api, request: web.Request) -> Row:
    row = api.store.character(request.match_info["id"])
    if row is None:
        raise missing("character", request.match_info["id"][:100])
    return row


def _shown_character(row: Row) -> web.Response:
    shown = {"id": row["id"], "object": "character", "name": row["name"], "created_at": int(row["created_at"])}
    return web.json_response({**shown, "used_as": "first_frame"})


def _portrait(given: references.Given) -> Path:
    """The picture of a character: the one that was sent, or the first of its clip."""
    if given.kind == files.IMAGE:
        return given.path
    picture = given.path.with_suffix(".png")
    files.frames(given.path, [0])[0].save(picture)
    return picture


async def list_models(api: Api, request: web.Request) -> web.Response:
    entries = [await catalogue.entry(name) for name in await catalogue.names()]
    return web.json_response({"object": "list", "data": entries})


async def get_model(api: Api, request: web.Request) -> web.Response:
    return web.json_response(await catalogue.entry(request.match_info["id"]))


async def describe(api: Api, request: web.Request) -> web.Response:
    return web.json_response(openapi.description())


async def nothing_here(api: Api, request: web.Request) -> web.Response:
    raise ApiError(404, "unknown_url", f"There is no {request.method} {request.path[:200]} here; see /v1/openapi.json.")


CALLS: dict[str, Callable[[Api, web.Request], Awaitable[web.StreamResponse]]] = (
    {
        call.__name__: call
        for call in (create, edit, extend, remix, retrieve, list_videos, delete, cancel, content, create_character)
    }
    | {
        call.__name__: call
        for call in (get_character, delete_character, list_models, get_model, describe, nothing_here)
    }
    | {call.__name__: call for call in (prompts.expand_prompt, prompts.list_expanders)}
)
"""The functions that `ROUTES` names."""

VARIANTS: dict[str, Callable[[Path], Path]] = {
    "video": lambda video: video,
    "thumbnail": files.thumbnail,
    "spritesheet": files.spritesheet,
}


@asynccontextmanager
async def _received(request: web.Request, folder: Path):
    """The body, its files in `folder`, which goes again if the call fails; files that nobody took go in any case."""
    try:
        sent = await body.read(request, folder, int(settings.current().max_upload_mb * 1e6))
        yield sent
        for unused in sent.files.values():
            unused.unlink(missing_ok=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _job(api: Api, request: web.Request) -> Row:
    job_id = request.match_info["id"]
    row = api.store.job(job_id)
    if row is None:
        raise missing("video", job_id[:100])
    return row


def _shown(api: Api, row: Row) -> web.Response:
    (live,) = api.runner.live([row])
    return web.json_response(fields.video(row, live), headers={"openai-poll-after-ms": POLL_AFTER_MS})
