"""Attacks by the size of a body: each is refused early with a message, and does not block ComfyUI's event loop."""

from __future__ import annotations

import json
import shutil
import socket
import time
import urllib.parse
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2 as httpx
import psutil
import pytest
from serving import Server, serving
from wire_client import coloured_frames, connect, error, wait

TICKER = Path(__file__).parents[1] / "support" / "ticker"
SILENCE = 0.5
"""Seconds that the event loop may be blocked, on a machine of the usual speed (see `slowness`)."""
MB = 1 << 20
FORM, JSON = {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "application/json"}
PARTS = {"Content-Type": "multipart/form-data; boundary=x"}
ADDRESSES = ("/videos", "/videos/edits", "/videos/extensions", "/videos/characters", "/prompts/expand")
"""All calls that read a body, except remix, which reads it as edits does."""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """A server with a ticker in its event loop."""
    base = tmp_path_factory.mktemp("bodies")
    shutil.copytree(TICKER, base / "custom_nodes" / "ticker")
    with serving(base) as made:
        yield made


@pytest.fixture(scope="module")
def http(server) -> Iterator[httpx.Client]:
    with connect(server.url) as made:
        made.get("/videos").raise_for_status()  # the first request imports the API
        made.get("/models").raise_for_status()
        yield made


USUAL = 0.045
"""Seconds that a usual core takes for the work of `slowness`."""


def slowness() -> float:
    """How many times slower than usual this machine parses now, at least 1."""

    def measured() -> float:
        began = time.perf_counter()
        urllib.parse.unquote_to_bytes(b"%41" * 200_000)
        return time.perf_counter() - began

    return max(1.0, min(measured() for _ in range(3)) / USUAL)


@pytest.fixture
def silence(server, http) -> Callable[[], float]:
    """`silence()`: the longest time that the event loop was blocked since the last call, for a usual machine."""

    def longest() -> float:
        told, slower = http.post(f"{server.url}/ticker").json(), slowness()
        print(f"silent: {told}, {slower:.1f} times slower than usual")  # for whoever reads a failure
        return told["work"] / slower

    longest()
    return longest


def parts(*contents: bytes, name: str = "prompt") -> bytes:
    """A multipart body with all contents under one name."""
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
    return b"".join(head + content + b"\r\n" for content in contents) + b"--x--\r\n"


def keys(count: int) -> bytes:
    return b"{" + b",".join(b'"k%d":1' % number for number in range(count)) + b', "prompt": "x"}'


TOO_LARGE = {
    "a form of 90 MB": (FORM, lambda: b"prompt=" + b"%41" * (30 * MB)),
    "JSON of 90 MB": (JSON, lambda: b'{"prompt": "' + b"x" * (90 * MB) + b'"}'),
    "JSON of a million keys": (JSON, lambda: keys(1_000_000)),
    "JSON of a million lists": (JSON, lambda: b'{"prompt": [' + b"[]," * 1_000_000 + b"1]}"),
    "a text part of 30 MB": (PARTS, lambda: parts(b"x" * (30 * MB))),
    "ten text parts of 10 MB": (PARTS, lambda: parts(*[b"x" * (10 * MB)] * 10)),
    "a million lists in a text part": (PARTS, lambda: parts(b"[" + b"[]," * 1_000_000 + b"1]", name="storyboard")),
    "40 MB zipped": (JSON | {"Content-Encoding": "deflate"}, lambda: zlib.compress(b'{"prompt": "' + b"x" * (40 * MB))),
}
MALFORMED = {
    "300 keys": (JSON, lambda: keys(300)),
    "300 keys of a form": (FORM, lambda: b"&".join(b"k%d=1" % number for number in range(300))),
    "300 parts": (PARTS, lambda: parts(*[b"x"] * 300)),
    "a name of 300 letters": (FORM, lambda: b"a" * 300 + b"=1"),
    "a part's name of 300 letters": (PARTS, lambda: parts(b"x", name="a" * 300)),
    "20 MB of escapes, not closed": (JSON, lambda: b'{"prompt": "' + b"\\u4e2d" * (4 * MB)),
    "30 MB of digits": (JSON, lambda: b'{"seed": ' + b"1" * (30 * MB) + b"}"),
    "deep": (JSON, lambda: b'{"prompt": ' + b"[" * 90_000),
    "30 MB of line breaks before the first part": (PARTS, lambda: b"\n" * (30 * MB) + parts(b"x")),
    "a charset of 300 letters": (PARTS, lambda: parts(b"x" * 300, name="_charset_")),
    "4 MB of escapes in a form": (FORM, lambda: b"seed=" + b"%41" * (MB)),
    "4 MB of blanks in a form": (FORM, lambda: b"seed=" + b"+" * (3 * MB)),
}


@pytest.mark.parametrize("headers,body", TOO_LARGE.values(), ids=TOO_LARGE)
def test_what_is_too_large_is_refused_and_nothing_stops(server, http, silence, headers, body):
    content = body()
    before = memory(server)
    answer = http.post("/videos", content=content, headers=headers)
    assert answer.status_code == 413 and error(answer)[1] == "too_large", answer.text
    assert silence() < SILENCE
    assert memory(server) - before < 250 * MB


@pytest.mark.parametrize("headers,body", MALFORMED.values(), ids=MALFORMED)
def test_what_cannot_be_read_is_refused_and_nothing_stops(http, silence, headers, body):
    answer = http.post("/videos", content=body(), headers=headers)
    assert answer.status_code in (400, 413), answer.text
    assert len(answer.text) < 1000 and silence() < SILENCE


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_address_that_reads_a_body_has_these_limits(http, silence, address):
    for headers, body in (TOO_LARGE["JSON of a million keys"], (PARTS, lambda: parts(b"x" * (33 * MB)))):
        assert error(http.post(address, content=body(), headers=headers))[:2] == (413, "too_large")
    assert silence() < SILENCE


def test_a_length_that_is_too_large_is_refused_before_the_body_is_sent(server):
    """The answer comes before any byte of the body is sent."""
    host, port = server.url.removeprefix("http://").split(":")
    head = f"POST /v1/videos HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(f"{head}Content-Length: {90 * MB}\r\n\r\n".encode())
        assert raw.recv(1000).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "board",
    [
        "0s: x\n" * 1001,
        "0s: " + "x" * 100_000,
        "0s:" + " " * 40_000 + "x",
        "1" + " " * 90_000 + "x",
        [{"time": 0, "prompt": "x"}] * 1001,
        [{"time": number, "prompt": "x" * 32_000} for number in range(900)],
        json.dumps([{"no": "card"}] * 9000),
    ],
    ids=["cards", "text", "line", "blanks", "list", "list of long words", "JSON in a string"],
)
def test_a_board_that_is_too_long_is_refused_at_once(http, silence, board):
    answer = http.post("/videos", json={"prompt": "x", "storyboard": board})
    assert answer.status_code == 400 and error(answer)[2].startswith("storyboard"), answer.text
    assert len(answer.text) < 1000 and silence() < SILENCE


def test_large_but_legal_requests_are_taken(http, silence):
    """A data URL of OpenAI's maximum length is read completely. Only its content is refused."""
    url = "data:image/png;base64," + "A" * (20_971_520 - 24)
    for sent in ({"json": {"prompt": "x", "input_reference": url}}, {"data": {"prompt": "x", "input_reference": url}}):
        sent |= {"files": {"unused": b"x"}} if "data" in sent else {}
        assert error(http.post("/videos", **sent))[:2] == (400, "unsupported_file")
    assert silence() < SILENCE


def test_unknown_fields_are_counted_and_not_all_repeated(http):
    video = http.post("/videos", json={"prompt": "x", "steps": 1} | {f"{'k' * 150}{n}": 1 for n in range(190)}).json()
    assert len(video["warnings"]) == 21 and video["warnings"][-1] == "170 more fields are not known."
    assert len(json.dumps(video["warnings"])) < 4000


LONGEST = {"prompt": "\U0001f3a5" * 32_000, "negative_prompt": "\U0001f3a5" * 32_000}
"""A text of the maximum length, of characters that JSON escapes with twelve."""


def test_a_list_of_the_longest_jobs_stops_nothing(http, silence, owner):
    graph = coloured_frames()
    graph["nodes"][0]["title"] = "Empty Image"  # without the mark: a colour cannot be as large as a seed
    owner("api/storyboard.json", graph)
    board = "\n".join(f"{number / 1000}s:{chr(0x1F3A5) * 92}" for number in range(1000))
    sent = [http.post("/videos", json=LONGEST | {"storyboard": board, "seconds": 2, "n": 10}) for _ in range(10)]
    assert [answer.status_code for answer in sent] == [200] * 10, sent[0].text
    wait(http, http.get(f"/videos/{sent[-1].json()['variations'][-1]}").json())
    silence()  # while videos were made, the process computed for them
    page = {"has_more": True, "last_id": None}
    seen = []
    while page["has_more"] and len(seen) < 100:
        after = {"after": page["last_id"]} if page["last_id"] else {}
        page = http.get("/videos", params={"limit": 100} | after).json()
        seen += [video["id"] for video in page["data"]]
    assert len(set(seen)) == len(seen) >= 100
    assert silence() < SILENCE


@pytest.mark.parametrize("part", ["a", "red ", "in the ", "close ", "1", "x-", "\U0001f3a5", "ing "])
def test_a_long_prompt_is_expanded_and_nothing_stops(http, silence, part):
    answer = http.post("/prompts/expand", json={"prompt": (part * 32_000)[:32_000]})
    assert answer.status_code == 200 and silence() < SILENCE


@pytest.mark.parametrize(
    "address",
    ["/videos/{}", "/videos/{}/content", "/models/{}", "/videos?after={}", "/videos/x/nothing/{}", "/../atelier/{}"],
)
def test_long_addresses_are_answered_in_words(http, silence, address):
    for part in ("a", "1", "-", "%20", "a/", "-2025-10-06"):
        answer = http.get(address.format((part * 6000)[:6000]))
        assert answer.status_code in (400, 404) and len(answer.text) < 1000, answer.text[:500]
    assert silence() < SILENCE


def memory(server: Server) -> int:
    """Resident memory of the server's process in bytes."""
    (process,) = [p for p in psutil.process_iter(["cmdline"]) if str(server.base) in " ".join(p.info["cmdline"] or [])]
    return process.memory_info().rss
