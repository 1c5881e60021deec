"""The folders that the store's jobs and characters have, and claims on folders that are being filled or removed."""

from __future__ import annotations

import sqlalchemy as sql

from ..settings import Settings
from .limits import bytes_kept, refuse_too_many, refuse_too_much
from .tables import IS_ACTIVE, characters, claims, jobs
from .transactions import Transactions, noting, reading, writing


class Folders(Transactions):
    """Claims, and what is known of folders."""

    @noting
    def claim(
        self, connection: sql.Connection, folder: str, process: str, size: int, limits: Settings, new_jobs: int
    ) -> None:
        """Claim a folder for a request of `size` bytes that creates `new_jobs` jobs.

        Raises ApiError 403 beyond the quota, 429 beyond max_waiting.
        """
        refuse_too_many(connection, new_jobs, limits)
        refuse_too_much(connection, size, limits, [])
        connection.execute(sql.insert(claims), {"folder": folder, "process": process, "bytes": size})

    @writing
    def release(self, connection: sql.Connection, folder: str) -> None:
        connection.execute(sql.delete(claims).where(claims.c.folder == folder))

    @reading
    def claimed(self, connection: sql.Connection, process: str) -> list[str]:
        """The folders that a process is filling or removing."""
        return list(connection.execute(sql.select(claims.c.folder).where(claims.c.process == process)).scalars())

    @reading
    def folders(self, connection: sql.Connection) -> set[str]:
        """The names of all folders of jobs, characters and claims."""
        known = sql.union_all(*(sql.select(c) for c in (jobs.c.id, characters.c.id, claims.c.folder)))
        return set(connection.execute(known).scalars())

    @reading
    def processes(self, connection: sql.Connection) -> list[str]:
        """The processes with active jobs or claims."""
        busy = sql.select(jobs.c.process).where(IS_ACTIVE)
        return list(connection.execute(sql.union(busy, sql.select(claims.c.process))).scalars())

    @reading
    def bytes_kept(self, connection: sql.Connection) -> int:
        """Bytes of all jobs' and characters' folders, and the expected bytes of all claims."""
        return bytes_kept(connection)
