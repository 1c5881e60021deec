"""The ComfyUI of a farm's head over the test's machines, and what its API says of workers and videos."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx2 as httpx
import ray_node
from comfy_server import ComfyServer, running
from wire_client import connect

if TYPE_CHECKING:
    from conftest import Machines


@contextlib.contextmanager
def head(machines: Machines, monkeypatch) -> Iterator[tuple[ComfyServer, httpx.Client]]:
    """The head's ComfyUI."""
    for name, value in (ray_node.environment(machines.token) | {"ATELIER_FARM": machines.address}).items():
        monkeypatch.setenv(name, value)
    with running(machines.base / "head", "comfyui") as server, connect(server.url) as http:
        yield server, http


def workers(http: httpx.Client) -> list[dict]:
    return http.get("/farm").json()["workers"]


def until(true, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def done(http: httpx.Client, ids: list[str]) -> int:
    return sum(http.get(f"/videos/{name}").json()["status"] in ("completed", "failed") for name in ids)
