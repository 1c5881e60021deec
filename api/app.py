"""One request from door to answer: access, the shared state, the call, and errors in OpenAI's form."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.client_exceptions import ClientConnectionError

from ..media import MediaError
from . import access, errors, settings
from .calls import characters, models, openapi, prompts, videos
from .errors import ApiError, bad
from .state import Api, opened
from .store import StoreTooNew


async def answer(name: str, request: web.Request) -> web.StreamResponse:
    """Run the call `name`; whatever goes wrong has OpenAI's form of error."""
    try:
        access.check(request)
        api = await opened()
        await api.runner.clean()
        return await CALLS[name](api, request)
    except ApiError as error:
        return error.response()
    except MediaError as error:
        return bad(str(error), code="invalid_video").response()
    except (settings.SettingsError, StoreTooNew) as error:
        logging.error("Atelier: %s", error)
        return ApiError(500, "misconfigured", str(error)).response()
    except (web.HTTPException, ConnectionError, ClientConnectionError, asyncio.CancelledError):
        raise
    except Exception as error:
        full = errors.disk_full(error) if isinstance(error, OSError) else None
        logging.exception("Atelier: %s failed", name)
        return (full or ApiError(500, "internal_error", "An error of this server; ComfyUI's log says more.")).response()


async def nothing_here(api: Api, request: web.Request) -> web.Response:
    raise ApiError(404, "unknown_url", f"There is no {request.method} {request.path[:200]} here; see /v1/openapi.json.")


CALLS: dict[str, Callable[[Api, web.Request], Awaitable[web.StreamResponse]]] = {
    call.__name__: call
    for call in (
        *(videos.create, videos.create_and_wait, videos.edit, videos.extend, videos.remix),
        *(videos.retrieve, videos.list_videos, videos.delete, videos.cancel, videos.content),
        *(characters.create_character, characters.get_character, characters.delete_character),
        *(models.list_models, models.get_model),
        *(prompts.expand_prompt, prompts.list_expanders),
        *(openapi.describe, nothing_here),
    )
}
"""The functions that `ROUTES` names."""
