"""One database, one short transaction a call, each in one of the store's own threads.

A program that locks the database cannot block ComfyUI. Reads never wait for a lock. Writes wait up to PATIENCE seconds,
then the client gets an error.
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

from ..errors import ApiError
from .migrations import migrated

PATIENCE = 5.0
"""Seconds that a write waits for a lock."""
READERS = 4
"""Threads that read."""

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


def reading(call: Callable) -> Callable:
    """Decorator: run a method with a connection in one of the reading threads, and await it."""

    @functools.wraps(call)
    async def method(self: Transactions, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, call, args)

    return method


def writing(call: Callable) -> Callable:
    """Decorator: run a method with a connection as one transaction in the writing thread, and await it."""

    @functools.wraps(call)
    async def method(self: Transactions, *args: Any, **kwargs: Any) -> Any:
        run = functools.partial(self._write, call, time.monotonic() + PATIENCE, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._writer, run)

    return method


class Transactions:
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
            self.new = self._write(Transactions._migrated, time.monotonic() + PATIENCE) == 0
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

    def _migrated(self, connection: sql.Connection) -> int:
        return migrated(connection, self.file.name)


def _prepare(connection: Any, _: object) -> None:
    """In WAL mode readers never wait for a writer, and a commit survives the death of the process."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
