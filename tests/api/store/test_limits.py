"""The quota, and what is asked of a large store again and again."""

from __future__ import annotations

import asyncio
import time

import pytest
from atelier.api.errors import ApiError
from atelier.api.settings import Settings
from store_rows import OPEN, job


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
    numbered = {"sqlite": "printf('%032x', i)", "postgresql": "lpad(to_hex(i), 32, '0')"}
    with store._engine.begin() as connection:
        connection.exec_driver_sql(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) INSERT INTO jobs (id, "
            "operation, status, created_at, model, prompt, settings, warnings, bytes, process, deleted) SELECT "
            "'video_' || "
            + numbered[connection.dialect.name]
            + ", 'generate', 'completed', i, 'm', 'x', '{}', '[]', 10, '1', FALSE FROM n"
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
