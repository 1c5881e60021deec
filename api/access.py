"""Who may come in: the owner's key, and no page of another site that happens to be open in the same browser."""

from __future__ import annotations

import hmac
import urllib.parse

from aiohttp import web
from comfy.cli_args import args

from . import settings
from .errors import ApiError


def check(request: web.Request) -> None:
    """Raises ApiError 401 or 403."""
    _refuse_other_sites(request)
    key = settings.current().api_key
    if key is None:
        return
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), key.encode()):
        raise ApiError(401, "invalid_api_key", "The API key is missing or wrong: this server wants 'Bearer KEY'.")


def _refuse_other_sites(request: web.Request) -> None:
    """A browser says where a request comes from; SDKs say nothing. ComfyUI's own check lets Origin: null through."""
    if args.enable_cors_header:  # the owner has said which sites may
        return
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", "none")
    foreign = origin is not None and urllib.parse.urlsplit(origin).netloc.lower() != request.host.lower()
    if foreign or site not in ("none", "same-origin"):
        raise ApiError(403, "cross_site", "Requests from pages of other sites are refused.")
