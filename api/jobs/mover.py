"""Moves finished videos from this disk to the archive, and removes deleted ones there, one after the other.

What cannot be moved now stays here, is served from here, and is tried again until it is there.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from ...media import MediaError
from .. import archive, files
from ..errors import ApiError
from ..settings import SettingsError
from ..store import Store

TRY_AGAIN = 20.0
"""Seconds between two attempts while the archive cannot be reached."""


class Mover:
    """Call its methods in the server's event loop only."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, None] = {}
        """Ids of jobs, oldest first. The values are unused."""
        self._task: asyncio.Task | None = None

    def look_after(self, job_id: str) -> None:
        """Move a job's files to the archive if it is completed. If it is deleted, remove them and then the job."""
        self._waiting[job_id] = None
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())

    async def take_up(self) -> None:
        """Look after all finished videos that lie on this disk, as those that could not be moved before a restart."""
        if archive.current() is not None:
            for name in await asyncio.to_thread(files.jobs_here):
                self.look_after(name)

    async def _work(self) -> None:
        while self._waiting:
            job_id = next(iter(self._waiting))
            try:
                await self._settle(job_id)
                self._waiting.pop(job_id)
            except (ApiError, SettingsError):  # the store or the archive is away
                await asyncio.sleep(TRY_AGAIN)
            except Exception:
                logging.exception("Atelier: the files of %s stay on this disk", job_id)
                self._waiting.pop(job_id)

    async def _settle(self, job_id: str) -> None:
        """Raises ApiError if the archive or the store cannot be reached."""
        place, row = archive.current(), await self._store.row(job_id)
        if place is not None and row is not None and row["status"] == "completed" and not row["deleted"]:
            folder = files.job_folder(job_id)
            if folder.is_dir():
                with suppress(MediaError, OSError):  # a picture that cannot be made is missing there
                    await asyncio.to_thread(files.thumbnail, folder / row["file"])
                    await asyncio.to_thread(files.spritesheet, folder / row["file"])
                await asyncio.to_thread(place.put, folder)
                await asyncio.to_thread(files.remove, folder)
            row = await self._store.row(job_id)
            if row is None:  # deleted meanwhile
                await asyncio.to_thread(place.remove, job_id)
        if row is not None and row["deleted"] and await asyncio.to_thread(files.remove, files.job_folder(job_id)):
            if place is not None:
                await asyncio.to_thread(place.remove, job_id)
            await self._store.forget(job_id)
