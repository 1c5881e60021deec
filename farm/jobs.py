"""The head's queue: jobs go to free workers, come back finished, and are made elsewhere if their worker is lost.

It knows workers by what they answer (`Hand`), not by how they are reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from .spool import Spool
from .waiting import Job, Waiting

Json = dict[str, Any]

ATTEMPTS = 3
"""How often a job is begun before it fails."""
LOOK_AGAIN = 1.0
"""Seconds after which a worker that could not get ready is asked again; doubled each time, up to REST."""
REST = 120.0
ROOM_WITHIN = 3600.0
"""Seconds that a finished clip waits on its worker for a head that cannot keep it, because its disk is full or gone."""
MISSING_AFTER = 60.0
"""Seconds that a head that has restarted waits for the worker of a running job before it has the job made elsewhere."""
ELSEWHERE = ("OutOfMemory", "out of memory", "[Errno 28]", "No space left on device")
"""Parts of a node's error that are the machine's fault, not the graph's: the job is made elsewhere."""


class FarmError(Exception):
    """The farm cannot be used, in words for its owner."""


class Lost(Exception):
    """The worker cannot finish the job, in words; another may. about: what it says of its machine all the same."""

    def __init__(self, reason: str, about: Json | None = None) -> None:
        super().__init__(reason)
        self.about = about or {}


class NotBegun(Lost):
    """The worker had no ComfyUI to give the job to. That is no attempt."""


class Refused(Exception):
    """The worker's ComfyUI refused the graph, in words."""


@dataclass
class State:
    """How far a job is. record: ComfyUI's record once it has ended; files: what it saved, by name, with sizes."""

    version: int = 0
    steps: tuple[float, float, int, int] = (0, 0, 0, 0)
    preview: bytes | None = None
    record: Json | None = None
    files: dict[str, int] = field(default_factory=dict)


class Hand(Protocol):
    """A worker, as the head reaches it. Every call may raise Lost."""

    name: str

    async def ready(self) -> Json:
        """Wait until its ComfyUI answers. Returns what it is: gpu, memory, and "jobs", the ids that it still holds."""

    async def begin(self, job: Job) -> None:
        """Send a job and its files. Raises Refused, NotBegun, OSError for a file that is not here."""

    async def look(self, job_id: str, version: int) -> State:
        """The state of a job as soon as it is newer than `version`, or after a second."""

    async def collect(self, state: State) -> None:
        """Bring a job's files into this machine's folders, whole and checked. Raises Lost if one is unusable, OSError
        if this machine cannot keep them."""

    async def so_far(self, job_id: str, seen: set[int]) -> Json | None:
        """The part of a running job's clip that is there, as the fields of `media.so_far.Animation`."""

    async def cancel(self, job_id: str) -> None: ...

    async def forget(self, job_id: str) -> None: ...


@dataclass
class Seat:
    """A worker in the farm, and what the Farm page shows of it."""

    hand: Hand
    about: Json = field(default_factory=dict)
    state: str = "starting"
    """starting, idle, busy, or resting after it could not get ready."""
    model: str = ""
    job: str = ""
    error: str = ""
    made: int = 0
    draining: bool = False
    task: asyncio.Task | None = None
    turn: asyncio.Future | None = None


class Farm:
    """The queue of a farm. Call it in one event loop only."""

    def __init__(self, spool: Spool) -> None:
        self.waiting, self.running, self.records = Waiting(), {}, {}
        self.states: dict[str, State] = {}
        self.seats: dict[str, Seat] = {}
        self._spool = spool
        self._found = {job.id: job for job in spool.load()}
        self._missing: dict[str, Job] = {}
        """Jobs of before a restart that a worker has, or had: it has not answered yet."""
        self._tasks: set[asyncio.Task] = set()
        self._until = 0.0

    # The queue

    async def submit(self, job: Job, front: bool = False) -> None:
        """Queue a job. Raises OSError if it cannot be written to disk."""
        await asyncio.to_thread(self._spool.add, job)
        self.waiting.add(job, front)
        self._match()

    def withdraw(self, job_id: str) -> bool:
        """Remove a waiting job, or cancel a running one. Returns whether it was waiting."""
        if self.waiting.remove(job_id) is not None:
            self._spool.remove(job_id)
            return True
        job = self.running.get(job_id) or self._missing.get(job_id)
        if job is not None and not job.cancelled:
            job.cancelled = True
            if seat := self.seats.get(job.worker):
                self._spawn(_quietly(seat.hand.cancel(job_id)))
        return False

    def has_room(self, group: str) -> bool:
        """Whether a worker is free, or pieces of this graph are made or wait."""
        mates = (job.group == group for job in (*self.running.values(), *self.waiting.jobs))
        return any(seat.state == "idle" for seat in self.seats.values()) or any(mates)

    def drop(self, job: Job) -> None:
        """Nobody wants this job any more, whatever has become of it."""
        job.wanted = False
        self.withdraw(job.id)
        self.forget(job.id)

    def at_work(self) -> frozenset[str]:
        """The jobs that workers make now, those included whose workers have not answered yet after a restart."""
        return frozenset((*self.running, *self._missing))

    async def so_far(self, job_id: str, seen: set[int]) -> Json | None:
        """The part of a job's clip that its worker has; None if there is none. See `Hand.so_far`."""
        job = self.running.get(job_id)
        seat = self.seats.get(job.worker) if job else None
        with contextlib.suppress(Lost):  # which its `look` will meet, too
            return await seat.hand.so_far(job_id, seen) if seat else None

    def losses(self, job_id: str) -> tuple[str, ...]:
        """Why each attempt at a job that runs or waits was lost."""
        job = self.running.get(job_id) or self._missing.get(job_id)
        job = job or next((each for each in self.waiting.jobs if each.id == job_id), None)
        return tuple(job.lost) if job else ()

    def forget(self, job_id: str) -> None:
        self.records.pop(job_id, None)

    # A restart

    def recover(self, job_id: str) -> bool:
        """Take over a job of before a restart. Returns whether there is one."""
        job = self._found.pop(job_id, None)
        if job is None:
            return False
        if job.record is not None:
            self.records[job_id] = job.record
        elif job.worker:
            self._missing[job_id] = job
        else:
            self.waiting.add(job)
        return True

    def start(self) -> None:
        """Forget the jobs of before a restart that were not taken over, and expect the workers of the others."""
        for job_id in self._found:
            self._spool.remove(job_id)
        self._found, self._until = {}, time.monotonic() + MISSING_AFTER
        if self._missing:
            self._spawn(self._miss())
        self._match()

    async def _miss(self) -> None:
        """Have the jobs made elsewhere whose workers have not come back in time."""
        await asyncio.sleep(MISSING_AFTER)
        for job in list(self._missing.values()):
            self._lost(self._missing.pop(job.id), "it did not come back after the head had restarted")

    # Workers

    def join(self, hand: Hand) -> None:
        """Give work to a worker from now on."""
        seat = self.seats[hand.name] = Seat(hand)
        self.waiting.live.add(hand.name)
        seat.task = self._spawn(self._serve(seat))

    def drain(self, name: str) -> None:
        """Give no more jobs to a worker. What it makes now is finished."""
        self.seats[name].draining = True
        self.waiting.taken(name)
        self.waiting.live.discard(name)
        turn = self.seats[name].turn
        if turn and not turn.done():  # else it has just got a job
            turn.set_result(None)
        self._give_up()

    def resume(self, name: str) -> None:
        """Give work to a drained worker again."""
        seat = self.seats[name]
        if seat.draining and seat.job:  # it goes on behind that one
            seat.draining = False
            self.waiting.live.add(name)
        elif seat.draining:
            self.join(seat.hand)

    def leave(self, name: str, reason: str) -> None:
        """Forget a worker. Its job is made elsewhere."""
        seat = self.seats.pop(name, None)
        if seat is None:
            return
        self.waiting.taken(name)
        self.waiting.live.discard(name)
        seat.task.cancel()
        for job in [job for job in (*self.running.values(), *self._missing.values()) if job.worker == name]:
            self._missing.pop(job.id, None)
            self._lost(job, reason)
        self._give_up()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, coroutine) -> asyncio.Task:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # One worker's life

    async def _serve(self, seat: Seat) -> None:
        rest = LOOK_AGAIN
        while not seat.draining:
            seat.state = "starting"
            try:
                seat.about = await seat.hand.ready()
                await self._reunite(seat)
            except Lost as error:
                seat.about |= error.about
                self._note(seat, str(error), "resting")
                if rest > 4 * LOOK_AGAIN:
                    self.waiting.live.discard(seat.hand.name)
                    self._give_up()
                await asyncio.sleep(rest)
                rest = min(REST, rest * 2)
                continue
            if seat.draining:
                break
            self.waiting.live.add(seat.hand.name)
            job = await self._turn(seat)
            if job is None:
                break
            try:
                begun = await self._attempt(seat, job, True)
            except Exception as error:  # ours: the worker's loop must outlive it, and the job must not hang
                logging.exception("Atelier: the farm could not follow a job on %s", seat.hand.name)
                begun = False
                self._lost(job, f"the head failed ({type(error).__name__})")
            rest = LOOK_AGAIN if begun else min(REST, rest)
            seat.job = ""
        seat.state = "drained"

    async def _reunite(self, seat: Seat) -> None:
        """Sort out the jobs that a worker holds from before: ours go on, others are cancelled and forgotten."""
        name, held = seat.hand.name, seat.about["jobs"]
        for job in [job for job in self._missing.values() if job.worker == name and job.id not in held]:
            self._lost(self._missing.pop(job.id), "the worker restarted")
        for job_id in held:
            job = self._missing.get(job_id)
            if job is not None and job.worker == name:
                del self._missing[job_id]
                seat.model = job.model
                if job.cancelled:
                    await seat.hand.cancel(job_id)
                await self._attempt(seat, job, False)
            elif job_id not in self.running:
                await _quietly(seat.hand.cancel(job_id))
                await _quietly(seat.hand.forget(job_id))

    async def _turn(self, seat: Seat) -> Job | None:
        """Wait for a job for this worker. None if it is drained meanwhile."""
        seat.state, seat.turn = "idle", asyncio.get_running_loop().create_future()
        self.waiting.free(seat.hand.name, seat.model)
        self._match()
        try:
            return await seat.turn
        finally:
            seat.turn = None

    def _match(self) -> None:
        """Hand waiting jobs to free workers."""
        while (pair := self.waiting.next()) is not None:
            job, name = pair
            seat = self.seats[name]
            seat.state, seat.job, job.worker = "busy", job.id, name
            self.running[job.id] = job
            seat.turn.set_result(job)

    def _give_up(self) -> None:
        """Fail the jobs that no worker can make. Called after a worker refused a job, or left."""
        for job in self.waiting.stuck():
            self._fail(
                job, "No worker can make it. " + " ".join(f"{w}: {why.rstrip('.')}." for w, why in job.refused.items())
            )

    async def _attempt(self, seat: Seat, job: Job, begin: bool) -> bool:
        """Have a job made. Returns False if the worker lost it."""
        seat.state, seat.job, name = "busy", job.id, seat.hand.name
        self.running[job.id] = job
        try:
            if begin and job.cancelled:
                self._again(job)
                return True
            await self._kept(seat, job, lambda: self._save(job))
            if begin:
                await seat.hand.begin(job)
            seat.model = job.model
            if job.cancelled:
                await seat.hand.cancel(job.id)
            state = await self._follow(seat, job)
            if problem := _machines_fault(state.record):
                raise Lost(problem)
            await self._kept(seat, job, lambda: seat.hand.collect(state))
            job.record = state.record
            await self._kept(seat, job, lambda: self._save(job))
            self._end(job, state.record)
            seat.made += state.record["status"]["status_str"] == "success"
        except Refused as error:
            job.refused[name] = str(error)
            self._again(job)
            self._give_up()
        except NotBegun as error:
            self._note(seat, str(error), "starting")
            self._again(job)
            return False
        except Lost as error:
            self._note(seat, str(error), "starting")
            seat.model = ""
            self._lost(job, str(error))
            await _quietly(seat.hand.cancel(job.id))
            await _quietly(seat.hand.forget(job.id))
            return False
        except OSError as error:  # of this machine: another attempt would meet it, too
            if job.cancelled:
                self._end(job, record_of("execution_interrupted", {}))
            else:
                self._fail(job, f"[Errno {error.errno}] {error.strerror}")
        await _quietly(seat.hand.forget(job.id))
        return True

    async def _save(self, job: Job) -> None:
        await asyncio.to_thread(self._spool.save, job)

    async def _kept(self, seat: Seat, job: Job, keep: Callable[[], Awaitable[None]]) -> None:
        """Write something of a job to this machine's disk, and try again while that is full or gone: the worker has it.

        Raises OSError after ROOM_WITHIN seconds, or if the job is cancelled meanwhile.
        """
        until, trouble = time.monotonic() + ROOM_WITHIN, ""
        while True:
            try:
                await keep()
                seat.error = "" if seat.error == trouble else seat.error
                return
            except OSError as error:
                if job.cancelled or time.monotonic() > until:
                    raise
                trouble = f"the head cannot keep its job, and tries again: {error.strerror or type(error).__name__}"
                self._note(seat, trouble, "busy")
            await asyncio.sleep(LOOK_AGAIN)

    async def _follow(self, seat: Seat, job: Job) -> State:
        """Look after a running job until it has ended."""
        state = State()
        while state.record is None:
            state = self.states[job.id] = await seat.hand.look(job.id, state.version)
        return state

    # Ends

    def _again(self, job: Job) -> None:
        """Back to the front of the queue."""
        self.running.pop(job.id, None)
        self.states.pop(job.id, None)
        job.worker = ""
        if job.cancelled:
            self._end(job, record_of("execution_interrupted", {}))
            return
        self.waiting.add(job, front=True)
        self._spawn(self._saved_if_possible(job))
        self._match()

    async def _saved_if_possible(self, job: Job) -> None:
        """Write that a job waits again. If the disk is full, a restart finds it as it was before, on its worker."""
        with contextlib.suppress(OSError):
            await self._save(job)

    def _lost(self, job: Job, reason: str) -> None:
        job.lost.append(f"{job.worker}: {reason.rstrip('.')}.")
        job.tried.add(job.worker)
        if len(job.lost) < ATTEMPTS:
            self._again(job)
        else:
            self._fail(job, f"{ATTEMPTS} workers have lost it. {' '.join(job.lost)}")

    def _fail(self, job: Job, message: str) -> None:
        self._end(job, record_of("execution_error", {"node_type": "Farm", "exception_message": message}))

    def _end(self, job: Job, record: Json) -> None:
        if job.wanted:
            self.records[job.id] = record
        self.running.pop(job.id, None)
        self.states.pop(job.id, None)

    def settled(self, job_id: str) -> None:
        """The job's end is recorded in the store: it need not be found after a restart any more."""
        self._spool.remove(job_id)

    def _note(self, seat: Seat, error: str, state: str) -> None:
        if error != seat.error:
            logging.warning("Atelier: the farm's worker %s: %s", seat.hand.name, error)
        seat.error, seat.state = error, state


def record_of(event: str, data: Json) -> Json:
    """A record in ComfyUI's form of a job that no ComfyUI has ended."""
    return {"outputs": {}, "status": {"status_str": "error", "messages": [[event, data]]}}


def _machines_fault(record: Json) -> str | None:
    """Why another machine may succeed: the node's error, if it is of memory or disk."""
    told = dict(record["status"].get("messages") or []).get("execution_error") or {}
    text = f"{told.get('exception_type')}: {told.get('exception_message')}"
    return text.strip()[:500] if any(part in text for part in ELSEWHERE) else None


async def _quietly(call) -> None:
    """Await a call whose failure shows elsewhere."""
    with contextlib.suppress(Lost, asyncio.TimeoutError):
        await call
