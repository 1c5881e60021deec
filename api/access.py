"""Access control: the owner's key, and protection from pages of other sites in the same browser.

A page of another site can attack in three ways. Each is recognised by a header that the page cannot change:

- It sends a cross-site request. The browser adds `Origin`, `Sec-Fetch-Site`, or both.
- Its own name resolves to this machine (DNS rebinding), so the browser considers it same-origin. `Host` has that name.
- It runs in a sandboxed frame or from a file. The browser sends `Origin: null`.

A browser sends `Sec-Fetch-Site` over https and to localhost only. DNS rebinding does not work there: this machine has
no certificate for the foreign name. So `same-origin` is trusted, even where a proxy has rewritten `Host`.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from dataclasses import dataclass
from functools import cache

from aiohttp import web
from comfy.cli_args import args

from . import settings
from .errors import ApiError

PORTS = {"http": 80, "https": 443}
PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".home.arpa")
"""Suffixes that cannot be registered, so no page on the internet has such a name (RFC 6761, 6762, 8375; ICANN)."""
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_.-]{1,253})(?::(\d{1,5}))?", re.IGNORECASE)


@dataclass(frozen=True)
class Address:
    """A host name or IP address in lower case, and a port. Port None is the default of the scheme."""

    host: str
    port: int | None = None
    scheme: str | None = None

    @classmethod
    def of(cls, authority: str, scheme: str | None = None) -> Address | None:
        """Parse "name:443" or "[::1]:8188"; None for anything else."""
        match = _AUTHORITY.fullmatch(authority.strip())
        if match is None:
            return None
        host = match[1].lower().strip("[]").removesuffix(".")
        return cls(host, int(match[2]) if match[2] else PORTS.get(scheme or ""), scheme)

    @classmethod
    def of_origin(cls, origin: str) -> Address | None:
        """Parse an Origin header; None for "null" and whatever is not an http(s) origin."""
        scheme, separator, authority = origin.partition("://")
        return cls.of(authority, scheme.lower()) if separator and scheme.lower() in PORTS else None

    def is_local(self) -> bool:
        """Whether the address is the browser's own machine."""
        return self.host == "localhost" or self.host.endswith(".localhost") or _number(self.host, "is_loopback")


def check(request: web.Request) -> None:
    """Refuse a request of another site's page, or one without the owner's key. Raises ApiError 401 or 403."""
    owner = settings.current()
    here = _requested_address(request, owner.behind_proxy)
    _refuse_other_sites(request, here)
    if owner.api_key is None:
        _refuse_unknown_hosts(request, here, owner.hosts)
        return
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    key = key.strip().encode(errors="surrogateescape")
    if kind.lower() != "bearer" or not hmac.compare_digest(key, owner.api_key.encode()):
        raise ApiError(
            401, "invalid_api_key", "The API key is missing or wrong. Send the header 'Authorization: Bearer KEY'."
        )


def _requested_address(request: web.Request, behind_proxy: bool) -> Address | None:
    """The address that the client requested: X-Forwarded-Host and -Proto if the owner trusts the proxy, else Host.

    Of several forwarded values the last one counts: the nearest proxy wrote it, the others may come from the client.
    """
    forwarded = {
        name: request.headers.get(f"X-Forwarded-{name}", "").rpartition(",")[2].strip() if behind_proxy else ""
        for name in ("Host", "Proto")
    }
    scheme = forwarded["Proto"].lower()
    return Address.of(forwarded["Host"] or request.headers.get("Host", ""), scheme if scheme in PORTS else None)


def _refuse_other_sites(request: web.Request, here: Address | None) -> None:
    """Raises ApiError 403 for a page of another site. Browsers send the headers checked here, SDKs do not.

    ComfyUI's own check lets `Origin: null` through.
    """
    if args.enable_cors_header:  # the owner has allowed other sites
        return
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    if site not in (None, "none", "same-origin"):
        foreign = True
    elif origin is None or _is_same_origin(request):
        foreign = False
    else:
        foreign = here is None or not _same(Address.of_origin(origin), here)
    if foreign:
        raise ApiError(
            403, "cross_site", "Requests from pages of other sites are refused. Use the API from the server's own page."
        )


def _is_same_origin(request: web.Request) -> bool:
    """Whether the browser declares the page same-origin, on a connection where `Sec-Fetch-Site` can be trusted."""
    origin = request.headers.get("Origin")
    page = None if origin is None else Address.of_origin(origin)
    secure = origin is None or (page is not None and (page.scheme == "https" or page.is_local()))
    return secure and request.headers.get("Sec-Fetch-Site") == "same-origin"


def _same(page: Address | None, here: Address) -> bool:
    """Whether a page's address is the one that it requests. The page's scheme gives the default port."""
    return page is not None and page.host == here.host and page.port == (here.port or PORTS[page.scheme])


def _refuse_unknown_hosts(request: web.Request, here: Address | None, owners: list[str]) -> None:
    """Raises ApiError 403 if the requested name may belong to a page that rebinds DNS. Called where there is no key.

    IP addresses and names that cannot be registered are safe: no page on the internet has one.
    """
    if args.enable_cors_header == "*" or _is_same_origin(request):
        return
    if here is not None and (_is_private(here.host) or here.host in {*_own_names(), *map(str.lower, owners)}):
        return
    name = f"'{here.host[:100]}'" if here is not None else "in the request"
    raise ApiError(
        403,
        "unknown_host",
        f"The host name {name} is not one of this server's. Its owner can add it to 'hosts' in "
        "user/atelier/api.json, or set an api_key there.",
    )


def _is_private(host: str) -> bool:
    return "." not in host or host.endswith(PRIVATE_SUFFIXES) or _number(host, "version")


def _number(host: str, attribute: str) -> bool:
    """An attribute of `ipaddress` for an IP address; False for a name."""
    try:
        return bool(getattr(ipaddress.ip_address(host), attribute))
    except ValueError:
        return False


@cache
def _own_names() -> set[str]:
    """The names that ComfyUI listens on, and this machine's host name."""
    return {name.strip().lower() for name in (*args.listen.split(","), socket.gethostname())}
