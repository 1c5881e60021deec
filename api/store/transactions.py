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
from typing import Any

import sqlalchemy as sql

from .database import Database
from .migrations import migrated

PATIENCE = 5.0
"""Seconds that a write waits for a lock."""
READERS = 4
"""Threads that read."""


def reading(call: Callable, streams: bool = False) -> Callable:
    """Decorator: run a method with a connection in one of the reading threads, and await it."""

    @functools.wraps(call)
    async def method(self: Transactions, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, call, args, streams)

    return method


streaming = functools.partial(reading, streams=True)
"""Decorator: as `reading`, for a method that fetches its rows in parts."""


def writing(call: Callable, lasting: bool = True) -> Callable:
    """Decorator: run a method with a connection as one transaction in the writing thread, and await it."""

    @functools.wraps(call)
    async def method(self: Transactions, *args: Any, **kwargs: Any) -> Any:
        run = functools.partial(self._write, call, time.monotonic() + PATIENCE, *args, lasting=lasting, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._writer, run)

    return method


noting = functools.partial(writing, lasting=False)
"""Decorator: as `writing`, for what is found out again if the database's machine dies within a second. It need not wait
until its disk has it, which takes several milliseconds."""


class Transactions:
    """A database, and the threads that read from it and write to it."""

    def __init__(self, database: Database) -> None:
        """Open the tables, or create them. Raises StoreTooNew, ApiError, OSError."""
        self.database = database
        self._engine = database.engine(PATIENCE)
        self._writer = ThreadPoolExecutor(1, "atelier-store-writer")
        self._readers = ThreadPoolExecutor(READERS, "atelier-store-reader")
        try:
            self.new = self._write(Transactions._migrated, time.monotonic() + PATIENCE) == 0
            """Whether the tables were just created."""
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for threads in (self._writer, self._readers):
            threads.shutdown()
        self._engine.dispose()

    def _read(self, call: Callable, args: Sequence[Any], streams: bool) -> Any:
        try:
            with self._engine.connect() as connection:
                if not streams:
                    self.database.begin_reading(connection)
                return call(self, connection, *args)
        except sql.exc.DBAPIError as error:
            raise self.database.problem(error) or error from error

    def _write(self, call: Callable, until: float, *args: Any, lasting: bool = True, **kwargs: Any) -> Any:
        """until: the caller's deadline (time.monotonic). Time spent waiting for the writing thread counts too."""
        try:
            with self._engine.connect() as connection:
                self.database.begin_writing(connection, max(0.0, until - time.monotonic()), lasting)
                result = call(self, connection, *args, **kwargs)
                connection.commit()
                return result
        except sql.exc.DBAPIError as error:
            raise self.database.problem(error) or error from error

    def _migrated(self, connection: sql.Connection) -> int:
        return migrated(connection, self.database)
