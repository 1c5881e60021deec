"""The places of deleted jobs, and the ends of jobs."""

from __future__ import annotations

import asyncio

from atelier.api.store import GONE, jobs
from store_rows import OPEN, job


def test_the_place_of_a_deleted_video(store, monkeypatch):
    monkeypatch.setattr(jobs, "PLACES", 5)

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
        gone = await store.end(name, False, status="failed", error={"code": GONE, "message": "x"})
        other = await store.end(name, False, status="failed", error={"code": "cancelled", "message": "x"})
        owner = await store.end(name, True, status="completed", error=None, file="video.mp4")
        late = await store.end(name, True, status="failed", error={"code": "cancelled", "message": "x"})
        row = await store.job(name)
        return [gone, other, owner, late, row["status"], row["error"]]

    assert asyncio.run(use()) == [True, False, True, False, "completed", None]
