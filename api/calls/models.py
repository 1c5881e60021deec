"""/v1/models: the models that a request can name, those that can be fetched, and their downloads."""

from __future__ import annotations

import asyncio

from aiohttp import web

from .. import catalogue, offers
from ..graphs.queue import HasWorkers
from ..state import Api


async def list_models(api: Api, request: web.Request) -> web.Response:
    entries = await asyncio.gather(*map(catalogue.entry, await catalogue.names()))
    data = [*entries, *await asyncio.to_thread(offers.listed)]
    return web.json_response({"object": "list", "data": data, "farm": isinstance(api.queue, HasWorkers)})


async def get_model(api: Api, request: web.Request) -> web.Response:
    return web.json_response(await catalogue.entry(request.match_info["id"]))


async def download_model(api: Api, request: web.Request) -> web.Response:
    return web.json_response(await offers.start(request.match_info["id"]))


async def cancel_download(api: Api, request: web.Request) -> web.Response:
    return web.json_response(await offers.cancel(request.match_info["id"]))


async def remove_model(api: Api, request: web.Request) -> web.Response:
    return web.json_response(await offers.remove(request.match_info["id"]))
