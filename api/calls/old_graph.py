"""/atelier/convert: opens a graph that was made for a dormant pack. The node editor (web/old_graphs.js) asks."""

from __future__ import annotations

import dataclasses

from aiohttp import web

from ... import old_graphs
from ...models.library.folders import comfyui_lists, listed, model_choices
from .. import access
from ..errors import ApiError, bad, summary
from ..request.body import content_of, off_the_loop

MOST = 64 << 20
"""Bytes of a file that is sent to be converted: a clip with its graph inside."""


async def classes(request: web.Request) -> web.Response:
    """Answer the node classes that can be converted -> their pack. The page looks for them before it sends a file."""
    return web.json_response({"classes": old_graphs.PACK_OF})


async def convert(request: web.Request) -> web.Response:
    """Convert the file in the body. Answers the graph and what a person must know; 400 if there is no graph in it.

    Query: loaders=1 swaps core's loaders, guides=1 core's nodes that place pictures (see `old_graphs.convert`).
    """
    try:
        access.check(request)
        content = await content_of(request, MOST)
        asked = {name: request.query.get(name) == "1" for name in ("loaders", "guides")}
        conversion = await off_the_loop(converted, content, **asked)
        return web.json_response({**dataclasses.asdict(conversion), "changed": conversion.changed})
    except old_graphs.UnreadableGraph as error:
        return bad(summary(error), code="invalid_graph").response()
    except RecursionError:
        return bad("The graph is nested too deeply to be answered.", code="invalid_graph").response()
    except ApiError as error:
        return error.response()


def converted(content: bytes, **asked: bool) -> old_graphs.Conversion:
    """Raises UnreadableGraph."""
    return old_graphs.convert(old_graphs.graph_in(content), installed(), **asked)


def installed() -> old_graphs.Installed:
    """The choices of Load Video Model and Load Video LoRA."""
    return old_graphs.Installed(
        models=tuple(model_choices()),
        text_encoders=tuple(listed("text_encoders")),
        vaes=tuple(comfyui_lists("vae")),
        loras=tuple(comfyui_lists("loras")),
    )
