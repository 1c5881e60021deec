"""Simulates days of a studio through the farm's own order of jobs, with workers that only take time.

Shots come in bursts of four through a ten-hour day with a busy hour before noon and one before the end; seven in ten
use the first model, the rest one of three others. A clip takes 42 to 78 seconds, another model 30 more.
"""

import heapq
import random
import statistics
import time
from dataclasses import dataclass

from benchmarks.figure import Figure

HOURS = (0.6, 1.0, 1.8, 0.5, 0.9, 1.0, 1.0, 1.2, 1.6, 0.4)
"""How busy each hour of the day is."""
TAKES, MODELS, SERVICE, LOAD = 4, 4, 60.0, 30.0
DAYS = 5
SIZES = {1_000: (3, 4, 5), 10_000: (30,)}
"""Clips a day -> numbers of workers."""
MOST_WAIT = {(1_000, 5): 120.0, (10_000, 30): 300.0}
"""(clips, workers) -> seconds that nine in ten jobs may wait."""
BACKLOG = 1_000
"""Jobs that wait while the time of one decision is measured."""


@dataclass(frozen=True)
class Day:
    """What became of a day: the jobs' waits in seconds, how often a model was loaded, seconds of computing."""

    waits: list[float]
    loads: int
    spent: float


def day(clips: int, workers: int, seed: int) -> Day:
    """A day of `clips` on `workers`, in the order that the farm gives them."""
    from atelier.farm.waiting import Job, Waiting

    draw, line, waits, loads = random.Random(seed), Waiting(), [], 0
    events = [(0.0, number, "free", f"w{number}", "") for number in range(workers)]
    line.live = {event[3] for event in events}
    for shot in range(clips // TAKES):
        at = (draw.choices(range(len(HOURS)), HOURS)[0] + draw.random()) * 3600
        model = str(0 if draw.random() < 0.7 else draw.randrange(1, MODELS))
        events += [(at, TAKES * shot + take, "came", f"{shot}-{take}", model) for take in range(TAKES)]
    heapq.heapify(events)
    came, loaded, begun = {}, {}, time.perf_counter()
    while events:
        now, _, what, name, model = heapq.heappop(events)
        if what == "came":
            came[name] = now
            line.add(Job(name, {}, model=model))
        else:
            line.free(name, model)
        while (pair := line.next()) is not None:
            job, worker = pair
            waits.append(now - came.pop(job.id))
            cold = loaded.get(worker) != job.model
            loaded[worker] = job.model
            loads += cold
            ends = now + SERVICE * draw.uniform(0.7, 1.3) + LOAD * cold
            heapq.heappush(events, (ends, len(waits), "free", worker, job.model))
    return Day(waits, loads, time.perf_counter() - begun)


def farm() -> list[Figure]:
    """Waits by number of workers, at 1,000 and at 10,000 clips a day, and milliseconds for one decision."""
    figures = []
    for clips, sizes in SIZES.items():
        for workers in sizes:
            days = [day(clips, workers, seed) for seed in range(DAYS)]
            waits = [sorted(each.waits) for each in days]
            most = tuple(each[int(0.9 * len(each))] for each in waits)
            half = statistics.median(each[len(each) // 2] for each in waits)
            loads = statistics.mean(each.loads for each in days)
            spent = sum(each.spent for each in days) / (DAYS * clips) * 1000
            note = f"half wait up to {half:.0f} s; {loads:.0f} loads; {spent:.2f} ms a job"
            name = f"farm, {clips} on {workers}"
            figures.append(Figure(name, most, MOST_WAIT.get((clips, workers)), " s", note=f"nine in ten; {note}"))
    return [*figures, Figure("farm, decision", tuple(_decisions()), 20, " ms", note=f"{BACKLOG} jobs wait")]


def _decisions() -> list[float]:
    """Milliseconds to find the next job for a worker while many wait, in a farm of 2,100."""
    from atelier.farm.waiting import Job, Waiting

    line = Waiting()
    line.live = {f"w{number}" for number in range(2_100)}
    for number in range(BACKLOG):
        line.add(Job(str(number), {}, model=str(number % MODELS)))
    spent = []
    for number in range(200):
        begun = time.perf_counter()
        line.free(f"w{number}", str(number % MODELS))
        assert line.next() is not None
        spent.append((time.perf_counter() - begun) * 1000)
    return spent
