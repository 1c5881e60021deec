"""Simulates days of a studio through the farm's own queue, with workers that only take time, and a million clips a day.

Shots come in bursts of four through a ten-hour day with a busy hour before noon and one before the end; seven in ten
use the first model, the rest one of three others. A clip takes 42 to 78 seconds, another model 30 more. The queue is
`farm.jobs.Farm`; only the clock is not real. Its files on disk are measured by themselves.
"""

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure

HOURS = (0.6, 1.0, 1.8, 0.5, 0.9, 1.0, 1.0, 1.2, 1.6, 0.4)
"""How busy each hour of the day is."""
TAKES, MODELS, SERVICE, LOAD = 4, 4, 60.0, 30.0
SIZES = {1_000: ((3, 4, 5), 3), 10_000: ((30,), 1)}
"""Clips a day -> numbers of workers, and how many days are simulated."""
MOST_WAIT = {(1_000, 5): 120.0, (10_000, 30): 300.0}
"""(clips, workers) -> seconds that nine in ten jobs may wait."""
MILLION, CROWD, STRETCH = 1_000_000, 2_100, 30.0
"""Clips a day, workers, and the simulated seconds of the mean hour in which the head's computing is measured."""
BACKLOG = 20_000
"""Jobs that wait while single calls are measured."""
ROUNDS = 20
SUCCESS = {"outputs": {}, "status": {"status_str": "success", "messages": []}}


class Simulation(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next thing to do. Calls in threads are made at once."""

    def __init__(self) -> None:
        super().__init__()
        self._now, select = 0.0, self._selector.select

        def jump(timeout: float | None) -> list:
            self._now += timeout or 0.0
            return select(0)

        self._selector.select = jump

    def time(self) -> float:
        return self._now

    def run_in_executor(self, executor: Any, call: Callable, *arguments: Any) -> asyncio.Future:
        future = self.create_future()
        future.set_result(call(*arguments))
        return future


@dataclass
class Day:
    """What became of the jobs: waits in seconds, how often a model was loaded, seconds of the head's computing."""

    waits: list[float] = field(default_factory=list)
    came: dict[str, float] = field(default_factory=dict)
    loads: int = 0
    spent: float = 0.0


class Machine:
    """A worker, as `jobs.Hand`. looks: seconds between two looks at a job; None: one look, when it has ended."""

    def __init__(self, name: str, farm: Any, day: Day, draw: random.Random, looks: float | None) -> None:
        self.name, self._farm, self._day, self._draw, self._looks = name, farm, day, draw, looks
        self._model, self._end = "", 0.0

    async def ready(self) -> dict[str, Any]:
        return {"jobs": []}

    async def begin(self, job: Any) -> None:
        now, cold = asyncio.get_running_loop().time(), self._model != job.model
        self._day.waits.append(now - self._day.came.pop(job.id))
        self._day.loads += cold
        self._model, self._end = job.model, now + SERVICE * self._draw.uniform(0.7, 1.3) + LOAD * cold

    async def look(self, job_id: str, version: int) -> Any:
        from atelier.farm.jobs import State

        left = self._end - asyncio.get_running_loop().time()
        await asyncio.sleep(left if self._looks is None else max(0.0, min(left, self._looks)))
        ended = self._end - asyncio.get_running_loop().time() <= 1e-6
        return State(version + 1, record=SUCCESS if ended else None)

    async def collect(self, state: Any) -> None: ...

    async def cancel(self, job_id: str) -> None: ...

    async def forget(self, job_id: str) -> None:
        self._farm.settled(job_id)  # as the API's runner does
        self._farm.forget(job_id)


def simulated(
    shots: list[tuple[float, str]], workers: int, seed: int, *, looks: float | None = None, kept=False
) -> Day:
    """What becomes of shots, (second, model) each, on so many workers. kept: jobs are written to disk, as on a head."""
    from atelier.farm.jobs import Farm
    from atelier.farm.spool import Spool

    async def through() -> Day:
        day, draw, farm = Day(), random.Random(seed), Farm(Spool(Path(folder)))
        for number in range(workers):
            farm.join(Machine(f"w{number}", farm, day, draw, looks))
        await asyncio.sleep(0)
        begun = time.process_time()
        for number, (at, model) in enumerate(sorted(shots)):
            await asyncio.sleep(at - asyncio.get_running_loop().time())
            for take in range(TAKES):
                await _submit(farm, day, f"{number}-{take}", model, kept)
        while day.came or farm.running:
            await asyncio.sleep(SERVICE)
        day.spent = time.process_time() - begun
        await farm.close()
        return day

    loop = Simulation()
    with tempfile.TemporaryDirectory(prefix="atelier-farm-") as folder:
        try:
            return loop.run_until_complete(through())
        finally:
            loop.close()


async def _submit(farm: Any, day: Day, name: str, model: str, kept: bool) -> None:
    from atelier.farm.waiting import Job

    day.came[name] = asyncio.get_running_loop().time()
    await farm.submit(Job(name, {"1": {"class_type": "X", "inputs": {"text": "x" * 2000}}}, model=model, kept=kept))


def shots_of(clips: int, seed: int) -> list[tuple[float, str]]:
    """The shots of a day with so many clips."""
    draw = random.Random(seed)
    return [
        ((draw.choices(range(len(HOURS)), HOURS)[0] + draw.random()) * 3600, _model(draw))
        for _ in range(clips // TAKES)
    ]


def _model(draw: random.Random) -> str:
    return str(0 if draw.random() < 0.7 else draw.randrange(1, MODELS))


def days() -> list[Figure]:
    """Waits by number of workers at 1,000 and at 10,000 clips a day, and the head's computing at a million."""
    figures = []
    for clips, (sizes, count) in SIZES.items():
        for workers in sizes:
            results = [simulated(shots_of(clips, seed), workers, seed) for seed in range(count)]
            waits = [sorted(each.waits) for each in results]
            most = tuple(each[int(0.9 * len(each))] for each in waits)
            half = statistics.median(each[len(each) // 2] for each in waits)
            loads = statistics.mean(each.loads for each in results)
            spent = sum(each.spent for each in results) / (count * clips) * 1000
            note = f"nine in ten; half wait up to {half:.0f} s; {loads:.0f} loads; {spent:.2f} ms a job"
            target = MOST_WAIT.get((clips, workers))
            figures.append(Figure(f"farm, {clips} on {workers}", most, target, " s", note=note))
    return [*figures, *_a_million(), *_backlog()]


def _a_million() -> list[Figure]:
    """The share of one processor that the head computes in the mean hour of a million clips a day."""
    draw = random.Random(0)
    count = int(MILLION / len(HOURS) / 3600 * STRETCH / TAKES)
    shots = [(draw.uniform(0, STRETCH), _model(draw)) for _ in range(count)]
    files, once = simulated(shots, CROWD, 0, kept=True).spent, simulated(shots, CROWD, 0).spent
    each = simulated(shots, CROWD, 0, looks=1.0).spent - once
    looks = count * TAKES * (SERVICE + LOAD / 4)
    a_second = MILLION / len(HOURS) / 3600
    share = 100 * files / (count * TAKES) * a_second
    return [
        Figure(
            "farm, 10^6, jobs", (share,), None, " %", note=f"of a processor: order and files, {a_second:.0f} a second"
        ),
        Figure("farm, 10^6, looks", (100 * each / looks * CROWD,), None, " %", note=f"without Ray, {CROWD} a second"),
    ]


def _backlog() -> list[Figure]:
    """Milliseconds of single calls while many jobs wait, and seconds to find them all after a restart."""
    from atelier.farm.jobs import Farm
    from atelier.farm.spool import Spool
    from atelier.farm.waiting import Job

    with tempfile.TemporaryDirectory(prefix="atelier-farm-") as folder:
        farm = Farm(Spool(Path(folder)))

        async def fill() -> None:
            for number in range(BACKLOG):
                await farm.submit(Job(str(number), {}, model=str(number % MODELS)))

        begun, loop = time.perf_counter(), Simulation()
        loop.run_until_complete(fill())
        loop.close()
        filled = (time.perf_counter() - begun) / BACKLOG * 1000
        line = farm.waiting
        line.live = {f"w{number}" for number in range(CROWD)}
        calls = {
            "queue": lambda number: (farm.at_work(), tuple(job.id for job in line.jobs)),
            "decision": lambda number: (line.free(f"w{number}", str(number % MODELS)), line.next()),
            "cancel": lambda number: farm.withdraw(str(BACKLOG - 1 - number)),
        }
        timed = {name: tuple(_milliseconds(call)) for name, call in calls.items()}
        begun = time.perf_counter()
        found = len(Spool(Path(folder)).load())
        restart = time.perf_counter() - begun
    note = f"{BACKLOG} jobs wait"
    return [
        Figure("farm, backlog, submit", (filled,), None, " ms", note="a job to its file"),
        *(Figure(f"farm, backlog, {name}", spent, None, " ms", note=note) for name, spent in timed.items()),
        Figure("farm, backlog, restart", (restart,), None, " s", note=f"{found} jobs read from their files"),
    ]


def _milliseconds(call: Callable[[int], Any]) -> list[float]:
    spent = []
    for number in range(ROUNDS):
        begun = time.perf_counter()
        call(number)
        spent.append((time.perf_counter() - begun) * 1000)
    return spent
