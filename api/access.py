"""Who may come in: the owner's key, and no page of another site that happens to be open in the same browser.

A page of another site has three ways in, and each is closed by one thing that a browser says and a page cannot change:

- It sends a request across sites. The browser then sends `Origin`, or `Sec-Fetch-Site`, or both.
- Its name leads to this machine (DNS rebinding), so that the browser takes it for a page of ours. `Host` is its name.
- It is framed or opened from a file, with `Origin: null`.

A browser sends `Sec-Fetch-Site` over https and to localhost only. There a foreign name cannot lead here: this machine
has no certificate for it. So `same-origin` is believed, whatever a proxy has done to `Host`.
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
"""Ends of names that nobody can register, so that no page on the internet has one (RFC 6761, 6762, 8375; ICANN)."""
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_.-]{1,253})(?::(\d{1,5}))?", re.IGNORECASE)


@dataclass(frozen=True)
class Address:
    """A host name or number in lower case, and a port; None is the usual one of its scheme."""

    host: str
    port: int | None = None
    scheme: str | None = None

    @classmethod
    def of(cls, authority: str, scheme: str | None = None) -> Address | None:
        """ "name:443" or "[::1]:8188" -> its parts; None where it is neither."""
        match = _AUTHORITY.fullmatch(authority.strip())
        if match is None:
            return None
        host = match[1].lower().strip("[]").removesuffix(".")
        return cls(host, int(match[2]) if match[2] else PORTS.get(scheme or ""), scheme)

    @classmethod
    def of_origin(cls, origin: str) -> Address | None:
        """What an Origin header says; None for "null" and what is no web address."""
        scheme, separator, authority = origin.partition("://")
        return cls.of(authority, scheme.lower()) if separator and scheme.lower() in PORTS else None

    def is_local(self) -> bool:
        """Whether a browser reaches it on its own machine only."""
        return self.host == "localhost" or self.host.endswith(".localhost") or _number(self.host, "is_loopback")


def check(request: web.Request) -> None:
    """Raises ApiError 401 or 403."""
    owner = settings.current()
    here = _asked_for(request, owner.behind_proxy)
    _refuse_other_sites(request, here)
    if owner.api_key is None:
        _refuse_unknown_hosts(request, here, owner.hosts)
        return
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    given = given.strip().encode(errors="surrogateescape")
    if kind.lower() != "bearer" or not hmac.compare_digest(given, owner.api_key.encode()):
        raise ApiError(401, "invalid_api_key", "The API key is missing or wrong: this server wants 'Bearer KEY'.")


def _asked_for(request: web.Request, behind_proxy: bool) -> Address | None:
    """The address that the client has asked for, as the proxy in front says where there is one that is trusted.

    Of several values the last one counts: the nearest proxy has written it, those before it may come from the client.
    """
    forwarded = {
        name: request.headers.get(f"X-Forwarded-{name}", "").rpartition(",")[2].strip() if behind_proxy else ""
        for name in ("Host", "Proto")
    }
    scheme = forwarded["Proto"].lower()
    return Address.of(forwarded["Host"] or request.headers.get("Host", ""), scheme if scheme in PORTS else None)


def _refuse_other_sites(request: web.Request, here: Address | None) -> None:
    """A browser says where a request comes from; SDKs say nothing. ComfyUI's own check lets Origin: null through."""
    if args.enable_cors_header:  # the owner has said which sites may
        return
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    if site not in (None, "none", "same-origin"):
        foreign = True
    elif origin is None or _believed(request):
        foreign = False
    else:
        foreign = here is None or not _same(Address.of_origin(origin), here)
    if foreign:
        raise ApiError(403, "cross_site", "Requests from pages of other sites are refused.")


def _believed(request: web.Request) -> bool:
    """Whether a browser says that the page is ours, over a connection on which it says so at all."""
    origin = request.headers.get("Origin")
    page = None if origin is None else Address.of_origin(origin)
    secure = origin is None or (page is not None and (page.scheme == "https" or page.is_local()))
    return secure and request.headers.get("Sec-Fetch-Site") == "same-origin"


def _same(page: Address | None, here: Address) -> bool:
    """Whether a page's address is the one that its request asks for. The page's scheme says what port is usual."""
    return page is not None and page.host == here.host and page.port == (here.port or PORTS[page.scheme])


def _refuse_unknown_hosts(request: web.Request, here: Address | None, owners: list[str]) -> None:
    """Without a key, the name that was asked for must be this server's, or a page could bring its own (DNS rebinding).

    Numbers and names that nobody can register are nobody's page.
    """
    if args.enable_cors_header == "*" or _believed(request):
        return
    if here is not None and (_is_private(here.host) or here.host in {*_own_names(), *map(str.lower, owners)}):
        return
    name = here.host if here is not None else "what the client sent"
    raise ApiError(
        403,
        "unknown_host",
        f"This server does not know itself as '{name[:100]}'. Its owner can add the name to 'hosts' in "
        "user/atelier/api.json, or set an api_key there.",
    )


def _is_private(host: str) -> bool:
    return "." not in host or host.endswith(PRIVATE_SUFFIXES) or _number(host, "version")


def _number(host: str, attribute: str) -> bool:
    """What ipaddress says of a host; False for names."""
    try:
        return bool(getattr(ipaddress.ip_address(host), attribute))
    except ValueError:
        return False


@cache
def _own_names() -> set[str]:
    """The names that ComfyUI listens on, and this machine's."""
    return {name.strip().lower() for name in (*args.listen.split(","), socket.gethostname())}
