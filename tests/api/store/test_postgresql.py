"""What only a PostgreSQL database can do to its store: be away, be another head's, refuse the login."""

from __future__ import annotations

import asyncio
import builtins
import time
from contextlib import closing

import pytest
import sqlalchemy as sql
from atelier.api import settings
from atelier.api.errors import ApiError
from atelier.api.store import Store
from atelier.api.store.postgresql import PostgreSQL
from pydantic import ValidationError
from store_rows import OPEN, job


def refused(call) -> ApiError:
    with pytest.raises(ApiError) as error:
        call()
    return error.value


def test_a_database_that_goes_away_loses_nothing(postgresql, tmp_path):
    with closing(Store(PostgreSQL(postgresql.url, tmp_path / "home"))) as store:
        asyncio.run(store.add([job(1), job(2)], OPEN))
        postgresql.stop()
        try:
            for call in (store.job, store.begin):
                away = refused(lambda call=call: asyncio.run(call(job(1)["id"])))
                assert (away.status, away.code) == (503, "store_unreachable") and "127.0.0.1" not in away.message
            assert refused(lambda: Store(store.database)).code == "store_unreachable"
        finally:
            postgresql.start()
        asyncio.run(store.begin(job(1)["id"]))
        rows, more = asyncio.run(store.page(None, 10, False))
        assert [row["status"] for row in rows] == ["in_progress", "queued"] and not more
        postgresql.stop()
        postgresql.start()
        time.sleep(1.1)  # a connection that has rested is tried before it is used
        assert asyncio.run(store.job(job(1)["id"]))["status"] == "in_progress"


def test_two_heads_on_one_database_are_refused(postgresql, tmp_path):
    """Two ComfyUIs of one folder share it; one with another folder is refused until they have ended."""
    first = Store(PostgreSQL(postgresql.url, tmp_path / "home"))
    Store(PostgreSQL(postgresql.url, tmp_path / "home")).close()
    other = PostgreSQL(postgresql.url, tmp_path / "other")
    in_use = refused(lambda: Store(other))
    assert (in_use.status, in_use.code) == (503, "store_in_use") and "Another ComfyUI" in in_use.message
    assert asyncio.run(first.page(None, 1, True)) == ([], False), "the first goes on"
    first.close()
    with closing(Store(other)):
        assert refused(lambda: Store(first.database)).code == "store_in_use"


def test_a_dead_head_keeps_nobody_out(postgresql, tmp_path):
    first = Store(PostgreSQL(postgresql.url, tmp_path / "home"))
    postgresql.stop()  # as if its machine had died: the server has none of its connections
    postgresql.start()
    with closing(Store(PostgreSQL(postgresql.url, tmp_path / "other"))):
        codes = [refused(lambda: asyncio.run(first.job("x"))).code for _ in range(2)]
        assert codes[0] in ("store_unreachable", "store_in_use") and codes[1] == "store_in_use"
    first.close()


def test_what_it_refuses_is_said_without_the_owners_values(postgresql, tmp_path, caplog):
    url = sql.make_url(postgresql.url)
    for wrong in (url.set(password="secret"), url.set(database="nowhere"), url.set(username="stranger")):
        store = PostgreSQL(wrong.render_as_string(hide_password=False), tmp_path / "home")
        error = refused(lambda store=store: Store(store))
        assert (error.status, error.code) == (500, "store_unusable") and "api.json" in error.message
        assert not any(word in error.message + caplog.text for word in ("secret", url.password))
    with closing(Store(PostgreSQL(postgresql.url, tmp_path / "home"))) as store:
        error = refused(lambda: asyncio.run(store.add([job(1, prompt="a\0b")], OPEN)))
        assert (error.status, error.code) == (400, "invalid_value") and "NUL" in error.message
        assert asyncio.run(store.page(None, 1, True)) == ([], False)


def test_a_database_of_another_program_is_left_alone(postgresql, tmp_path):
    engine = sql.create_engine(postgresql.url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE jobs (x INTEGER)")
    error = refused(lambda: Store(PostgreSQL(postgresql.url, tmp_path / "home")))
    assert error.code == "store_unusable" and "another program" in error.message
    assert sql.inspect(engine).get_table_names() == ["jobs"]
    engine.dispose()


def test_without_a_driver_the_message_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "psycopg":
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    error = refused(lambda: Store(PostgreSQL("postgresql://x@127.0.0.1/x", tmp_path / "home")))
    assert error.status == 503 and "pip install 'psycopg[binary]'" in error.message


@pytest.mark.parametrize(
    "url", ["sqlite:///x.db", "mysql://x/y", "postgresql+asyncpg://x/y", "postgresql://h:port/x", ""]
)
def test_an_address_that_is_no_databases_is_refused(url):
    with pytest.raises(ValidationError, match="database"):
        settings.Settings(database=url)
