"""GET /v1/models: the models that a request can name."""

from __future__ import annotations

import asyncio

from aiohttp import web

from .. import catalogue
from ..state import Api


async def list_models(api: Api, request: web.Request) -> web.Response:
    entries = await asyncio.gather(*map(catalogue.entry, await catalogue.names()))
    return web.json_response({"object": "list", "data": entries})


async def get_model(api: Api, request: web.Request) -> web.Response:
    return web.json_response(await catalogue.entry(request.match_info["id"]))
