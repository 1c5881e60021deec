"""The desk: GET and PATCH /v1/desk. What the studio keeps beside the videos: their names and stars, projects, boards.

A desk is items, each a small JSON object under a key such as "video/ID" or "board/ID". Every change has a number, so a
page can ask for what changed since, and a change of an item that another page has changed meanwhile is refused.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ..errors import ApiError
from ..request import body, fields
from ..state import Api

MAX_BODY, MAX_ITEM = 1 << 20, 1 << 18
"""Bytes of a request, and of one item as JSON."""
MAX_CHANGES = 500
"""Items of one request."""

Key = Annotated[str, StringConstraints(pattern=r"^[a-z]{1,20}/[A-Za-z0-9_-]{1,80}$")]


class Change(BaseModel):
    """The request of PATCH /v1/desk."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    items: dict[Key, dict[str, Any] | None] = Field(
        min_length=1, max_length=MAX_CHANGES, description="items to write by their keys; null removes one"
    )
    base: int | None = Field(
        None,
        ge=0,
        description="the revision that the change was made on: it is refused if one of the items has changed since",
    )


class Since(BaseModel):
    """The query of GET /v1/desk."""

    after: int = Field(
        0, ge=0, le=2**53, description="only items that have changed since this revision; removed ones are null"
    )


async def read_desk(api: Api, request: web.Request) -> web.Response:
    since = fields.parsed(Since, dict(request.query))
    return _shown(*await api.store.desk(since.after))


async def change_desk(api: Api, request: web.Request) -> web.Response:
    with tempfile.TemporaryDirectory() as folder:  # for uploads, which this call does not use
        sent = await body.read(request, Path(folder), 0, MAX_BODY)
    change = await body.off_the_loop(fields.parsed, Change, sent.fields)
    for key, value in change.items.items():
        if value is not None and len(json.dumps(value)) > MAX_ITEM:
            raise ApiError(413, "too_large", f"'{key}' is longer than {MAX_ITEM:,} bytes.", "items")
    return _shown(*await api.store.change_desk(change.items, change.base))


def _shown(revision: int, items: dict[str, Any]) -> web.Response:
    return web.json_response({"object": "desk", "revision": revision, "items": items})
