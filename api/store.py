"""What survives a restart: jobs and characters, in one SQLite file.

Every call is one short transaction in a thread of the store's own, so that no other program that holds the file can
stop ComfyUI. Readers wait for nobody; writers wait for PATIENCE seconds, and then the client is told so.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from .errors import ApiError
from .settings import Settings

Row = dict[str, Any]

PAGE_LETTERS = 1_000_000
"""Letters of words after which a page of jobs ends: a hundred jobs have about 50,000, but may have 20 million."""
ACTIVE = ("queued", "in_progress")
"""States of a job that ComfyUI still has to do with."""
GONE = "server_restarted"
"""The error of a job whose ComfyUI has died. Only this end may be corrected, by that ComfyUI, if it lives after all."""
PATIENCE = 5.0
"""Seconds for which a call waits for another program that writes to the file."""
READERS = 4
PLACES = 10_000
"""Of so many deleted videos the place in the list is remembered, for those who go through it and delete."""

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
    sql.Column("stopping", sql.Boolean, nullable=False, default=False),
)
"""`process` is the ComfyUI that has the job, `stopping` and `deleted` what any ComfyUI on this store may ask of it."""
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
claims = sql.Table(
    "claims",
    _tables,
    sql.Column("folder", sql.String, primary_key=True),
    sql.Column("process", sql.String, nullable=False),
    sql.Column("bytes", sql.Integer, nullable=False),
)
"""Folders that a process fills or empties at this moment, and the bytes that are expected in them. If the process
dies, they are removed. The folder of a job is named as its job, that of a character as the character."""
places = sql.Table(
    "places",
    _tables,
    sql.Column("id", sql.String, primary_key=True),
    sql.Column("seq", sql.Integer, nullable=False),
)
"""Where deleted videos stood in the list."""

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
    (
        "ALTER TABLE jobs ADD COLUMN stopping BOOLEAN NOT NULL DEFAULT 0",
        "CREATE TABLE claims (folder TEXT PRIMARY KEY, process TEXT NOT NULL, bytes INTEGER NOT NULL)",
        "CREATE TABLE places (id TEXT PRIMARY KEY, seq INTEGER NOT NULL)",
    ),
)
"""Step n takes a store from version n to n + 1 (SQLite's user_version). Steps are only ever added."""

_PROBLEMS = (
    ("locked", 503, "store_locked", "the job store is locked by another program: try again"),
    ("disk is full", 507, "disk_full", "the disk with the job store is full: free some space, then try again"),
    ("malformed", 500, "store_damaged", "the job store is damaged: mend it, or move it away to begin a new one"),
    ("not a database", 500, "store_damaged", "the job store is damaged: mend it, or move it away to begin a new one"),
    ("readonly", 500, "store_unusable", "the job store cannot be written: ComfyUI must own it and its folder"),
    ("unable to open", 500, "store_unusable", "the job store cannot be opened: ComfyUI must own it and its folder"),
    ("disk I/O", 500, "store_unusable", "the disk with the job store fails, or takes no more"),
)
"""Words of SQLite's errors, and what a client is told."""


class StoreTooNew(Exception):
    """The file was written by a newer Atelier; it is left alone."""


def _reading(call: Callable) -> Callable:
    """A method that is given a connection, as one that is awaited and runs in one of the reading threads."""

    @functools.wraps(call)
    async def method(self: Store, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, call, args)

    return method


def _writing(call: Callable) -> Callable:
    """A method that is given a connection, as one that is awaited: one transaction in the one thread that writes."""

    @functools.wraps(call)
    async def method(self: Store, *args: Any, **kwargs: Any) -> Any:
        run = functools.partial(self._write, call, time.monotonic() + PATIENCE, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._writer, run)

    return method


class Store:
    """The jobs and characters in one file. Every call may raise ApiError (503 while another program has the file)."""

    def __init__(self, file: Path) -> None:
        """Open the file, or make it; it takes PATIENCE seconds at most. Raises StoreTooNew, ApiError."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = file
        self._engine = sql.create_engine(
            f"sqlite:///{file}", connect_args={"timeout": PATIENCE, "check_same_thread": False}
        )
        sql.event.listen(self._engine, "connect", _prepare)
        self._writer = ThreadPoolExecutor(1, "atelier-store-writer")
        self._readers = ThreadPoolExecutor(READERS, "atelier-store-reader")
        try:
            self.new = self._write(_migrated, time.monotonic() + PATIENCE) == 0
            """Whether the file was made just now."""
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for threads in (self._writer, self._readers):
            threads.shutdown()
        self._engine.dispose()

    def _read(self, call: Callable, args: Sequence[Any]) -> Any:
        try:
            with self._engine.connect() as connection:
                return call(self, connection, *args)
        except sql.exc.DBAPIError as error:
            raise self._told(error) from error

    def _write(self, call: Callable, until: float, *args: Any, **kwargs: Any) -> Any:
        """until: when the one who asked has waited long enough; calls that stood behind others wait no longer."""
        try:
            with self._engine.connect() as connection:
                left = max(0, int((until - time.monotonic()) * 1000))
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {left}")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                result = call(self, connection, *args, **kwargs)
                connection.commit()
                return result
        except sql.exc.DBAPIError as error:
            raise self._told(error) from error

    def _told(self, error: sql.exc.DBAPIError) -> Exception:
        """SQLite's error as what a client can do about it."""
        for words, status, code, message in _PROBLEMS:
            if words in str(error.orig):
                return ApiError(status, code, f"{self.file.name}: {message}.")
        return error

    # Jobs

    @_writing
    def add(self, connection: sql.Connection, rows: Sequence[Row], limits: Settings) -> None:
        """Write new jobs, all or none, in the place of the claims on their folders. Raises ApiError 403, 429."""
        names = [row["id"] for row in rows]
        _refuse_too_many(connection, len(rows), limits)
        _refuse_too_much(connection, sum(row["bytes"] for row in rows), limits, names)
        connection.execute(sql.insert(jobs), list(rows))
        connection.execute(sql.delete(claims).where(claims.c.folder.in_(names)))

    @_reading
    def job(self, connection: sql.Connection, job_id: str) -> Row | None:
        """A job as clients see it: none that is deleted."""
        return _one(connection, sql.select(jobs).where(jobs.c.id == job_id, ~jobs.c.deleted))

    @_reading
    def row(self, connection: sql.Connection, job_id: str) -> Row | None:
        """A job, also one whose deletion waits for ComfyUI."""
        return _one(connection, sql.select(jobs).where(jobs.c.id == job_id))

    @_reading
    def known(self, connection: sql.Connection, names: Sequence[str]) -> set[str]:
        """Those of these jobs that there are and that are not deleted; up to some thousands can be asked for."""
        return set(connection.execute(sql.select(jobs.c.id).where(jobs.c.id.in_(names), ~jobs.c.deleted)).scalars())

    @_writing
    def change(self, connection: sql.Connection, job_id: str, **values: Any) -> None:
        connection.execute(sql.update(jobs).where(jobs.c.id == job_id).values(**values))

    @_writing
    def begin(self, connection: sql.Connection, job_id: str) -> None:
        """Note that ComfyUI has begun with a job."""
        now = {"status": "in_progress", "started_at": time.time(), "completed_at": None, "error": None}
        connection.execute(sql.update(jobs).where(jobs.c.id == job_id, _open_to(True)).values(**now))

    @_writing
    def end(self, connection: sql.Connection, job_id: str, owner: bool, **values: Any) -> bool:
        """Note how a job has ended, unless that is known already; whether it was noted.

        owner: whether the ComfyUI that had the job says so; it corrects those who took it for dead.
        """
        ended = connection.execute(sql.update(jobs).where(jobs.c.id == job_id, _open_to(owner)).values(**values))
        return ended.rowcount > 0

    @_writing
    def forget(self, connection: sql.Connection, job_id: str) -> None:
        """Take out a job; its place in the list is remembered for a while."""
        connection.execute(
            sql.insert(places)
            .prefix_with("OR REPLACE")
            .from_select(["id", "seq"], sql.select(jobs.c.id, jobs.c.seq).where(jobs.c.id == job_id))
        )
        connection.execute(sql.delete(jobs).where(jobs.c.id == job_id))
        newest = sql.select(sql.func.max(sql.literal_column("rowid"))).select_from(places).scalar_subquery()
        connection.execute(sql.delete(places).where(sql.literal_column("places.rowid") <= newest - PLACES))

    @_reading
    def active(self, connection: sql.Connection, process: str) -> list[Row]:
        """A process's jobs that wait or run, deleted ones too, oldest first."""
        query = sql.select(jobs).where(jobs.c.status.in_(ACTIVE), jobs.c.process == process)
        return _all(connection, query.order_by(jobs.c.seq))

    @_reading
    def stopping(self, connection: sql.Connection, process: str) -> list[Row]:
        """Its jobs that somebody wants stopped, here or in another process."""
        asked = sql.or_(jobs.c.stopping, jobs.c.deleted)
        return _all(connection, sql.select(jobs).where(jobs.c.status.in_(ACTIVE), jobs.c.process == process, asked))

    @_reading
    def expired(self, connection: sql.Connection) -> list[Row]:
        return _all(connection, sql.select(jobs).where(jobs.c.expires_at < time.time()))

    @_reading
    def half_deleted(self, connection: sql.Connection) -> list[Row]:
        """Jobs that were to be deleted when something came in between."""
        return _all(connection, sql.select(jobs).where(jobs.c.deleted, jobs.c.status.not_in(ACTIVE)))

    @_reading
    def page(
        self, connection: sql.Connection, after: str | None, limit: int, newest_first: bool
    ) -> tuple[list[Row], bool] | None:
        """Up to `limit` jobs behind job `after`, and whether there are more; None if there was no job `after`.

        Fewer, but one at least, where their words are longer than PAGE_LETTERS.
        """
        query = sql.select(jobs).where(~jobs.c.deleted)
        if after is not None:
            found = [sql.select(table.c.seq).where(table.c.id == after) for table in (jobs, places)]
            last = connection.execute(sql.union_all(*found)).scalar()
            if last is None:
                return None
            query = query.where(jobs.c.seq < last if newest_first else jobs.c.seq > last)
        order = jobs.c.seq.desc() if newest_first else jobs.c.seq.asc()
        rows, letters = [], 0
        for row in connection.execute(query.order_by(order).limit(limit + 1)).yield_per(1).mappings():
            if len(rows) == limit or letters > PAGE_LETTERS:
                return rows, True
            rows.append(dict(row))
            letters += sum(map(_letters, row.values()))
        return rows, False

    # Folders

    @_writing
    def claim(
        self, connection: sql.Connection, folder: str, process: str, size: int, limits: Settings, new_jobs: int
    ) -> None:
        """Say that a request of `size` bytes is about to be received into a folder, for so many jobs.

        Raises ApiError 403 where the quota does not allow that, 429 where too many jobs wait.
        """
        _refuse_too_many(connection, new_jobs, limits)
        _refuse_too_much(connection, size, limits, [])
        connection.execute(sql.insert(claims), {"folder": folder, "process": process, "bytes": size})

    @_writing
    def release(self, connection: sql.Connection, folder: str) -> None:
        connection.execute(sql.delete(claims).where(claims.c.folder == folder))

    @_reading
    def claimed(self, connection: sql.Connection, process: str) -> list[str]:
        """The folders that a process was filling or emptying."""
        return list(connection.execute(sql.select(claims.c.folder).where(claims.c.process == process)).scalars())

    @_reading
    def folders(self, connection: sql.Connection) -> set[str]:
        """The names of all folders that something is known of."""
        known = sql.union_all(*(sql.select(c) for c in (jobs.c.id, characters.c.id, claims.c.folder)))
        return set(connection.execute(known).scalars())

    @_reading
    def processes(self, connection: sql.Connection) -> list[str]:
        """Those that have something to do or to be cleared away."""
        busy = sql.select(jobs.c.process).where(jobs.c.status.in_(ACTIVE))
        return list(connection.execute(sql.union(busy, sql.select(claims.c.process))).scalars())

    @_reading
    def bytes_kept(self, connection: sql.Connection) -> int:
        """What videos, references and characters take on the disk, and what is being received."""
        return _bytes(connection)

    # Characters

    @_writing
    def add_character(self, connection: sql.Connection, row: Row, limits: Settings) -> None:
        """Write a new character in the place of the claim on its folder. Raises ApiError 403."""
        _refuse_too_much(connection, row["bytes"], limits, [row["id"]])
        connection.execute(sql.insert(characters), row)
        connection.execute(sql.delete(claims).where(claims.c.folder == row["id"]))

    @_writing
    def forget_character(self, connection: sql.Connection, character_id: str, process: str) -> None:
        """Take out a character; its folder is claimed, to be removed."""
        connection.execute(sql.delete(characters).where(characters.c.id == character_id))
        claim = {"folder": character_id, "process": process, "bytes": 0}
        connection.execute(sql.insert(claims).prefix_with("OR REPLACE"), claim)

    @_reading
    def character(self, connection: sql.Connection, character_id: str) -> Row | None:
        return _one(connection, sql.select(characters).where(characters.c.id == character_id))


def _letters(value: Any) -> int:
    """How many letters of words are in a column."""
    if isinstance(value, dict | list):
        return sum(map(_letters, value.values() if isinstance(value, dict) else value))
    return len(value) if isinstance(value, str) else 0


def _one(connection: sql.Connection, query: sql.Select) -> Row | None:
    return next(iter(_all(connection, query)), None)


def _all(connection: sql.Connection, query: sql.Select) -> list[Row]:
    return [dict(row) for row in connection.execute(query).mappings()]


def _open_to(owner: bool) -> sql.ColumnElement[bool]:
    """Of jobs: has not ended, or only because its owner was thought to be dead."""
    active = jobs.c.status.in_(ACTIVE)
    return sql.or_(active, sql.func.json_extract(jobs.c.error, "$.code") == GONE) if owner else active


def _bytes(connection: sql.Connection, without: Sequence[str] = ()) -> int:
    totals = [sql.select(sql.func.sum(table.c.bytes)) for table in (jobs, characters)]
    totals.append(sql.select(sql.func.sum(claims.c.bytes)).where(claims.c.folder.not_in(without)))
    return sum(connection.execute(total).scalar() or 0 for total in totals)


def _refuse_too_much(connection: sql.Connection, more: int, limits: Settings, without: Sequence[str]) -> None:
    """Raises ApiError where the quota does not allow `more` bytes; `without`: claims that they stand for."""
    if limits.quota_gb is not None and _bytes(connection, without) + more > limits.quota_gb * 1e9:
        raise ApiError(403, "quota_exceeded", f"The videos would take more than {limits.quota_gb:g} GB: delete some.")


def _refuse_too_many(connection: sql.Connection, more: int, limits: Settings) -> None:
    """Raises ApiError where `more` jobs would be too many waiting ones."""
    count = sql.select(sql.func.count()).select_from(jobs).where(jobs.c.status.in_(ACTIVE))
    if more and connection.execute(count).scalar_one() + more > limits.max_waiting:
        raise ApiError(429, "queue_full", f"Up to {limits.max_waiting} jobs may wait at once: try again later.")


def _migrated(store: Store, connection: sql.Connection) -> int:
    """Bring the file to the newest version; returns the one it had. Raises StoreTooNew."""
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version > len(MIGRATIONS):
        raise StoreTooNew(
            f"{store.file.name} has version {version}, this Atelier knows up to {len(MIGRATIONS)}: update it."
        )
    for step in MIGRATIONS[version:]:
        for statement in step:
            connection.exec_driver_sql(statement)
    connection.exec_driver_sql(f"PRAGMA user_version = {len(MIGRATIONS)}")
    return version


def _prepare(connection: Any, _: object) -> None:
    """Readers never wait for a writer; what is committed survives the death of the process."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
