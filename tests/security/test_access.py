"""Pages of other sites, DNS rebinding and proxies: which requests are allowed, by a browser's headers."""

from __future__ import annotations

import socket
import urllib.parse

import pytest
from atelier.api.access import Address
from wire_client import error

EVIL, CLOUD, OURS = "evil.example", "pod-8188.proxy.cloud.example", "studio.example.org"


@pytest.fixture
def port(server) -> int:
    return urllib.parse.urlsplit(server.url).port


def knock(server, *headers: tuple[str, str | bytes]) -> tuple[int, str]:
    """(status, error code or "") of GET /v1/videos with exactly these bytes as headers."""
    at = urllib.parse.urlsplit(server.url)
    lines = [b"GET /v1/videos?limit=1 HTTP/1.1", b"Connection: close"]
    lines += [name.encode() + b": " + (v if isinstance(v, bytes) else v.encode()) for name, v in headers]
    with socket.create_connection((at.hostname, at.port), timeout=30) as sent:
        sent.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        answer = b"".join(iter(lambda: sent.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    code = body.partition(b'"code": "')[2].partition(b'"')[0].decode()
    return int(head.split()[1]), code


def page(scheme: str, host: str, site: str | None = None, asked: str | None = None) -> list[tuple[str, str]]:
    """The headers of a page at scheme://host, whose request reaches us with Host: `asked` (else its own)."""
    headers = [("Host", asked or host), ("Origin", f"{scheme}://{host}")]
    return headers + ([("Sec-Fetch-Site", site)] if site else [])


SITES_THAT_LEAD_HERE = {
    "a page of its own": page("http", EVIL),
    "with our port": page("http", f"{EVIL}:8188"),
    "reads without an origin": [("Host", EVIL)],
    "a name that begins as ours": page("http", "localhost.evil.example"),
    "says that it is same-origin, which no browser says over http": page("http", EVIL, "same-origin"),
    "says it was typed in": [("Host", EVIL), ("Sec-Fetch-Site", "none")],
    "says what a proxy said": [("Host", EVIL), ("X-Forwarded-Host", "localhost"), ("X-Forwarded-Proto", "https")],
    "a number with a tail": page("http", "127.0.0.1.evil.example"),
    "no host at all": [("Host", "")],
    "two names": [("Host", f"localhost {EVIL}")],
}


@pytest.mark.parametrize("headers", SITES_THAT_LEAD_HERE.values(), ids=SITES_THAT_LEAD_HERE)
def test_a_name_that_was_made_to_lead_here(server, headers):
    assert knock(server, *headers) in [(403, "unknown_host"), (403, "cross_site"), (400, "")]


FOREIGN = {
    "another site": lambda own: page("https", EVIL, "cross-site", own),
    "another site, an old browser": lambda own: page("http", EVIL, asked=own),
    "no origin, but a browser's word": lambda own: [("Host", own), ("Sec-Fetch-Site", "cross-site")],
    "another port here": lambda own: page("http", "127.0.0.1:1", "same-site", own),
    "a file": lambda own: [("Host", own), ("Origin", "null")],
    "another scheme": lambda own: [("Host", own), ("Origin", f"ftp://{own}")],
    "no text": lambda own: [("Host", own), ("Origin", b"http://\xff\xfe")],
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_pages_of_other_sites(server, port, headers):
    status, code = knock(server, *headers(f"127.0.0.1:{port}"))
    assert status == 403 and code in ("cross_site", ""), "ComfyUI's own check may be the first"


WELCOME = {
    "a program by number": lambda port: [("Host", f"127.0.0.1:{port}")],
    "a program by name": lambda port: [("Host", f"localhost:{port}")],
    "a container by its name": lambda port: [("Host", "comfyui:8188")],
    "a neighbour by mDNS": lambda port: page("http", "studio-pc.local:8188"),
    "a neighbour by number": lambda port: page("http", "192.168.1.7:8188"),
    "a neighbour by long number": lambda port: page("http", "[fd00::7]:8188"),
    "the studio on this machine": lambda port: page("http", f"127.0.0.1:{port}", "same-origin"),
    "the studio on a cloud host": lambda port: page("https", CLOUD, "same-origin"),
    "a cloud host that adds the port": lambda port: page("https", CLOUD, "same-origin", f"{CLOUD}:443"),
    "a cloud host that puts its own name": lambda port: page("https", CLOUD, "same-origin", "10.0.0.3:8188"),
    "what the studio reads there": lambda port: [("Host", f"{CLOUD}:443"), ("Sec-Fetch-Site", "same-origin")],
}


@pytest.mark.parametrize("headers", WELCOME.values(), ids=WELCOME)
def test_ours(server, port, headers):
    assert knock(server, *headers(port)) == (200, "")


def test_the_owner_names_hosts(server, owner):
    assert knock(server, ("Host", OURS))[1] == "unknown_host"
    owner("api.json", {"hosts": [OURS.upper()]})
    assert knock(server, ("Host", f"{OURS}:8188")) == knock(server, *page("http", OURS)) == (200, "")
    assert knock(server, *page("https", OURS, asked=f"{OURS}:443")) == (200, "")  # the usual port, said and unsaid
    assert knock(server, *page("http", f"{OURS}:1", asked=OURS))[1] == "cross_site"
    assert knock(server, ("Host", f"x.{OURS}"))[1] == "unknown_host"


def test_a_proxy_that_the_owner_trusts(server, owner, port):
    """Only the last forwarded value is trusted, because the proxy wrote it. The name must still be a known one."""
    forwarded = [("X-Forwarded-Host", f"{EVIL}, {OURS}"), ("X-Forwarded-Proto", "https")]
    seen = [("Host", "10.0.0.3:8188"), ("Origin", f"https://{OURS}"), *forwarded]
    assert knock(server, *seen)[1] == "cross_site"
    owner("api.json", {"behind_proxy": True, "hosts": [OURS]})
    assert knock(server, *seen) == (200, "")
    assert knock(server, ("Host", "10.0.0.3"), ("X-Forwarded-Host", EVIL))[1] == "unknown_host"
    assert knock(server, *seen[:1], ("Origin", f"http://{OURS}"), *forwarded)[1] == "cross_site"  # http is not https


def test_who_has_the_key_may_use_any_name(server, owner):
    owner("api.json", {"api_key": "secret"})
    key = ("Authorization", "Bearer secret")
    assert knock(server, ("Host", EVIL), key) == (200, "")
    assert knock(server, ("Host", EVIL))[1] == "invalid_api_key"
    assert knock(server, *page("http", EVIL, asked="10.0.0.3"), key)[1] == "cross_site"


@pytest.mark.parametrize("key", [b"Bearer \xff\xfe", b"Bearer", b"", b"Basic secret", "Bearer sécret".encode()])
def test_keys_of_any_bytes(server, port, owner, key):
    owner("api.json", {"api_key": "secret"})
    assert knock(server, ("Host", "localhost"), ("Authorization", key)) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "origin", ["http://[", "null", "", "http://", "http://a b", "file:///x", "http://a:b", "http://a@b"]
)
def test_no_addresses(origin):
    """ComfyUI's own check raises on some of these before ours runs."""
    assert Address.of_origin(origin) is None


def test_what_is_said_to_a_stranger_helps_the_owner(http):
    answer = http.get("/videos", headers={"Host": EVIL})
    assert error(answer)[:2] == (403, "unknown_host") and "'hosts'" in answer.text and EVIL in answer.text
