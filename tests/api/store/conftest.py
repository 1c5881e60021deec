"""A job store of its own for each test, in a SQLite file and in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Iterator

import postgresql_server
import pytest
import sqlalchemy as sql
from atelier.api.store import Store
from atelier.api.store.postgresql import PostgreSQL
from atelier.api.store.sqlite import SQLite
from databases import need_postgresql


@pytest.fixture(scope="session")
def server_of_postgresql() -> Iterator[postgresql_server.PostgreSQLServer]:
    need_postgresql()
    with postgresql_server.running() as server:
        yield server


@pytest.fixture
def postgresql(server_of_postgresql) -> Iterator[postgresql_server.PostgreSQLServer]:
    """A real server with an empty database."""
    yield server_of_postgresql
    engine = sql.create_engine(server_of_postgresql.url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()


@pytest.fixture
def file_store(tmp_path) -> Iterator[Store]:
    """A store in a file."""
    made = Store(SQLite(tmp_path / "videos.db"))
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path) -> Iterator[Store]:
    """A store in each kind of database."""
    if request.param == "sqlite":
        yield request.getfixturevalue("file_store")
    else:
        made = Store(PostgreSQL(request.getfixturevalue("postgresql").url, tmp_path / "videos.home"))
        yield made
        made.close()
