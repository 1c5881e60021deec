"""The OpenAI-compatible Videos API on ComfyUI's own server, and the studio page that is a client of it.

It runs saved graphs through ComfyUI's queue and never touches a model. This file only hangs up the routes; everything
else is imported with the first request.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Any

ROUTES = (
    ("POST", "/v1/videos", "create"),
    ("GET", "/v1/videos", "list_videos"),
    ("POST", "/v1/videos/edits", "edit"),
    ("POST", "/v1/videos/extensions", "extend"),
    ("POST", "/v1/videos/characters", "create_character"),
    ("GET", "/v1/videos/characters/{id}", "get_character"),
    ("DELETE", "/v1/videos/characters/{id}", "delete_character"),
    ("GET", "/v1/videos/{id}", "retrieve"),
    ("DELETE", "/v1/videos/{id}", "delete"),
    ("GET", "/v1/videos/{id}/content", "content"),
    ("POST", "/v1/videos/{id}/remix", "remix"),
    ("POST", "/v1/videos/{id}/cancel", "cancel"),
    ("GET", "/v1/models", "list_models"),
    ("GET", "/v1/models/{id:(?s:.+)}", "get_model"),
    ("POST", "/v1/prompts/expand", "expand_prompt"),
    ("GET", "/v1/prompts/expanders", "list_expanders"),
    ("GET", "/v1/openapi.json", "describe"),
    ("*", "/v1/videos", "nothing_here"),
    ("*", "/v1/videos/{rest:(?s:.*)}", "nothing_here"),
    ("*", "/v1/prompts/{rest:(?s:.*)}", "nothing_here"),
)
"""Method, path and the name of the function in app.py that answers. The last three give unknown addresses OpenAI's form
of error, those with a line break too."""

STUDIO = ("/atelier", "/atelier/{file:.*}")
"""Where the page is; calls/studio.py answers."""


about: Callable[[str], dict[str, Any]]
"""A choice of Load Video Model -> what is known of it."""
by_rules: Callable[[str, int, str], dict[str, Any]]
"""Prompt, seed, choice of Load Video Model -> the longer "text", the "expander" as Expand Prompt lists it, a "remark",
and whether rules "alone" can write for this model. At once: no model is loaded."""


def register(tell: Callable[[str], dict[str, Any]], expand: Callable[[str, int, str], dict[str, Any]]) -> None:
    """Hang the routes on ComfyUI's server, if there is one in this process. Called once, when the pack is loaded.

    The pack's door gives what `about` and `by_rules` are, because this room looks into no model.
    """
    global about, by_rules
    about, by_rules = tell, expand
    from server import PromptServer

    host = getattr(PromptServer, "instance", None)
    if host is None:
        return
    for method, path, name in ROUTES:
        host.routes.route(method, path)(_answer(name))
    for path in STUDIO:
        host.routes.get(path)(_show)
    _warn_if_open()


def _answer(name: str):
    async def handler(request):
        return await importlib.import_module(".app", __package__).answer(name, request)

    handler.__name__ = name
    return handler


async def _show(request):
    return await importlib.import_module(".calls.studio", __package__).show(request)


def _warn_if_open() -> None:
    from comfy.cli_args import args

    if args.listen not in ("127.0.0.1", "localhost", "::1"):
        logging.warning(
            "Atelier: ComfyUI listens on %s. An api_key in user/atelier/api.json closes /v1 to strangers, but /prompt "
            "and the rest of ComfyUI stay as open as before: put a proxy with a login in front.",
            args.listen,
        )
