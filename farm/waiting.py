"""The order in which waiting jobs go to free workers. Plain data: the benchmark runs it on days of simulated jobs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

AHEAD = 8
"""How many of the waiting are searched for one whose model is loaded: at most so many go before a job."""


@dataclass
class Job:
    """A filled graph on its way. Times are not kept: the store has them."""

    id: str
    prompt: dict[str, Any]
    extra: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    """The name of the model that it loads first; "" if it loads none."""
    files: tuple[str, ...] = ()
    """The files that it reads, as its graph names them: "atelier/videos/x/y.png [output]"."""
    kept: bool = True
    """Whether it is written to disk, for a head that restarts."""
    group: str = ""
    """The graph on the head whose piece it is; "" for a graph of its own."""
    wanted: bool = True
    """Whether its record is kept when it has ended."""
    worker: str = ""
    """The worker that makes it; "" while it waits."""
    lost: list[str] = field(default_factory=list)
    """Why each attempt was lost."""
    tried: set[str] = field(default_factory=set)
    """Workers that lost it."""
    refused: dict[str, str] = field(default_factory=dict)
    """Worker -> why its ComfyUI refused the graph, e.g. a model that it does not have."""
    cancelled: bool = False
    record: dict[str, Any] | None = None
    """ComfyUI's record, once its files are here."""


class Waiting:
    """Waiting jobs in their order, and free workers with the models that they have loaded."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.live: set[str] = set()
        """All workers that can come back for a job, the busy ones included."""
        self._free: dict[str, str] = {}
        self._warm: dict[str, dict[str, None]] = {}

    def add(self, job: Job, front: bool = False) -> None:
        self.jobs.insert(0 if front else len(self.jobs), job)

    def remove(self, job_id: str) -> Job | None:
        """The job, which no longer waits; None if it did not wait."""
        place = next((place for place, job in enumerate(self.jobs) if job.id == job_id), None)
        return None if place is None else self.jobs.pop(place)

    def free(self, worker: str, model: str) -> None:
        """Record that a worker is free. model: what it has loaded, "" for nothing."""
        self.taken(worker)
        self._free[worker] = model
        self._warm.setdefault(model, {})[worker] = None

    def taken(self, worker: str) -> None:
        """Record that a worker is not free, if it was."""
        model = self._free.pop(worker, None)
        if model is not None:
            del self._warm[model][worker]
            if not self._warm[model]:
                del self._warm[model]

    def next(self) -> tuple[Job, str] | None:
        """The next job and the worker to make it; both leave this object. None if nobody is free for anything.

        Of the first AHEAD jobs that a free worker may make, the first whose model that worker has loaded; else the
        first of them.
        """
        if not self._free:
            return None
        ahead = list(itertools.islice(self._possible(), AHEAD))
        warm = ((place, worker) for place, _ in ahead if (worker := self._warm_for(place)) is not None)
        place, worker = next(warm, ahead[0] if ahead else (None, ""))
        if place is None:
            return None
        self.taken(worker)
        return self.jobs.pop(place), worker

    def stuck(self) -> list[Job]:
        """The jobs that every live worker has refused, which no longer wait."""
        stuck = [job for job in self.jobs if self.live and job.refused and self.live <= job.refused.keys()]
        for job in stuck:
            self.jobs.remove(job)
        return stuck

    def _possible(self) -> Iterator[tuple[int, str]]:
        """(place, a free worker that may make it) in the order of the queue. Workers with nothing loaded first."""
        for place, job in enumerate(self.jobs):
            workers = itertools.chain(self._warm.get("", ()), self._free)
            worker = next((name for name in workers if self._may(job, name)), None)
            if worker is not None:
                yield place, worker

    def _warm_for(self, place: int) -> str | None:
        job = self.jobs[place]
        return next((name for name in self._warm.get(job.model, ()) if self._may(job, name)), None)

    def _may(self, job: Job, worker: str) -> bool:
        """Whether a worker may make a job: it did not refuse it, and did not lose it unless all others did, too."""
        if worker in job.refused:
            return False
        return worker not in job.tried or self.live <= job.tried | job.refused.keys()
