"""The store of jobs and characters: one SQLite file, which survives a restart.

Every call is one short transaction in one of the store's own threads, so a program that locks the file cannot block
ComfyUI. Reads never wait for a lock. Writes wait up to PATIENCE seconds, then the client gets an error.
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
"""Letters after which a page of jobs ends. A hundred jobs usually have about 50,000, but may have 20 million."""
ACTIVE = ("queued", "in_progress")
"""Statuses of a job that ComfyUI has not ended."""
GONE = "server_restarted"
"""Error code of a job whose ComfyUI died. That ComfyUI may overwrite this end if it turns out to be alive."""
PATIENCE = 5.0
"""Seconds that a write waits for a lock."""
READERS = 4
"""Threads that read."""
MAX_ITEMS = 20_000
"""Items of the desk, removed ones included."""
PLACES = 10_000
"""Deleted videos whose place in the list is kept, so that a client can delete while it pages through the list."""

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
"""`process` is the ComfyUI that runs the job. Any ComfyUI on this store may set `stopping` and `deleted` for it."""
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
"""Folders that a process is filling or removing, named by the id of the job or character, and their expected bytes. If
the process dies, another one removes them."""
places = sql.Table(
    "places",
    _tables,
    sql.Column("id", sql.String, primary_key=True),
    sql.Column("seq", sql.Integer, nullable=False),
)
"""Places of deleted videos in the list."""
kept = sql.Table("kept", _tables, sql.Column("bytes", sql.Integer, nullable=False))
"""One row: the bytes of the folders of all jobs and characters, kept by triggers: summing 200,000 jobs takes 0.1 s."""
IS_ACTIVE = jobs.c.status.in_([sql.literal_column(f"'{status}'") for status in ACTIVE])
"""Condition: ComfyUI has not ended the job. The statuses stand in the query's text: only then SQLite uses the partial
index jobs_active, and the answer takes 0.1 ms instead of 100 ms with 200,000 jobs."""
desk = sql.Table(
    "desk",
    _tables,
    sql.Column("key", sql.String, primary_key=True),
    sql.Column("value", sql.JSON(none_as_null=True)),
    sql.Column("revision", sql.Integer, nullable=False),
)
"""What the studio keeps beside the videos. A removed item stays as NULL, so that other pages learn of it."""

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
    (
        "CREATE TABLE kept (bytes INTEGER NOT NULL)",
        "INSERT INTO kept SELECT (SELECT total(bytes) FROM jobs) + (SELECT total(bytes) FROM characters)",
        *(
            f"CREATE TRIGGER {table}_kept_{name} AFTER {event} ON {table} "
            f"BEGIN UPDATE kept SET bytes = bytes + {change}; END"
            for table in ("jobs", "characters")
            for name, event, change in (
                ("more", "INSERT", "NEW.bytes"),
                ("less", "DELETE", "-OLD.bytes"),
                ("other", "UPDATE OF bytes", "NEW.bytes - OLD.bytes"),
            )
        ),
    ),
    (
        "CREATE TABLE desk (key TEXT PRIMARY KEY, value JSON, revision INTEGER NOT NULL)",
        "CREATE INDEX desk_changed ON desk (revision)",
    ),
)
"""Step n takes a store from version n to n + 1 (SQLite's user_version). Steps are only ever added."""

_PROBLEMS = (
    ("locked", 503, "store_locked", "the job store is locked by another program: try again"),
    ("disk is full", 507, "disk_full", "the disk with the job store is full: free some space, then try again"),
    ("malformed", 500, "store_damaged", "the job store is damaged: restore it, or move it away to start a new one"),
    (
        "not a database",
        500,
        "store_damaged",
        "the job store is damaged: restore it, or move it away to start a new one",
    ),
    ("readonly", 500, "store_unusable", "the job store cannot be written: ComfyUI must own it and its folder"),
    ("unable to open", 500, "store_unusable", "the job store cannot be opened: ComfyUI must own it and its folder"),
    ("disk I/O", 500, "store_unusable", "the disk with the job store has an error or is full"),
)
"""(text in SQLite's error, status, code, message) of the answer to a client."""


class StoreTooNew(Exception):
    """A newer Atelier wrote the file. It stays unchanged."""


def _reading(call: Callable) -> Callable:
    """Decorator: run a method with a connection in one of the reading threads, and await it."""

    @functools.wraps(call)
    async def method(self: Store, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, call, args)

    return method


def _writing(call: Callable) -> Callable:
    """Decorator: run a method with a connection as one transaction in the writing thread, and await it."""

    @functools.wraps(call)
    async def method(self: Store, *args: Any, **kwargs: Any) -> Any:
        run = functools.partial(self._write, call, time.monotonic() + PATIENCE, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._writer, run)

    return method


class Store:
    """Jobs and characters in one file. Every call may raise ApiError, such as 503 while another program locks it."""

    def __init__(self, file: Path) -> None:
        """Open or create the file, within PATIENCE seconds. Raises StoreTooNew, ApiError."""
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
            """Whether the file was just created."""
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
            raise self._explained(error) from error

    def _write(self, call: Callable, until: float, *args: Any, **kwargs: Any) -> Any:
        """until: the caller's deadline (time.monotonic). Time spent waiting for the writing thread counts too."""
        try:
            with self._engine.connect() as connection:
                left = max(0, int((until - time.monotonic()) * 1000))
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {left}")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                result = call(self, connection, *args, **kwargs)
                connection.commit()
                return result
        except sql.exc.DBAPIError as error:
            raise self._explained(error) from error

    def _explained(self, error: sql.exc.DBAPIError) -> Exception:
        """An ApiError with the remedy for a known error of SQLite, else the error itself."""
        for text, status, code, message in _PROBLEMS:
            if text in str(error.orig):
                return ApiError(status, code, f"{self.file.name}: {message}.")
        return error

    # Jobs

    @_writing
    def add(self, connection: sql.Connection, rows: Sequence[Row], limits: Settings) -> None:
        """Add jobs, all or none, and remove the claims on their folders. Raises ApiError 403, 429."""
        names = [row["id"] for row in rows]
        _refuse_too_many(connection, len(rows), limits)
        _refuse_too_much(connection, sum(row["bytes"] for row in rows), limits, names)
        connection.execute(sql.insert(jobs), list(rows))
        connection.execute(sql.delete(claims).where(claims.c.folder.in_(names)))

    @_reading
    def job(self, connection: sql.Connection, job_id: str) -> Row | None:
        """A job, unless it is deleted."""
        return _one(connection, sql.select(jobs).where(jobs.c.id == job_id, ~jobs.c.deleted))

    @_reading
    def row(self, connection: sql.Connection, job_id: str) -> Row | None:
        """A job, even if it is marked as deleted and still running."""
        return _one(connection, sql.select(jobs).where(jobs.c.id == job_id))

    @_reading
    def known(self, connection: sql.Connection, names: Sequence[str]) -> set[str]:
        """The ids among `names` of jobs that exist and are not deleted. SQLite allows some thousands of names."""
        return set(connection.execute(sql.select(jobs.c.id).where(jobs.c.id.in_(names), ~jobs.c.deleted)).scalars())

    @_writing
    def change(self, connection: sql.Connection, job_id: str, **values: Any) -> None:
        connection.execute(sql.update(jobs).where(jobs.c.id == job_id).values(**values))

    @_writing
    def begin(self, connection: sql.Connection, job_id: str) -> None:
        """Record that ComfyUI has started a job."""
        now = {"status": "in_progress", "started_at": time.time(), "completed_at": None, "error": None}
        connection.execute(sql.update(jobs).where(jobs.c.id == job_id, _open_to(True)).values(**now))

    @_writing
    def end(self, connection: sql.Connection, job_id: str, owner: bool, **values: Any) -> bool:
        """Record the end of a job, unless it has one. Returns whether it was recorded.

        owner: whether this is the job's own process, which may overwrite the end GONE.
        """
        ended = connection.execute(sql.update(jobs).where(jobs.c.id == job_id, _open_to(owner)).values(**values))
        return ended.rowcount > 0

    @_writing
    def forget(self, connection: sql.Connection, job_id: str) -> None:
        """Remove a job, and keep its place in the list until PLACES more are removed."""
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
        """A process's queued and running jobs, deleted ones included, oldest first."""
        query = sql.select(jobs).where(IS_ACTIVE, jobs.c.process == process)
        return _all(connection, query.order_by(jobs.c.seq))

    @_reading
    def stopping(self, connection: sql.Connection, process: str) -> list[Row]:
        """A process's active jobs that a client cancelled or deleted through any process."""
        asked = sql.or_(jobs.c.stopping, jobs.c.deleted)
        return _all(connection, sql.select(jobs).where(IS_ACTIVE, jobs.c.process == process, asked))

    @_reading
    def expired(self, connection: sql.Connection) -> list[Row]:
        return _all(connection, sql.select(jobs).where(jobs.c.expires_at < time.time()))

    @_reading
    def half_deleted(self, connection: sql.Connection) -> list[Row]:
        """Ended jobs that are marked as deleted but not removed yet."""
        return _all(connection, sql.select(jobs).where(jobs.c.deleted, jobs.c.status.not_in(ACTIVE)))

    @_reading
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
        """Claim a folder for a request of `size` bytes that creates `new_jobs` jobs.

        Raises ApiError 403 beyond the quota, 429 beyond max_waiting.
        """
        _refuse_too_many(connection, new_jobs, limits)
        _refuse_too_much(connection, size, limits, [])
        connection.execute(sql.insert(claims), {"folder": folder, "process": process, "bytes": size})

    @_writing
    def release(self, connection: sql.Connection, folder: str) -> None:
        connection.execute(sql.delete(claims).where(claims.c.folder == folder))

    @_reading
    def claimed(self, connection: sql.Connection, process: str) -> list[str]:
        """The folders that a process is filling or removing."""
        return list(connection.execute(sql.select(claims.c.folder).where(claims.c.process == process)).scalars())

    @_reading
    def folders(self, connection: sql.Connection) -> set[str]:
        """The names of all folders of jobs, characters and claims."""
        known = sql.union_all(*(sql.select(c) for c in (jobs.c.id, characters.c.id, claims.c.folder)))
        return set(connection.execute(known).scalars())

    @_reading
    def processes(self, connection: sql.Connection) -> list[str]:
        """The processes with active jobs or claims."""
        busy = sql.select(jobs.c.process).where(IS_ACTIVE)
        return list(connection.execute(sql.union(busy, sql.select(claims.c.process))).scalars())

    @_reading
    def bytes_kept(self, connection: sql.Connection) -> int:
        """Bytes of all jobs' and characters' folders, and the expected bytes of all claims."""
        return _bytes(connection)

    # Characters

    @_writing
    def add_character(self, connection: sql.Connection, row: Row, limits: Settings) -> None:
        """Add a character, and remove the claim on its folder. Raises ApiError 403."""
        _refuse_too_much(connection, row["bytes"], limits, [row["id"]])
        connection.execute(sql.insert(characters), row)
        connection.execute(sql.delete(claims).where(claims.c.folder == row["id"]))

    @_writing
    def forget_character(self, connection: sql.Connection, character_id: str, process: str) -> None:
        """Remove a character, and claim its folder until that is removed."""
        connection.execute(sql.delete(characters).where(characters.c.id == character_id))
        claim = {"folder": character_id, "process": process, "bytes": 0}
        connection.execute(sql.insert(claims).prefix_with("OR REPLACE"), claim)

    # The desk

    @_reading
    def desk(self, connection: sql.Connection, after: int) -> tuple[int, Row]:
        """(the newest revision, the items that have changed since revision `after` by key, None if removed)."""
        query = sql.select(desk).where(desk.c.revision > after).order_by(desk.c.revision)
        rows = _all(connection, query if after else query.where(desk.c.value.is_not(None)))
        return _revision(connection), {row["key"]: row["value"] for row in rows}

    @_writing
    def change_desk(self, connection: sql.Connection, items: Row, base: int | None) -> tuple[int, Row]:
        """Write items of the desk, all or none; None removes one. Returns (the new revision, the items).

        Raises ApiError 412 if one of them has changed since revision `base`, and 403 beyond MAX_ITEMS.
        """
        there = {row["key"]: row for row in _all(connection, sql.select(desk).where(desk.c.key.in_(items)))}
        for key, row in there.items():
            if base is not None and row["revision"] > base and row["value"] != items[key]:
                message = f"'{key}' has been changed meanwhile, by another page. Read the desk again."
                raise ApiError(412, "changed_meanwhile", message, key)
        count = connection.execute(sql.select(sql.func.count()).select_from(desk)).scalar_one()
        if count + len(items) - len(there) > MAX_ITEMS:
            raise ApiError(403, "desk_full", f"Up to {MAX_ITEMS:,} names, stars, projects and boards are kept.")
        revision = _revision(connection) + 1
        rows = [{"key": key, "value": value, "revision": revision} for key, value in items.items()]
        connection.execute(sql.insert(desk).prefix_with("OR REPLACE"), rows)
        return revision, items

    @_reading
    def character(self, connection: sql.Connection, character_id: str) -> Row | None:
        return _one(connection, sql.select(characters).where(characters.c.id == character_id))


def _revision(connection: sql.Connection) -> int:
    """The number of the desk's newest change."""
    return connection.execute(sql.select(sql.func.max(desk.c.revision))).scalar() or 0


def _letters(value: Any) -> int:
    """The number of letters of all texts in a column."""
    if isinstance(value, dict | list):
        return sum(map(_letters, value.values() if isinstance(value, dict) else value))
    return len(value) if isinstance(value, str) else 0


def _one(connection: sql.Connection, query: sql.Select) -> Row | None:
    return next(iter(_all(connection, query)), None)


def _all(connection: sql.Connection, query: sql.Select) -> list[Row]:
    return [dict(row) for row in connection.execute(query).mappings()]


def _open_to(owner: bool) -> sql.ColumnElement[bool]:
    """Condition: the job is active, or (for its owner) ended with GONE."""
    return sql.or_(IS_ACTIVE, sql.func.json_extract(jobs.c.error, "$.code") == GONE) if owner else IS_ACTIVE


def _bytes(connection: sql.Connection, without: Sequence[str] = ()) -> int:
    totals = [
        sql.select(kept.c.bytes),
        sql.select(sql.func.sum(claims.c.bytes)).where(claims.c.folder.not_in(without)),
    ]
    return sum(connection.execute(total).scalar() or 0 for total in totals)


def _refuse_too_much(connection: sql.Connection, more: int, limits: Settings, without: Sequence[str]) -> None:
    """Raises ApiError 403 if `more` bytes exceed the quota. without: claims that these bytes replace."""
    if limits.quota_gb is not None and _bytes(connection, without) + more > limits.quota_gb * 1e9:
        raise ApiError(403, "quota_exceeded", f"The videos would take more than {limits.quota_gb:g} GB: delete some.")


def _refuse_too_many(connection: sql.Connection, more: int, limits: Settings) -> None:
    """Raises ApiError 429 if `more` jobs exceed max_waiting."""
    count = sql.select(sql.func.count()).select_from(jobs).where(IS_ACTIVE)
    if more and connection.execute(count).scalar_one() + more > limits.max_waiting:
        raise ApiError(429, "queue_full", f"Up to {limits.max_waiting} jobs may wait at once: try again later.")


def _migrated(store: Store, connection: sql.Connection) -> int:
    """Migrate the file to the newest version. Returns the version it had, 0 for a new file. Raises StoreTooNew."""
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
    """In WAL mode readers never wait for a writer, and a commit survives the death of the process."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
