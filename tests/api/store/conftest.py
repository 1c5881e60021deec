"""A job store of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from atelier.api.store import Store


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    made = Store(tmp_path / "videos.db")
    yield made
    made.close()
