"""The desk: what the studio keeps beside the videos."""

from __future__ import annotations

import sqlalchemy as sql

from ..errors import ApiError
from .tables import Row, desk, every, put
from .transactions import Transactions, reading, writing

MAX_ITEMS = 20_000
"""Items of the desk, removed ones included."""


class Desk(Transactions):
    """Items by key. Every change has a number, the revision."""

    @reading
    def desk(self, connection: sql.Connection, after: int) -> tuple[int, Row]:
        """(the newest revision, the items that have changed since revision `after` by key, None if removed)."""
        query = sql.select(desk).where(desk.c.revision > after).order_by(desk.c.revision)
        newest = _revision(connection)  # first: what is written in between comes twice then, and not never
        rows = every(connection, query if after else query.where(desk.c.value.is_not(None)))
        return newest, {row["key"]: row["value"] for row in rows}

    @writing
    def change_desk(self, connection: sql.Connection, items: Row, base: int | None) -> tuple[int, Row]:
        """Write items of the desk, all or none; None removes one. Returns (the new revision, the items).

        Raises ApiError 412 if one of them has changed since revision `base`, and 403 beyond MAX_ITEMS.
        """
        there = {row["key"]: row for row in every(connection, sql.select(desk).where(desk.c.key.in_(items)))}
        for key, row in there.items():
            if base is not None and row["revision"] > base and row["value"] != items[key]:
                message = f"'{key}' has been changed meanwhile, by another page. Read the desk again."
                raise ApiError(412, "changed_meanwhile", message, key)
        count = connection.execute(sql.select(sql.func.count()).select_from(desk)).scalar_one()
        if count + len(items) - len(there) > MAX_ITEMS:
            raise ApiError(403, "desk_full", f"Up to {MAX_ITEMS:,} names, stars, projects and boards are kept.")
        revision = _revision(connection) + 1
        rows = [{"key": key, "value": value, "revision": revision} for key, value in items.items()]
        put(connection, desk, rows)
        return revision, items


def _revision(connection: sql.Connection) -> int:
    """The number of the desk's newest change."""
    return connection.execute(sql.select(sql.func.max(desk.c.revision))).scalar() or 0
