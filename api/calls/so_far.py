"""The part of a running graph's clip that is there, as an animation."""

from __future__ import annotations

import json

from aiohttp import web

from .. import access
from ..errors import ApiError
from ..graphs.comfy_queue import ComfyQueue
from ..graphs.queue import Queue


async def of_worker(request: web.Request) -> web.Response:
    """The clip of a graph in this ComfyUI's own queue. The head of a farm asks its workers for it."""
    try:
        access.check(request)
        queue, graph = ComfyQueue(), request.match_info["id"]
        queue.steps(graph)  # from now on, its previews are kept
        return await answer(queue, graph, request)
    except ApiError as error:
        return error.response()


async def answer(queue: Queue, graph: str, request: web.Request) -> web.Response:
    """The clip of a graph; 304 if the client has the newest. Raises ApiError 404 if there is none."""
    tags = request.if_none_match or ()
    clip = await queue.so_far(graph, {int(tag.value) for tag in tags if tag.value.isdecimal()})
    if clip is None:
        raise no_preview()
    headers = {"Cache-Control": "no-cache", "ETag": f'"{clip.version}"'}
    headers |= {"X-Seconds": f"{clip.seconds:.3f}", "X-Decoded": json.dumps(clip.decoded)}
    if clip.content is None:
        return web.Response(status=304, headers=headers)
    return web.Response(body=clip.content, content_type="image/webp", headers=headers)


def no_preview() -> ApiError:
    message = "There is no preview now. Start ComfyUI with --preview-method auto to get previews."
    return ApiError(404, "no_preview", message, "variant")
