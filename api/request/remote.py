"""Fetches a picture from an address in a request, if the owner allows it. Only public addresses are reached."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from ..errors import bad, summary

TIMEOUT = aiohttp.ClientTimeout(total=60)

UNICAST = ipaddress.IPv6Network("2000::/3")
"""IPv6: global unicast addresses."""
SPECIAL = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3ffe::/16", "3fff::/20")))
"""Parts of it that are not public hosts: Teredo and other protocols, documentation, 6to4, the former 6bone."""
SPECIAL_IPV4 = tuple(map(ipaddress.IPv4Network, ("192.0.0.0/24", "192.88.99.0/24")))
"""IPv4: protocol assignments and 6to4 relays. `ipaddress` considers parts of them global."""


class _PublicOnly(AbstractResolver):
    """Resolves names and checks each address. The check is here, because a second lookup may give another address."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list:
        addresses = await self._inner.resolve(host, port, family)
        for entry in addresses:
            _check(entry["host"])
        return addresses

    async def close(self) -> None:
        await self._inner.close()


def _check(address: str) -> None:
    """Raises ApiError if an IP address is not a public unicast one.

    IPv6 addresses must be in 2000::/3, which excludes NAT64 (64:ff9b::/96) and IPv4-mapped ones, and must not be in
    SPECIAL: 6to4 and Teredo lead to an IPv4 address, which may be private.
    """
    number = ipaddress.ip_address(address.split("%")[0])
    if number.version == 6:
        public = number in UNICAST and not any(number in special for special in SPECIAL)
    else:
        public = not any(number in special for special in SPECIAL_IPV4)
    if not (public and number.is_global) or number.is_multicast:
        raise bad(f"'{address}' is not a public address.", "image_url", "private_address")


async def fetch(address: str, most: int) -> bytes:
    """The content of an http(s) address, up to `most` bytes. Redirects are not followed. Raises ApiError."""
    try:
        url = URL(address)
        if url.host is None:
            raise ValueError("it has no host")
        if url.host.replace(".", "").isdigit() or ":" in url.host:
            _check(url.host)  # aiohttp does not resolve an IP address
        connector = aiohttp.TCPConnector(resolver=_PublicOnly())
        async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT, trust_env=False) as session:
            async with session.get(url, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise ValueError(f"it answers {answer.status}")
                content = bytearray()
                async for chunk in answer.content.iter_chunked(1 << 16):
                    content += chunk
                    if len(content) > most:
                        raise ValueError(f"it is longer than {most:,} bytes")
                return bytes(content)
    except (aiohttp.ClientError, asyncio.TimeoutError, ValueError, OSError) as error:
        raise bad(f"image_url cannot be fetched: {summary(error)}", "image_url") from None
