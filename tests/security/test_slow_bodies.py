"""Slow bodies: a client that sends slowly cannot hold a connection and its claim for ever."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiohttp import web
from atelier.api.errors import ApiError
from atelier.api.request import body

KINDS = {
    "JSON": (b"application/json", b'{"prompt": "' + b"x" * 5000),
    "form": (b"application/x-www-form-urlencoded", b"prompt=" + b"x" * 5000),
    "field": (
        b"multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 5000,
    ),
    "file": (
        b"multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\n' + b"x" * 5000,
    ),
    "head of a part": (b"multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data" + b" " * 5000),
}


async def _dripped(folder, kind: bytes, content: bytes, pause: float) -> tuple[bytes, float]:
    """(answer, seconds) of a server that reads bodies with `body.read`, to one byte after each pause."""

    async def answer(request: web.Request) -> web.Response:
        try:
            sent = await body.read(request, folder, 10**6)
        except ApiError as error:
            return error.response()
        return web.json_response({"fields": len(sent.fields)})

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app, lingering_time=0.1, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    reading, writing = await asyncio.open_connection("127.0.0.1", port)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (kind, len(content))
    writing.write(head)
    began, said = time.monotonic(), asyncio.ensure_future(reading.readline())
    for number in range(len(content)):
        if said.done():
            break
        writing.write(content[number : number + 1])
        await asyncio.sleep(pause)
    line, took = await asyncio.wait_for(said, 30), time.monotonic() - began
    writing.close()
    await runner.cleanup()
    return line, took


@pytest.mark.parametrize("kind", KINDS)
def test_drop_by_drop(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(body, "_PATIENCE", 0.5)
    line, took = asyncio.run(_dripped(tmp_path, *KINDS[kind], pause=0.02))
    assert b" 408 " in line and took < 20


def test_slow_lines_that_work_are_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(body, "_PATIENCE", 0.5)
    monkeypatch.setattr(body, "_SLOWEST", 10)
    line, took = asyncio.run(_dripped(tmp_path, b"application/json", b'{"prompt": "cat"}' + b" " * 60, pause=0.02))
    assert b" 200 " in line and took > 1
