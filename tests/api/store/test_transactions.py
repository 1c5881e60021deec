"""A job store that is locked, damaged or full."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from atelier.api.errors import ApiError
from atelier.api.store import Store, transactions
from atelier.api.store.sqlite import SQLite
from store_rows import OPEN, job


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Another program holds the write lock."""
    engine = store.database.engine(5.0)
    with engine.connect() as other:
        store.database.begin_writing(other, 5.0)
        yield
    engine.dispose()


def test_a_locked_store_stops_neither_readers_nor_the_event_loop(store, monkeypatch):
    monkeypatch.setattr(transactions, "PATIENCE", 1.0)

    async def use() -> tuple[list, float, list]:
        await store.add([job(1)], OPEN)
        with locked(store):
            begun, gaps = time.monotonic(), []
            writing = [asyncio.create_task(store.change(job(1)["id"], stopping=True)) for _ in range(5)]
            while not all(task.done() for task in writing):
                before = time.monotonic()
                assert await store.job(job(1)["id"])
                gaps.append(time.monotonic() - before)
                await asyncio.sleep(0.02)
            return await asyncio.gather(*writing, return_exceptions=True), time.monotonic() - begun, gaps

    ended, waited, gaps = asyncio.run(use())
    assert [(error.status, error.code) for error in ended] == [(503, "store_locked")] * 5
    assert waited < 4.0, "calls that stand behind others wait no longer than those"
    assert max(gaps) < 0.5, "reading waits for nobody"


def test_a_store_that_is_locked_for_a_moment_is_waited_for(store):
    def hold() -> None:
        with locked(store):
            held.set()
            time.sleep(0.5)

    held = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    asyncio.run(store.add([job(1)], OPEN))
    holder.join()
    assert asyncio.run(store.job(job(1)["id"]))["status"] == "queued"


def test_a_store_that_is_locked_when_it_is_opened(store, monkeypatch):
    monkeypatch.setattr(transactions, "PATIENCE", 0.3)
    with locked(store), pytest.raises(ApiError) as refused:
        Store(store.database)
    assert refused.value.code == "store_locked"
    Store(store.database).close()


def test_a_damaged_store_is_named(tmp_path):
    (tmp_path / "videos.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(ApiError) as refused:
        Store(SQLite(tmp_path / "videos.db"))
    assert refused.value.code == "store_damaged"
    assert refused.value.message.startswith("videos.db: the job store is damaged") and "/" not in refused.value.message


def test_a_page_of_a_damaged_store_is_named(file_store):
    asyncio.run(file_store.add([job(number, prompt="x" * 2000) for number in range(100)], OPEN))
    with sqlite3.connect(file_store.database.file) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file_store.close()
    content = bytearray(file_store.database.file.read_bytes())
    content[4096 * 4 : -4096] = b"\xff" * (len(content) - 4096 * 5)
    file_store.database.file.write_bytes(content)
    damaged = Store(file_store.database)
    with pytest.raises(ApiError) as refused:
        asyncio.run(damaged.page(None, 100, True))
    assert refused.value.code == "store_damaged"
    damaged.close()


def test_a_full_disk_is_said(file_store):
    with file_store._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    transactions.sql.event.listen(
        file_store._engine, "connect", lambda c, _: c.execute(f"PRAGMA max_page_count = {pages}")
    )
    file_store._engine.dispose()
    with pytest.raises(ApiError) as refused:
        asyncio.run(file_store.add([job(number, prompt="x" * 30_000) for number in range(50)], OPEN))
    assert (refused.value.status, refused.value.code) == (507, "disk_full")
    assert asyncio.run(file_store.page(None, 100, True)) == ([], False), "all or none"
