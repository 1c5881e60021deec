"""The state that all calls share: the store, the queue and the runner, opened with the first request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from . import archive, settings
from .errors import ApiError
from .graphs.comfy_queue import ComfyQueue
from .graphs.queue import Queue
from .jobs.processes import Processes
from .jobs.runner import Runner
from .store import Store
from .store.sqlite import SQLite


@dataclass(frozen=True)
class Api:
    """The state that all calls share."""

    store: Store
    runner: Runner
    queue: Queue


_opening: asyncio.Task[Api] | None = None


async def opened() -> Api:
    """Open the store and the runner once. After a failure, the next request tries again."""
    global _opening
    if _opening is None or (_opening.done() and (_opening.cancelled() or _opening.exception())):
        _opening = asyncio.create_task(_open())
    return await asyncio.shield(_opening)  # shared by all requests, so it continues if one of them disconnects


async def _open() -> Api:
    await asyncio.to_thread(archive.current)  # what it lacks is said before a video is made
    store = await asyncio.to_thread(_store)
    processes = Processes(settings.folder() / "videos.lock")
    try:
        queue = await _queue(processes)
        runner = Runner(store, processes, queue)
        await runner.recover()
        await runner.mover.take_up()
    except BaseException:
        processes.close()
        await asyncio.to_thread(store.close)
        raise
    return Api(store, runner, queue)


def _store() -> Store:
    """The store in the settings' database, or in a SQLite file. Raises ApiError, StoreTooNew."""
    url, folder = settings.current().database, settings.folder()
    if url is None:
        return Store(SQLite(folder / "videos.db"))
    from .store.postgresql import PostgreSQL

    return Store(PostgreSQL(url, folder / "videos.home"))


async def _queue(processes: Processes) -> Queue:
    """ComfyUI's own queue, or that of the farm in the settings. Raises ApiError 503 if the farm cannot be used."""
    farm = settings.current().farm
    if farm is None:
        return ComfyQueue()
    from .graphs.farm_queue import FarmQueue

    if not processes.lead():
        raise ApiError(503, "farm_has_a_head", "Another ComfyUI on this job store is the head of the farm. Stop one.")
    return await FarmQueue.opened(farm)
