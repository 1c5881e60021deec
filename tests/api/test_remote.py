"""Pictures from web addresses: only if the owner allows it, and never from this machine or its network."""

from __future__ import annotations

import asyncio
import http.server
import socket
import threading
from collections.abc import Iterator

import pytest
from atelier.api.errors import ApiError
from atelier.api.request import remote
from wire_client import FAST, error


class _Site(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        moved = self.path == "/moved"
        self.send_response(302 if moved else 200)
        if moved:
            self.send_header("Location", "/picture")
        self.end_headers()
        self.wfile.write(b"" if moved else b"x" * 100)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[int]:
    """The port of a local web server."""
    _Site.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Site) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running.server_address[1]
        running.shutdown()
        thread.join()


def fetch(address: str, most: int = 1000) -> bytes:
    return asyncio.run(remote.fetch(address, most))


PRIVATE = ("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0")


@pytest.mark.parametrize("host", [*PRIVATE, "10.0.0.1", "192.168.1.1", "169.254.169.254", "[fe80::1]", "[fd00::1]"])
def test_private_addresses(site, host):
    with pytest.raises(ApiError):
        fetch(f"http://{host}:{site}/picture")
    assert _Site.asked == []


@pytest.mark.parametrize("answers", [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"]], ids=["private", "both"])
def test_a_public_name_that_leads_here(site, monkeypatch, answers):
    """The checked address is the one that is connected to, so a later answer of the DNS server has no effect."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, site)) for address in answers]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(ApiError) as raised:
        fetch(f"http://pictures.example:{site}/picture")
    assert raised.value.code == "private_address" and _Site.asked == []


def test_redirects_and_sizes(site, monkeypatch):
    monkeypatch.setattr(remote, "_check", lambda address: None)  # the only server there is here is a private one
    assert fetch(f"http://localhost:{site}/picture") == b"x" * 100
    for path, most in (("/moved", 1000), ("/picture", 99)):
        with pytest.raises(ApiError):
            fetch(f"http://localhost:{site}{path}", most)
    assert _Site.asked == ["/picture", "/moved", "/picture"]


def test_the_owner_switches_addresses_on(http, owner, site):
    body = FAST | {"input_reference": {"image_url": f"http://127.0.0.1:{site}/picture"}}
    assert error(http.post("/videos", json=body)) == (400, "invalid_value", "input_reference")
    owner("api.json", {"remote_images": True})
    assert error(http.post("/videos", json=body)) == (400, "private_address", "image_url")
    assert _Site.asked == []
