"""The owner's limits: the bytes on disk, and the jobs that wait."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sql

from ..errors import ApiError
from ..settings import Settings
from .tables import IS_ACTIVE, claims, jobs, kept


def bytes_kept(connection: sql.Connection, without: Sequence[str] = ()) -> int:
    totals = [
        sql.select(kept.c.bytes),
        sql.select(sql.func.sum(claims.c.bytes)).where(claims.c.folder.not_in(without)),
    ]
    return sum(connection.execute(total).scalar() or 0 for total in totals)


def refuse_too_much(connection: sql.Connection, more: int, limits: Settings, without: Sequence[str]) -> None:
    """Raises ApiError 403 if `more` bytes exceed the quota. without: claims that these bytes replace."""
    if limits.quota_gb is not None and bytes_kept(connection, without) + more > limits.quota_gb * 1e9:
        raise ApiError(403, "quota_exceeded", f"The videos would take more than {limits.quota_gb:g} GB: delete some.")


def refuse_too_many(connection: sql.Connection, more: int, limits: Settings) -> None:
    """Raises ApiError 429 if `more` jobs exceed max_waiting."""
    count = sql.select(sql.func.count()).select_from(jobs).where(IS_ACTIVE)
    if more and connection.execute(count).scalar_one() + more > limits.max_waiting:
        raise ApiError(429, "queue_full", f"Up to {limits.max_waiting} jobs may wait at once: try again later.")
