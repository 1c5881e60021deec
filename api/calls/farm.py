"""/v1/farm: the workers of the farm, if this ComfyUI is the head of one; draining and removing them."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..errors import ApiError, missing
from ..graphs.queue import HasWorkers
from ..state import Api


async def get_farm(api: Api, request: web.Request) -> web.Response:
    return web.json_response(_shown(api))


async def drain_worker(api: Api, request: web.Request) -> web.Response:
    _farm(api).drain(_worker(api, request))
    return web.json_response(_shown(api))


async def resume_worker(api: Api, request: web.Request) -> web.Response:
    _farm(api).resume(_worker(api, request))
    return web.json_response(_shown(api))


async def remove_worker(api: Api, request: web.Request) -> web.Response:
    await _farm(api).remove(_worker(api, request))
    return web.json_response(_shown(api))


def _farm(api: Api) -> HasWorkers:
    """The farm's queue. Raises ApiError 404 if jobs run on this machine."""
    if not isinstance(api.queue, HasWorkers):
        raise ApiError(404, "no_farm", "This ComfyUI is not the head of a farm: 'run.py serve --farm' starts one.")
    return api.queue


def _worker(api: Api, request: web.Request) -> str:
    name = request.match_info["id"]
    if name not in {worker["id"] for worker in _farm(api).workers()}:
        raise missing("worker", name[:100])
    return name


def _shown(api: Api) -> dict[str, Any]:
    farm = _farm(api)
    waiting = len(farm.snapshot().waiting)
    return {"object": "farm", "address": farm.address, "waiting": waiting, "workers": farm.workers()}
