"""Fixtures that tests of nodes share besides the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import remove_new


@pytest.fixture
def models(server) -> Iterator[Path]:
    """The server's models folder. Files that a test puts there are removed afterwards."""
    root = server.base / "models"
    before = set(root.rglob("*"))
    yield root
    remove_new(root, before)
