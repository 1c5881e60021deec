"""The job store alone: a locked, damaged or full file, and the places of deleted jobs."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from atelier.api import store as stores
from atelier.api.errors import ApiError
from atelier.api.settings import Settings
from atelier.api.store import Store

OPEN = Settings()


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    made = Store(tmp_path / "videos.db")
    yield made
    made.close()


def job(number: int, **values) -> dict:
    row = {"id": f"video_{number:032x}", "operation": "generate", "status": "queued", "created_at": 1.0, "model": "m"}
    row |= {"prompt": "x", "settings": {}, "warnings": [], "bytes": 0, "process": "1", "deleted": False}
    return row | {"error": None} | values


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another program holds the write lock."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


def test_a_locked_store_stops_neither_readers_nor_the_event_loop(store, monkeypatch):
    monkeypatch.setattr(stores, "PATIENCE", 1.0)

    async def use() -> tuple[list, float, list]:
        await store.add([job(1)], OPEN)
        with locked(store.file):
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
        with locked(store.file):
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
    monkeypatch.setattr(stores, "PATIENCE", 0.3)
    with locked(store.file), pytest.raises(ApiError) as refused:
        Store(store.file)
    assert refused.value.code == "store_locked"
    Store(store.file).close()


def test_a_damaged_store_is_named(tmp_path):
    (tmp_path / "videos.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(ApiError) as refused:
        Store(tmp_path / "videos.db")
    assert refused.value.code == "store_damaged"
    assert refused.value.message.startswith("videos.db: the job store is damaged") and "/" not in refused.value.message


def test_a_page_of_a_damaged_store_is_named(store):
    asyncio.run(store.add([job(number, prompt="x" * 2000) for number in range(100)], OPEN))
    with sqlite3.connect(store.file) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    content = bytearray(store.file.read_bytes())
    content[4096 * 4 : -4096] = b"\xff" * (len(content) - 4096 * 5)
    store.file.write_bytes(content)
    damaged = Store(store.file)
    with pytest.raises(ApiError) as refused:
        asyncio.run(damaged.page(None, 100, True))
    assert refused.value.code == "store_damaged"
    damaged.close()


def test_a_full_disk_is_said(store):
    with store._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    stores.sql.event.listen(store._engine, "connect", lambda c, _: c.execute(f"PRAGMA max_page_count = {pages}"))
    store._engine.dispose()
    with pytest.raises(ApiError) as refused:
        asyncio.run(store.add([job(number, prompt="x" * 30_000) for number in range(50)], OPEN))
    assert (refused.value.status, refused.value.code) == (507, "disk_full")
    assert asyncio.run(store.page(None, 100, True)) == ([], False), "all or none"


def test_the_place_of_a_deleted_video(store, monkeypatch):
    monkeypatch.setattr(stores, "PLACES", 5)

    async def use() -> list:
        await store.add([job(number) for number in range(20)], OPEN)
        for number in (10, 11, 12, 13, 14, 15):
            await store.forget(job(number)["id"])
        return [
            await store.page(job(number)["id"], 2, newest) for number, newest in ((11, True), (11, False), (10, True))
        ]

    down, up, forgotten = asyncio.run(use())
    assert [row["id"] for row in down[0]] == [job(9)["id"], job(8)["id"]]
    assert [row["id"] for row in up[0]] == [job(16)["id"], job(17)["id"]]
    assert forgotten is None, "only so many are remembered"


def test_an_end_is_noted_once_and_corrected_by_the_owner_alone(store):
    async def use() -> list:
        name = job(1)["id"]
        await store.add([job(1)], OPEN)
        await store.begin(name)
        gone = await store.end(name, False, status="failed", error={"code": stores.GONE, "message": "x"})
        other = await store.end(name, False, status="failed", error={"code": "cancelled", "message": "x"})
        owner = await store.end(name, True, status="completed", error=None, file="video.mp4")
        late = await store.end(name, True, status="failed", error={"code": "cancelled", "message": "x"})
        row = await store.job(name)
        return [gone, other, owner, late, row["status"], row["error"]]

    assert asyncio.run(use()) == [True, False, True, False, "completed", None]


def test_the_quota_counts_what_waits_and_what_comes_in(store):
    limits = Settings(quota_gb=1e-6, max_waiting=3)  # 1000 bytes

    def refused(call) -> tuple[int, str]:
        with pytest.raises(ApiError) as error:
            asyncio.run(call)
        return error.value.status, error.value.code

    over = (403, "quota_exceeded")
    asyncio.run(store.add([job(1, bytes=400)], limits))
    asyncio.run(store.claim("char_a", "1", 500, limits, 0))
    assert refused(store.claim("char_b", "1", 200, limits, 0)) == over
    assert refused(store.add([job(2, bytes=200)], limits)) == over
    character = {"id": "char_a", "name": "x", "created_at": 1.0, "picture": "x"}
    assert refused(store.add_character(character | {"bytes": 700}, limits)) == over
    asyncio.run(store.add_character(character | {"bytes": 600}, limits))  # in the place of its claim
    assert asyncio.run(store.bytes_kept()) == 1000 and asyncio.run(store.claimed("1")) == []
    assert refused(store.add([job(number) for number in (3, 4, 5)], limits)) == (429, "queue_full")
    asyncio.run(store.add([job(3), job(4)], limits))
    assert refused(store.claim("video_x", "1", 0, limits, 1)) == (429, "queue_full")


def test_a_store_of_a_year_answers_at_once(store):
    """What is asked five times a second, and at each POST, does not look at the jobs that have ended."""
    with sqlite3.connect(store.file) as file:
        file.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) INSERT INTO jobs (id, "
            "operation, status, created_at, model, prompt, settings, warnings, bytes, process, deleted) SELECT "
            "'video_' || printf('%032x', i), 'generate', 'completed', i, 'm', 'x', '{}', '[]', 10, '1', 0 FROM n"
        )
    asyncio.run(store.add([job(300_000 + number, bytes=5) for number in range(3)], OPEN))

    async def use() -> tuple[list, float, int]:
        begun = time.monotonic()
        for _ in range(20):
            rows, size = await store.active("1"), await store.bytes_kept()
            await store.stopping("1")
            await store.processes()
        return rows, (time.monotonic() - begun) / 20, size

    rows, seconds, size = asyncio.run(use())
    assert len(rows) == 3 and size == 200_000 * 10 + 15
    assert seconds < 0.06, "looking through all jobs takes 0.4 s"
    asyncio.run(store.change(job(1)["id"], bytes=110))
    asyncio.run(store.forget(job(2)["id"]))
    assert asyncio.run(store.bytes_kept()) == size + 100 - 10


def test_a_store_of_before_is_summed_once(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "MIGRATIONS", stores.MIGRATIONS[:2])
    Store(tmp_path / "videos.db").close()
    with sqlite3.connect(tmp_path / "videos.db") as file:
        file.execute(
            "INSERT INTO jobs (id, operation, status, created_at, model, prompt, settings, warnings, bytes, process, "
            "deleted) VALUES ('video_1', 'generate', 'completed', 1, 'm', 'x', '{}', '[]', 70, '1', 0)"
        )
        file.execute("INSERT INTO characters (id, name, created_at, picture, bytes) VALUES ('char_1', 'x', 1, 'x', 7)")
    monkeypatch.undo()
    store = Store(tmp_path / "videos.db")
    assert asyncio.run(store.bytes_kept()) == 77
    store.close()
