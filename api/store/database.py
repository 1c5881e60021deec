"""What the store asks of a database. `sqlite.py` and `postgresql.py` are the two that it knows."""

from __future__ import annotations

from typing import Protocol

import sqlalchemy as sql

from ..errors import ApiError


class Database(Protocol):
    """A place for the store's tables. `name` stands in messages to clients."""

    name: str

    def engine(self, patience: float) -> sql.Engine:
        """Connections to it, which wait up to `patience` seconds to be made. Raises ApiError, OSError."""

    def begin_reading(self, connection: sql.Connection) -> None:
        """Let each query be a transaction of its own, if that saves time. None fetches its rows in parts."""

    def begin_writing(self, connection: sql.Connection, seconds: float, lasting: bool = True) -> None:
        """Begin a transaction that no other writer of this store runs beside, within `seconds`.

        lasting: whether its end waits until the disk has it; else a crash may lose it, whole.
        """

    def version(self, connection: sql.Connection) -> int:
        """The version of the tables, 0 if there are none."""

    def set_version(self, connection: sql.Connection, version: int) -> None: ...

    def problem(self, error: sql.exc.DBAPIError) -> ApiError | None:
        """The answer to a client for a known error, with what to do; None for others."""
