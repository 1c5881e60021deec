"""What the API says of a farm's jobs whose workers are lost: the runner and the store over workers of this process."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest
from atelier.api.graphs import comfy_queue
from atelier.api.graphs.farm_queue import FarmQueue
from atelier.api.jobs import runner as runner_module
from atelier.api.jobs.processes import Processes
from atelier.api.jobs.runner import Runner, prompt_id
from atelier.api.store import Store
from atelier.api.store.sqlite import SQLite
from atelier.farm import jobs as farm_jobs
from atelier.farm.jobs import Farm, Lost
from atelier.farm.spool import Spool
from farm_workers import Machine
from store_rows import job

GRAPH = {"1": {"class_type": "X", "inputs": {}}}


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    async def accepted(*_) -> None: ...

    monkeypatch.setattr(comfy_queue, "check", accepted)  # there is no ComfyUI to ask
    monkeypatch.setattr(runner_module, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(farm_jobs, "LOOK_AGAIN", 0.01)


class NoMachines:
    """In a Cluster's place: the tests' workers join by themselves."""

    def watch(self) -> None: ...


class Head:
    """A head's store, queue and runner in a folder, with one job after the other."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.store, self.farm = store, Farm(Spool(folder / "jobs"))
        self.processes = Processes(folder / "videos.lock")
        self.queue = FarmQueue(self.farm, NoMachines(), "127.0.0.1:1")
        self.runner = Runner(store, self.processes, self.queue)

    async def create(self, *numbers: int) -> list[str]:
        rows = [job(number, process=self.processes.own) for number in numbers]
        await self.runner.queue(rows, [GRAPH] * len(rows), [{}] * len(rows))
        return [row["id"] for row in rows]

    async def shown(self, name: str) -> dict:
        """A job as the API shows it."""
        row = await self.store.row(name)
        return row | self.runner.live([row])[0]

    async def until(self, name: str, **expected) -> dict:
        async with asyncio.timeout(20):
            while not expected.items() <= (video := await self.shown(name)).items():
                await asyncio.sleep(0.005)
        return video

    async def close(self) -> None:
        self.runner._watch.cancel()
        await self.farm.close()
        self.processes.close()


def lose(machine: Machine, name: str) -> None:
    machine.held[prompt_id(name)] = Lost("its ComfyUI ended")


def test_a_job_that_waits_again_is_queued_again_and_says_why(tmp_path):
    async def scenario(head: Head) -> None:
        one = Machine("one", at_once=False)
        head.farm.join(one)
        first, second = await head.create(1, 2)
        one.steps = (12, 30, 12, 30)
        video = await head.until(first, status="in_progress", progress=40, step=12)
        assert video["started_at"] and (await head.shown(second))["queue_position"] == 1
        one.broken = Lost("its ComfyUI does not start")
        lose(one, first)
        video = await head.until(first, status="queued", progress=0, queue_position=1)
        assert video["started_at"] is None and video["step"] is None
        assert (await head.shown(second))["queue_position"] == 2
        assert video["warnings"] == ["Attempt 1 was lost, and the video is begun again. one: its ComfyUI ended."]
        two, three = (Machine(name, at_once=False) for name in ("two", "three"))
        two.steps, three.steps = (3, 30, 3, 30), (6, 30, 6, 30)
        head.farm.join(two)
        video = await head.until(first, status="in_progress", progress=10)
        assert video["started_at"] and len(video["warnings"]) == 1
        head.farm.join(three)
        await head.until(second, status="in_progress", progress=20)
        head.farm.join(Machine("four", at_once=False))  # another is free: the job does not wait in between
        lose(two, first)
        video = await head.until(first, status="in_progress", progress=0)
        assert "Attempt 2 was lost" in video["warnings"][1] and len(video["warnings"]) == 2
        assert (await head.shown(second))["warnings"] == []
        await head.close()

    with closing(Store(SQLite(tmp_path / "videos.db"))) as store:
        asyncio.run(scenario(Head(tmp_path, store)))


def test_a_running_job_that_a_restarted_head_finds_waiting_is_queued(tmp_path):
    async def scenario(store: Store) -> None:
        before, one = Head(tmp_path, store), Machine("one", at_once=False)
        before.farm.join(one)
        (name,) = await before.create(3)
        await before.until(name, status="in_progress")
        before.runner._watch.cancel()  # the head dies before it can say that the job waits again
        one.broken = Lost("its ComfyUI does not start")
        lose(one, name)
        async with asyncio.timeout(20):
            while '"worker": ""' not in "".join(file.read_text() for file in (tmp_path / "jobs").glob("*.json")):
                await asyncio.sleep(0.005)
        await before.close()
        after = Head(tmp_path, store)
        await after.runner.recover()
        video = await after.until(name, status="queued", queue_position=1)
        assert video["started_at"] is None and "Attempt 1 was lost" in video["warnings"][0]
        await after.close()

    with closing(Store(SQLite(tmp_path / "videos.db"))) as store:
        asyncio.run(scenario(store))


def test_what_is_there_of_a_clip_comes_from_the_worker_that_makes_it(tmp_path):
    async def scenario(head: Head) -> None:
        one = Machine("one", at_once=False)
        head.farm.join(one)
        made, waiting = await head.create(4, 5)
        await head.until(made, status="in_progress")
        clip = await head.queue.so_far(prompt_id(made), {6})
        assert (clip.version, clip.seconds, clip.decoded, clip.content) == (7, 1.5, False, b"webp")
        assert (await head.queue.so_far(prompt_id(made), {7})).content is None
        assert await head.queue.so_far(prompt_id(waiting), set()) is None
        one.held.clear()
        assert await head.queue.so_far(prompt_id(made), set()) is None
        await head.close()

    with closing(Store(SQLite(tmp_path / "videos.db"))) as store:
        asyncio.run(scenario(Head(tmp_path, store)))
