"""The official client at a real ComfyUI with this pack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest


def connect(url: str, **options) -> openai.OpenAI:
    """OpenAI's client as a program would make it, without its retries: a test wants to see the first answer."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, **options)


@pytest.fixture(scope="session")
def client(server) -> Iterator[openai.OpenAI]:
    with connect(server.url) as made:
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
