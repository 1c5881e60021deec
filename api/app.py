"""The handler of every request: check access, open the shared state, run the call, put errors in OpenAI's form."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.client_exceptions import ClientConnectionError

from ..media import MediaError
from . import access, settings
from .calls import characters, desk, farm, imports, models, openapi, prompts, videos
from .errors import ApiError, bad, disk_full, summary
from .state import Api, opened
from .store import StoreTooNew


async def answer(name: str, request: web.Request) -> web.StreamResponse:
    """Run the call `name`. Every error is answered in OpenAI's form, except a lost connection and aiohttp's own."""
    try:
        access.check(request)
        api = await opened()
        await api.runner.clean()
        return await CALLS[name](api, request)
    except ApiError as error:
        return error.response()
    except MediaError as error:
        return bad(summary(error), code="invalid_video").response()
    except (settings.SettingsError, StoreTooNew) as error:
        logging.error("Atelier: %s", error)
        return ApiError(500, "misconfigured", summary(error)).response()
    except (web.HTTPException, ConnectionError, ClientConnectionError, asyncio.CancelledError):
        raise
    except Exception as error:
        logging.exception("Atelier: %s failed", name)
        internal = ApiError(500, "internal_error", "The server failed to handle the request. See ComfyUI's log.")
        return (disk_full(error) or internal).response()


async def nothing_here(api: Api, request: web.Request) -> web.Response:
    raise ApiError(404, "unknown_url", f"{request.method} {request.path[:200]} does not exist. See /v1/openapi.json.")


CALLS: dict[str, Callable[[Api, web.Request], Awaitable[web.StreamResponse]]] = {
    call.__name__: call
    for call in (
        *(videos.create, videos.create_and_wait, videos.edit, videos.extend, videos.remix),
        *(videos.retrieve, videos.list_videos, videos.delete, videos.cancel, videos.content),
        *(characters.create_character, characters.get_character, characters.delete_character),
        *(models.list_models, models.get_model, models.download_model),
        *(models.cancel_download, models.remove_model),
        *(prompts.expand_prompt, prompts.list_expanders),
        *(desk.read_desk, desk.change_desk, imports.take_in),
        *(farm.get_farm, farm.drain_worker, farm.resume_worker, farm.remove_worker),
        *(openapi.describe, nothing_here),
    )
}
"""The functions that `ROUTES` names."""
