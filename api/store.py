"""What survives a restart: jobs and characters, in one SQLite file.

Every call is a short transaction on the server's own thread; a page of a hundred jobs is read from an index.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sql

Row = dict[str, Any]

ACTIVE = ("queued", "in_progress")
"""States of a job that ComfyUI still has to do with."""

_tables = sql.MetaData()
jobs = sql.Table(
    "jobs",
    _tables,
    sql.Column("seq", sql.Integer, primary_key=True),
    sql.Column("id", sql.String, nullable=False, unique=True),
    sql.Column("operation", sql.String, nullable=False),
    sql.Column("status", sql.String, nullable=False),
    sql.Column("created_at", sql.Float, nullable=False),
    sql.Column("started_at", sql.Float),
    sql.Column("completed_at", sql.Float),
    sql.Column("expires_at", sql.Float),
    sql.Column("model", sql.String, nullable=False),
    sql.Column("prompt", sql.String, nullable=False),
    sql.Column("source", sql.String),
    sql.Column("error", sql.JSON),
    sql.Column("settings", sql.JSON, nullable=False),
    sql.Column("warnings", sql.JSON, nullable=False),
    sql.Column("file", sql.String),
    sql.Column("bytes", sql.Integer, nullable=False, default=0),
    sql.Column("process", sql.String, nullable=False),
    sql.Column("deleted", sql.Boolean, nullable=False, default=False),
)
characters = sql.Table(
    "characters",
    _tables,
    sql.Column("seq", sql.Integer, primary_key=True),
    sql.Column("id", sql.String, nullable=False, unique=True),
    sql.Column("name", sql.String, nullable=False),
    sql.Column("created_at", sql.Float, nullable=False),
    sql.Column("picture", sql.String, nullable=False),
    sql.Column("bytes", sql.Integer, nullable=False),
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE jobs (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, operation TEXT NOT NULL,
            status TEXT NOT NULL, created_at REAL NOT NULL, started_at REAL, completed_at REAL, expires_at REAL,
            model TEXT NOT NULL, prompt TEXT NOT NULL, source TEXT, error JSON, settings JSON NOT NULL,
            warnings JSON NOT NULL, file TEXT, bytes INTEGER NOT NULL, process TEXT NOT NULL,
            deleted BOOLEAN NOT NULL)""",
        "CREATE INDEX jobs_active ON jobs (status) WHERE status IN ('queued', 'in_progress')",
        "CREATE INDEX jobs_expiring ON jobs (expires_at) WHERE expires_at IS NOT NULL",
        "CREATE INDEX jobs_shown ON jobs (deleted, seq)",
        """CREATE TABLE characters (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
            created_at REAL NOT NULL, picture TEXT NOT NULL, bytes INTEGER NOT NULL)""",
    ),
)
"""Step n takes a store from version n to n + 1 (SQLite's user_version). Steps are only ever added."""


class StoreTooNew(Exception):
    """The file was written by a newer Atelier; it is left alone."""


class Store:
    """The jobs and characters in one file. Raises StoreTooNew."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._engine = sql.create_engine(f"sqlite:///{file}", connect_args={"timeout": 30, "check_same_thread": False})
        sql.event.listen(self._engine, "connect", _prepare)
        with self._engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version > len(MIGRATIONS):
                raise StoreTooNew(
                    f"{file} has version {version}, this Atelier knows up to {len(MIGRATIONS)}: update it."
                )
            for step in MIGRATIONS[version:]:
                for statement in step:
                    connection.exec_driver_sql(statement)
            connection.exec_driver_sql(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def close(self) -> None:
        self._engine.dispose()

    # Jobs

    def add(self, rows: Sequence[Row]) -> None:
        """Write new jobs, all or none."""
        with self._engine.begin() as connection:
            connection.execute(sql.insert(jobs), list(rows))

    def job(self, job_id: str, deleted: bool = False) -> Row | None:
        """A job; those whose deletion waits for ComfyUI are there only for `deleted`."""
        return self._one(sql.select(jobs).where(jobs.c.id == job_id, jobs.c.deleted == deleted))

    def change(self, job_id: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(sql.update(jobs).where(jobs.c.id == job_id).values(**values))

    def forget(self, job_id: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(sql.delete(jobs).where(jobs.c.id == job_id))

    def active(self) -> list[Row]:
        """Jobs that wait or run, deleted ones too, oldest first."""
        return self._all(sql.select(jobs).where(jobs.c.status.in_(ACTIVE)).order_by(jobs.c.seq))

    def count_active(self) -> int:
        with self._engine.connect() as connection:
            return connection.execute(
                sql.select(sql.func.count()).select_from(jobs).where(jobs.c.status.in_(ACTIVE))
            ).scalar_one()

    def expired(self) -> list[Row]:
        return self._all(sql.select(jobs).where(jobs.c.expires_at < time.time()))

    def page(self, after: str | None, limit: int, newest_first: bool) -> tuple[list[Row], bool] | None:
        """Up to `limit` jobs behind job `after`, and whether there are more; None if there is no job `after`."""
        query = sql.select(jobs).where(~jobs.c.deleted)
        if after is not None:
            last = self.job(after)
            if last is None:
                return None
            query = query.where(jobs.c.seq < last["seq"] if newest_first else jobs.c.seq > last["seq"])
        order = jobs.c.seq.desc() if newest_first else jobs.c.seq.asc()
        rows = self._all(query.order_by(order).limit(limit + 1))
        return rows[:limit], len(rows) > limit

    def bytes_kept(self) -> int:
        """What finished videos, references and characters take on the disk, as far as it is recorded."""
        with self._engine.connect() as connection:
            totals = [connection.execute(sql.select(sql.func.sum(t.c.bytes))).scalar() for t in (jobs, characters)]
        return sum(total or 0 for total in totals)

    # Characters

    def add_character(self, row: Row) -> None:
        with self._engine.begin() as connection:
            connection.execute(sql.insert(characters), row)

    def forget_character(self, character_id: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(sql.delete(characters).where(characters.c.id == character_id))

    def character(self, character_id: str) -> Row | None:
        return self._one(sql.select(characters).where(characters.c.id == character_id))

    def _one(self, query: sql.Select) -> Row | None:
        return next(iter(self._all(query)), None)

    def _all(self, query: sql.Select) -> list[Row]:
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def _prepare(connection: Any, _: object) -> None:
    """Readers never wait for a writer; what is committed survives the death of the process."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
