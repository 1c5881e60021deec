"""Characters: POST, GET and DELETE /v1/videos/characters. A character's picture is the first frame of a video."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from aiohttp import web

from ...media import probe
from .. import files, settings
from ..errors import bad, missing
from ..jobs import claims, start
from ..request import body, fields, references
from ..state import Api
from ..store import Row


async def create_character(api: Api, request: web.Request) -> web.Response:
    identity = start.new_id(files.CHARACTER)
    folder = files.character_folder(identity)
    async with claims.received(request, identity, api.store, api.runner) as sent:
        named = await body.off_the_loop(fields.parsed, fields.Named, sent.fields)
        clip = await references.resolve("video", named.video, sent, folder, api.store)
        if clip is None:
            raise bad(
                "'video' is missing. Send a clip or a picture of the character.", "video", "missing_required_parameter"
            )
        picture = await asyncio.to_thread(_portrait, clip)
        row = {"id": identity, "name": named.name, "created_at": time.time(), "picture": picture.name}
        size = await asyncio.to_thread(files.size_of, folder)
        await api.store.add_character({**row, "bytes": size}, settings.current())
    return _shown_character(row)


async def get_character(api: Api, request: web.Request) -> web.Response:
    return _shown_character(await _character(api, request))


async def delete_character(api: Api, request: web.Request) -> web.Response:
    row = await _character(api, request)
    await api.store.forget_character(row["id"], api.runner.process)
    if await asyncio.to_thread(files.remove, files.character_folder(row["id"])):
        await api.runner.release(row["id"])
    return web.json_response({"id": row["id"], "object": "character.deleted", "deleted": True})


async def _character(api: Api, request: web.Request) -> Row:
    row = await api.store.character(request.match_info["id"])
    if row is None:
        raise missing("character", request.match_info["id"][:100])
    return row


def _shown_character(row: Row) -> web.Response:
    character = {"id": row["id"], "object": "character", "name": row["name"], "created_at": int(row["created_at"])}
    return web.json_response({**character, "used_as": "first_frame"})


def _portrait(reference: references.ReferenceFile) -> Path:
    """The picture of a character: the picture that was sent, or the first frame of the clip."""
    if reference.kind == files.IMAGE:
        return reference.path
    picture = reference.path.with_suffix(".png")
    files.save_picture(probe.pictures(reference.path, [0])[0], picture)
    return picture
