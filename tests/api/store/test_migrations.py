"""Stores that an older Atelier wrote, and those of a newer one."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from atelier.api.store import Store, StoreTooNew
from atelier.api.store.migrations import MIGRATIONS
from atelier.api.store.sqlite import SQLite
from store_rows import OPEN, job

HERE = Path(__file__).parent
TABLES = ("jobs", "characters", "claims", "desk", "kept")


def rows_of(file: Path) -> dict[str, list[dict]]:
    """Every row of an old store by table, with the values as they are in the file."""
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        tables = [table for table in TABLES if table in there]
        return {table: [dict(row) for row in connection.execute(f"SELECT * FROM {table}")] for table in tables}


@pytest.mark.parametrize("version", [1, 4])
def test_an_old_store_keeps_every_row(tmp_path, version):
    file = tmp_path / "videos.db"
    with closing(sqlite3.connect(file)) as old:
        old.executescript((HERE / f"of_version_{version}.sql").read_text(encoding="utf-8"))
    before = rows_of(file)
    for _ in range(2):  # the second time there is nothing to do
        store = Store(SQLite(file))
        assert not store.new
        store.close()
        after = rows_of(file)
        for table, rows in before.items():
            kept = [{name: row[name] for name in old} for old, row in zip(rows, after[table], strict=True)]
            assert kept == rows, table
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_store_of_the_first_version_is_summed_once(tmp_path):
    with closing(sqlite3.connect(tmp_path / "videos.db")) as old:
        old.executescript((HERE / "of_version_1.sql").read_text(encoding="utf-8"))
    store = Store(SQLite(tmp_path / "videos.db"))
    video = asyncio.run(store.job("video_1"))
    assert asyncio.run(store.bytes_kept()) == 77
    assert (video["settings"], video["bytes"], video["stopping"]) == ({"size": "1x1"}, 70, False)
    store.close()


def test_a_store_with_places_goes_on_in_its_order(tmp_path):
    """The places of deleted videos are numbered in the order of their deletion, and new jobs follow the old ones."""
    with closing(sqlite3.connect(tmp_path / "videos.db")) as old:
        old.executescript((HERE / "of_version_4.sql").read_text(encoding="utf-8"))
    store = Store(SQLite(tmp_path / "videos.db"))

    async def use() -> tuple:
        await store.add([job(20)], OPEN)
        await store.forget(job(20)["id"])
        await store.add([job(21)], OPEN)
        return await store.page(job(8)["id"], 10, True), await store.page(job(20)["id"], 10, False), await store.desk(0)

    down, up, desk = asyncio.run(use())
    assert [row["id"] for row in down[0]] == [job(number)["id"] for number in (4, 3, 2, 1)]
    assert [row["id"] for row in up[0]] == [job(21)["id"]]
    assert desk == (2, {"video/a": {"name": "one"}})
    store.close()
    with closing(sqlite3.connect(tmp_path / "videos.db")) as connection:
        places = [seq for (seq,) in connection.execute("SELECT seq FROM places ORDER BY number")]
    assert places == [8, 6, 7, 9]


def test_a_store_of_a_newer_atelier_is_left_alone(store):
    with store._engine.begin() as connection:
        store.database.set_version(connection, 999)
    with pytest.raises(StoreTooNew, match="999"):
        Store(store.database)
    with store._engine.connect() as connection:
        assert store.database.version(connection) == 999
