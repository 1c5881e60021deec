"""The databases that a job store can be in, for tests."""

from __future__ import annotations

import importlib.util

import postgresql_server
import pytest


def need_postgresql() -> None:
    """Skip the test, in words, if PostgreSQL or its driver is not here."""
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("PostgreSQL's driver is not installed: python run.py test --farm installs it")
    if postgresql_server.programs() is None:
        pytest.skip("PostgreSQL is not installed. Debian: apt-get install postgresql")
