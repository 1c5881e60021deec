"""The store in one SQLite file, which several ComfyUIs on one machine may share. The default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sql

from ..errors import ApiError

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


class SQLite:
    """See `database.Database`."""

    def __init__(self, file: Path) -> None:
        self.file, self.name = file, file.name

    def engine(self, patience: float) -> sql.Engine:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        options = {"timeout": patience, "check_same_thread": False}
        engine = sql.create_engine(f"sqlite:///{self.file}", connect_args=options)
        sql.event.listen(engine, "connect", _prepare)
        return engine

    def begin_reading(self, connection: sql.Connection) -> None:
        """Nothing to do: a query alone begins none."""

    def begin_writing(self, connection: sql.Connection, seconds: float, lasting: bool = True) -> None:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def version(self, connection: sql.Connection) -> int:
        return connection.exec_driver_sql("PRAGMA user_version").scalar_one()

    def set_version(self, connection: sql.Connection, version: int) -> None:
        connection.exec_driver_sql(f"PRAGMA user_version = {version}")

    def problem(self, error: sql.exc.DBAPIError) -> ApiError | None:
        for text, status, code, message in _PROBLEMS:
            if text in str(error.orig):
                return ApiError(status, code, f"{self.name}: {message}.")
        return None


def _prepare(connection: Any, _: object) -> None:
    """In WAL mode readers never wait for a writer, and a commit survives the death of the process."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
