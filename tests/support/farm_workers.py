"""Workers of a farm in the test's own process, as the head's queue knows them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from atelier.farm import jobs as farm_jobs
from atelier.farm.jobs import Lost, State
from atelier.farm.waiting import Job

SUCCESS = {"outputs": {}, "status": {"status_str": "success", "messages": []}}


async def until(true: Callable[[], bool]) -> None:
    """Wait for a state. Raises TimeoutError if it does not come."""
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.002)


class Machine:
    """A worker. A job ends at once or when a test says so in `held`; `plan` has other fates of the next ones."""

    def __init__(self, name: str, *plan: Exception | dict, at_once: bool = True) -> None:
        self.name, self.plan, self.at_once = name, list(plan), at_once
        self.begun: list[str] = []
        self.held: dict[str, dict | None] = {}
        self.collected: list[str] = []
        self.broken: Exception | None = None
        self.steps = (0, 0, 0, 0)

    async def ready(self) -> dict:
        if self.broken:
            raise self.broken
        return {"jobs": list(self.held)}

    async def begin(self, job: Job) -> None:
        event = self.plan.pop(0) if self.plan else (SUCCESS if self.at_once else None)
        if isinstance(event, Exception):
            raise event
        self.begun.append(job.id)
        self.held[job.id] = event

    async def look(self, job_id: str, version: int) -> State:
        await asyncio.sleep(0.001)
        if job_id not in self.held:
            raise Lost("it does not have the job")
        if isinstance(self.held[job_id], Exception):
            raise self.held[job_id]
        return State(version + 1, self.steps, record=self.held[job_id], files={job_id: 1})

    async def collect(self, state: State) -> None:
        self.collected += state.files

    async def so_far(self, job_id: str, seen: set[int]) -> dict | None:
        if job_id not in self.held:
            raise Lost("it does not have the job")
        return {"version": 7, "seconds": 1.5, "decoded": False, "content": None if 7 in seen else b"webp"}

    async def cancel(self, job_id: str) -> None:
        if self.held.get(job_id, SUCCESS) is None:
            self.held[job_id] = farm_jobs.record_of("execution_interrupted", {})

    async def forget(self, job_id: str) -> None:
        self.held.pop(job_id, None)
