"""The store's tables, and reading rows from them."""

from __future__ import annotations

import importlib
from typing import Any

import sqlalchemy as sql

Row = dict[str, Any]

ACTIVE = ("queued", "in_progress")
"""Statuses of a job that ComfyUI has not ended."""

_tables = sql.MetaData()
jobs = sql.Table(
    "jobs",
    _tables,
    sql.Column("seq", sql.BigInteger, primary_key=True),
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
    sql.Column("bytes", sql.BigInteger, nullable=False, default=0),
    sql.Column("process", sql.String, nullable=False),
    sql.Column("deleted", sql.Boolean, nullable=False, default=False),
    sql.Column("stopping", sql.Boolean, nullable=False, default=False),
)
"""`process` is the ComfyUI that runs the job. Any ComfyUI on this store may set `stopping` and `deleted` for it."""
characters = sql.Table(
    "characters",
    _tables,
    sql.Column("seq", sql.BigInteger, primary_key=True),
    sql.Column("id", sql.String, nullable=False, unique=True),
    sql.Column("name", sql.String, nullable=False),
    sql.Column("created_at", sql.Float, nullable=False),
    sql.Column("picture", sql.String, nullable=False),
    sql.Column("bytes", sql.BigInteger, nullable=False),
)
claims = sql.Table(
    "claims",
    _tables,
    sql.Column("folder", sql.String, primary_key=True),
    sql.Column("process", sql.String, nullable=False),
    sql.Column("bytes", sql.BigInteger, nullable=False),
)
"""Folders that a process is filling or removing, named by the id of the job or character, and their expected bytes. If
the process dies, another one removes them."""
places = sql.Table(
    "places",
    _tables,
    sql.Column("number", sql.BigInteger, primary_key=True),
    sql.Column("id", sql.String, nullable=False, unique=True),
    sql.Column("seq", sql.BigInteger, nullable=False),
)
"""Places of deleted videos in the list. `number` grows with each that is deleted."""
kept = sql.Table("kept", _tables, sql.Column("bytes", sql.BigInteger, nullable=False))
"""One row: the bytes of the folders of all jobs and characters, kept by triggers: summing 200,000 jobs takes 0.1 s."""
IS_ACTIVE = jobs.c.status.in_([sql.literal_column(f"'{status}'") for status in ACTIVE])
"""Condition: ComfyUI has not ended the job. The statuses stand in the query's text: only then SQLite uses the partial
index jobs_active, and the answer takes 0.1 ms instead of 100 ms with 200,000 jobs."""
desk = sql.Table(
    "desk",
    _tables,
    sql.Column("key", sql.String, primary_key=True),
    sql.Column("value", sql.JSON(none_as_null=True)),
    sql.Column("revision", sql.BigInteger, nullable=False),
)
"""What the studio keeps beside the videos. A removed item stays as NULL, so that other pages learn of it."""


def one(connection: sql.Connection, query: sql.Select) -> Row | None:
    return next(iter(every(connection, query)), None)


def every(connection: sql.Connection, query: sql.Select) -> list[Row]:
    return [dict(row) for row in connection.execute(query).mappings()]


def insert(connection: sql.Connection, table: sql.Table) -> Any:
    """An INSERT that can say what to do where the row is there already, which is not in SQL's standard."""
    return importlib.import_module(f"sqlalchemy.dialects.{connection.dialect.name}").insert(table)


def put(connection: sql.Connection, table: sql.Table, rows: list[Row]) -> None:
    """Insert rows, in the place of those with the same key."""
    (key,) = table.primary_key
    wanted = insert(connection, table)
    others = {column.name: wanted.excluded[column.name] for column in table.c if column is not key}
    connection.execute(wanted.on_conflict_do_update(index_elements=[key], set_=others), rows)
