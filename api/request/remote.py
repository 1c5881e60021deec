"""Fetching a picture from an address a client names, for servers whose owner allows it: public addresses only."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from ..errors import bad, words

TIMEOUT = aiohttp.ClientTimeout(total=60)


UNICAST = ipaddress.IPv6Network("2000::/3")
"""Of IPv6, what single machines on the internet have."""
SPECIAL = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3ffe::/16", "3fff::/20")))
"""Of that, what stands for something else: Teredo and other protocols, examples, 6to4, a network that was given up."""
SPECIAL_IPV4 = tuple(map(ipaddress.IPv4Network, ("192.0.0.0/24", "192.88.99.0/24")))
"""Relays of 6to4 and protocols of their own, which ipaddress counts as public in part."""


class _PublicOnly(AbstractResolver):
    """Names -> the addresses that are connected to, each of them looked at: a name may change between two questions."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list:
        found = await self._inner.resolve(host, port, family)
        for entry in found:
            _check(entry["host"])
        return found

    async def close(self) -> None:
        await self._inner.close()


def _check(address: str) -> None:
    """Raises ApiError where an address is not one that the internet gives to a single machine.

    Of IPv6 that is 2000::/3 alone, without what leads on to an IPv4 address that may be private (6to4, Teredo) or is
    set aside; NAT64's addresses (64:ff9b::/96) and IPv4 in IPv6 are outside it.
    """
    number = ipaddress.ip_address(address.split("%")[0])
    if number.version == 6:
        public = number in UNICAST and not any(number in special for special in SPECIAL)
    else:
        public = not any(number in special for special in SPECIAL_IPV4)
    if not (public and number.is_global) or number.is_multicast:
        raise bad(f"'{address}' is no public address.", "image_url", "private_address")


async def fetch(address: str, most: int) -> bytes:
    """The content behind an http(s) address, up to `most` bytes, redirects not followed. Raises ApiError."""
    try:
        url = URL(address)
        if url.host is None:
            raise ValueError("it has no host")
        if url.host.replace(".", "").isdigit() or ":" in url.host:
            _check(url.host)  # no resolver is asked about a bare number
        connector = aiohttp.TCPConnector(resolver=_PublicOnly())
        async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT, trust_env=False) as session:
            async with session.get(url, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise ValueError(f"it answers {answer.status}")
                content = bytearray()
                async for chunk in answer.content.iter_chunked(1 << 16):
                    content += chunk
                    if len(content) > most:
                        raise ValueError(f"it is longer than {most} bytes")
                return bytes(content)
    except (aiohttp.ClientError, asyncio.TimeoutError, ValueError, OSError) as error:
        raise bad(f"image_url cannot be fetched: {words(error)}", "image_url") from None
