"""The official client on a real ComfyUI with this pack, and the owner's files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2 as httpx
import openai
import pytest
import wire_client


@pytest.fixture(scope="session")
def client(server) -> Iterator[openai.OpenAI]:
    """OpenAI's client as programs create it, but without retries, so that tests get the first answer."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as made:
        yield made


@pytest.fixture(scope="session")
def http(server) -> Iterator[httpx.Client]:
    with wire_client.connect(server.url) as made:
        yield made


@pytest.fixture(scope="session")
def finished(client):
    """A finished video that tests look at and never change."""
    made = client.videos.create_and_poll(prompt="a red circle moving left", extra_body={"steps": 2, "seed": 1})
    assert made.status == "completed", made
    return made


@pytest.fixture
def clip(client, finished, tmp_path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(client.videos.download_content(finished.id).read())
    return path


@pytest.fixture
def owner(server) -> Iterator[Callable[..., Path]]:
    """``owner("api.json", {...})`` writes a file of the server's owner. It is removed after the test."""
    folder, written = server.base / "user" / "atelier", []

    def write(name: str, content: object) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        written.append(path)
        return path

    yield write
    for path in written:
        path.unlink(missing_ok=True)
