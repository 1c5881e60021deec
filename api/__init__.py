"""The OpenAI-compatible Videos API on ComfyUI's own server, and the studio page that is a client of it.

The API runs saved graphs through ComfyUI's queue and loads no weights. This file only registers the routes; the first
request imports the rest.
"""

from __future__ import annotations

import importlib
import logging
import os

ROUTES = (
    ("POST", "/v1/videos", "create"),
    ("GET", "/v1/videos", "list_videos"),
    ("POST", "/v1/videos/sync", "create_and_wait"),
    ("POST", "/v1/videos/edits", "edit"),
    ("POST", "/v1/videos/extensions", "extend"),
    ("POST", "/v1/videos/imports", "take_in"),
    ("POST", "/v1/videos/characters", "create_character"),
    ("GET", "/v1/videos/characters/{id}", "get_character"),
    ("DELETE", "/v1/videos/characters/{id}", "delete_character"),
    ("GET", "/v1/videos/{id}", "retrieve"),
    ("DELETE", "/v1/videos/{id}", "delete"),
    ("GET", "/v1/videos/{id}/content", "content"),
    ("POST", "/v1/videos/{id}/remix", "remix"),
    ("POST", "/v1/videos/{id}/cancel", "cancel"),
    ("GET", "/v1/models", "list_models"),
    ("POST", "/v1/models/{id:(?s:.+)}/download", "download_model"),
    ("DELETE", "/v1/models/{id:(?s:.+)}/download", "cancel_download"),
    ("GET", "/v1/models/{id:(?s:.+)}", "get_model"),
    ("DELETE", "/v1/models/{id:(?s:.+)}", "remove_model"),
    ("POST", "/v1/prompts/expand", "expand_prompt"),
    ("GET", "/v1/prompts/expanders", "list_expanders"),
    ("GET", "/v1/desk", "read_desk"),
    ("PATCH", "/v1/desk", "change_desk"),
    ("GET", "/v1/farm", "get_farm"),
    ("POST", "/v1/farm/workers/{id}/drain", "drain_worker"),
    ("POST", "/v1/farm/workers/{id}/resume", "resume_worker"),
    ("DELETE", "/v1/farm/workers/{id}", "remove_worker"),
    ("GET", "/v1/openapi.json", "describe"),
    ("*", "/v1/videos", "nothing_here"),
    ("*", "/v1/videos/{rest:(?s:.*)}", "nothing_here"),
    ("*", "/v1/prompts/{rest:(?s:.*)}", "nothing_here"),
    ("*", "/v1/farm/{rest:(?s:.*)}", "nothing_here"),
)
"""Method, path and the name of the call in `app.CALLS`. The last four answer unknown addresses with OpenAI's error
form; `(?s:.*)` matches addresses with a line break too."""

PAGES = (
    ("GET", "/atelier/shot", ".calls.shot_length", "answer"),
    ("GET", "/atelier/convert", ".calls.old_graph", "classes"),
    ("POST", "/atelier/convert", ".calls.old_graph", "convert"),
    ("GET", "/atelier/running/{id}/so_far", ".calls.so_far", "of_worker"),
    ("GET", "/atelier", ".calls.studio", "show"),
    ("GET", "/atelier/{file:.*}", ".calls.studio", "show"),
)
"""Method, path, module and function of what is not a call of the API: the studio's page, the node editor's queries
for the length of a shot and for the conversion of old graphs, and what a farm's head asks a worker's ComfyUI."""


def register() -> None:
    """Register the routes on ComfyUI's server, if this process has one. Called once, when the pack is loaded."""
    from server import PromptServer

    host = getattr(PromptServer, "instance", None)
    if host is None:
        return
    for method, path, name in ROUTES:
        host.routes.route(method, path)(_answer(name))
    for method, path, module, name in PAGES:
        host.routes.route(method, path)(_page(module, name))
    if os.environ.get("ATELIER_FARM"):  # a head that restarts takes up its jobs before somebody asks for them
        host.app.on_startup.append(_open)
    _warn_if_open()


async def _open(_) -> None:
    """Open the store and the farm. What fails is in the log, and each request tries again."""
    try:
        await importlib.import_module(".state", __package__).opened()
    except Exception as error:
        logging.error("Atelier: %s", error)


def _answer(name: str):
    async def handler(request):
        return await importlib.import_module(".app", __package__).answer(name, request)

    handler.__name__ = name
    return handler


def _page(module: str, name: str):
    async def handler(request):
        return await getattr(importlib.import_module(module, __package__), name)(request)

    return handler


def _warn_if_open() -> None:
    from comfy.cli_args import args

    if args.listen not in ("127.0.0.1", "localhost", "::1"):
        logging.warning(
            "Atelier: ComfyUI listens on %s. An api_key in user/atelier/api.json protects /v1, but not /prompt and the "
            "rest of ComfyUI: put a proxy with a login in front.",
            args.listen,
        )
