"""The jobs: one row for each video, from its request to its end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sql

from ..settings import Settings
from .limits import refuse_too_many, refuse_too_much
from .tables import ACTIVE, IS_ACTIVE, Row, claims, every, insert, jobs, one, places
from .transactions import Transactions, noting, reading, streaming, writing

GONE = "server_restarted"
"""Error code of a job whose ComfyUI died. That ComfyUI may overwrite this end if it turns out to be alive."""
PAGE_LETTERS = 1_000_000
"""Letters after which a page of jobs ends. A hundred jobs usually have about 50,000, but may have 20 million."""
CHUNK = 20
"""Rows that are fetched at a time: one by one they take 100 round trips, all at once may take 20 MB."""
PLACES = 10_000
"""Deleted videos whose place in the list is kept, so that a client can delete while it pages through the list."""


class Jobs(Transactions):
    """Jobs in the order of their requests."""

    @writing
    def add(self, connection: sql.Connection, rows: Sequence[Row], limits: Settings) -> None:
        """Add jobs, all or none, and remove the claims on their folders. Raises ApiError 403, 429."""
        names = [row["id"] for row in rows]
        refuse_too_many(connection, len(rows), limits)
        refuse_too_much(connection, sum(row["bytes"] for row in rows), limits, names)
        connection.execute(sql.insert(jobs), list(rows))
        connection.execute(sql.delete(claims).where(claims.c.folder.in_(names)))

    @reading
    def job(self, connection: sql.Connection, job_id: str) -> Row | None:
        """A job, unless it is deleted."""
        return one(connection, sql.select(jobs).where(jobs.c.id == job_id, ~jobs.c.deleted))

    @reading
    def row(self, connection: sql.Connection, job_id: str) -> Row | None:
        """A job, even if it is marked as deleted and still running."""
        return one(connection, sql.select(jobs).where(jobs.c.id == job_id))

    @reading
    def known(self, connection: sql.Connection, names: Sequence[str]) -> set[str]:
        """The ids among `names` of jobs that exist and are not deleted. SQLite allows some thousands of names."""
        return set(connection.execute(sql.select(jobs.c.id).where(jobs.c.id.in_(names), ~jobs.c.deleted)).scalars())

    @writing
    def change(self, connection: sql.Connection, job_id: str, **values: Any) -> None:
        connection.execute(sql.update(jobs).where(jobs.c.id == job_id).values(**values))

    @noting
    def begin(self, connection: sql.Connection, job_id: str) -> None:
        """Record that ComfyUI has started a job."""
        if _is_open(connection, job_id, True):
            now = {"status": "in_progress", "started_at": time.time(), "completed_at": None, "error": None}
            connection.execute(sql.update(jobs).where(jobs.c.id == job_id).values(**now))

    @noting
    def wait_again(self, connection: sql.Connection, job_id: str, warnings: list[str]) -> None:
        """Record that a job that had begun is in the queue again, and its warnings, which say why."""
        this = jobs.c.id == job_id
        begun = sql.and_(this, jobs.c.status == "in_progress")
        connection.execute(sql.update(jobs).where(begun).values(status="queued", started_at=None))
        connection.execute(sql.update(jobs).where(this).values(warnings=warnings))

    @writing
    def end(self, connection: sql.Connection, job_id: str, owner: bool, **values: Any) -> bool:
        """Record the end of a job, unless it has one. Returns whether it was recorded.

        owner: whether this is the job's own process, which may overwrite the end GONE.
        """
        if still_open := _is_open(connection, job_id, owner):
            connection.execute(sql.update(jobs).where(jobs.c.id == job_id).values(**values))
        return still_open

    @writing
    def forget(self, connection: sql.Connection, job_id: str) -> None:
        """Remove a job, and keep its place in the list until PLACES more are removed."""
        place = sql.select(jobs.c.id, jobs.c.seq).where(jobs.c.id == job_id)
        connection.execute(insert(connection, places).from_select(["id", "seq"], place).on_conflict_do_nothing())
        connection.execute(sql.delete(jobs).where(jobs.c.id == job_id))
        newest = sql.select(sql.func.max(places.c.number)).scalar_subquery()
        connection.execute(sql.delete(places).where(places.c.number <= newest - PLACES))

    @reading
    def active(self, connection: sql.Connection, process: str) -> list[Row]:
        """A process's queued and running jobs, deleted ones included, oldest first."""
        query = sql.select(jobs).where(IS_ACTIVE, jobs.c.process == process)
        return every(connection, query.order_by(jobs.c.seq))

    @reading
    def stopping(self, connection: sql.Connection, process: str) -> list[Row]:
        """A process's active jobs that a client cancelled or deleted through any process."""
        asked = sql.or_(jobs.c.stopping, jobs.c.deleted)
        return every(connection, sql.select(jobs).where(IS_ACTIVE, jobs.c.process == process, asked))

    @reading
    def expired(self, connection: sql.Connection) -> list[Row]:
        return every(connection, sql.select(jobs).where(jobs.c.expires_at < time.time()))

    @reading
    def half_deleted(self, connection: sql.Connection) -> list[Row]:
        """Ended jobs that are marked as deleted but not removed yet."""
        return every(connection, sql.select(jobs).where(jobs.c.deleted, jobs.c.status.not_in(ACTIVE)))

    @streaming
    def page(
        self, connection: sql.Connection, after: str | None, limit: int, newest_first: bool
    ) -> tuple[list[Row], bool] | None:
        """(up to `limit` jobs after job `after`, whether there are more); None if `after` is unknown.

        The page ends early, after at least one job, if its texts exceed PAGE_LETTERS.
        """
        query = sql.select(jobs).where(~jobs.c.deleted)
        if after is not None:
            queries = [sql.select(table.c.seq).where(table.c.id == after) for table in (jobs, places)]
            last = connection.execute(sql.union_all(*queries)).scalar()
            if last is None:
                return None
            query = query.where(jobs.c.seq < last if newest_first else jobs.c.seq > last)
        order = jobs.c.seq.desc() if newest_first else jobs.c.seq.asc()
        rows, letters = [], 0
        for row in connection.execute(query.order_by(order).limit(limit + 1)).yield_per(CHUNK).mappings():
            if len(rows) == limit or letters > PAGE_LETTERS:
                return rows, True
            rows.append(dict(row))
            letters += sum(map(_letters, row.values()))
        return rows, False


def _letters(value: Any) -> int:
    """The number of letters of all texts in a column."""
    if isinstance(value, dict | list):
        return sum(map(_letters, value.values() if isinstance(value, dict) else value))
    return len(value) if isinstance(value, str) else 0


def _is_open(connection: sql.Connection, job_id: str, owner: bool) -> bool:
    """Whether the job is active, or (for its owner) ended with GONE. Call it in a transaction that writes."""
    row = one(connection, sql.select(jobs.c.status, jobs.c.error).where(jobs.c.id == job_id))
    return row is not None and (row["status"] in ACTIVE or (owner and (row["error"] or {}).get("code") == GONE))
