"""The characters."""

from __future__ import annotations

import sqlalchemy as sql

from ..settings import Settings
from .limits import refuse_too_much
from .tables import Row, characters, claims, one, put
from .transactions import Transactions, reading, writing


class Characters(Transactions):
    """Characters: a name and a picture each."""

    @writing
    def add_character(self, connection: sql.Connection, row: Row, limits: Settings) -> None:
        """Add a character, and remove the claim on its folder. Raises ApiError 403."""
        refuse_too_much(connection, row["bytes"], limits, [row["id"]])
        connection.execute(sql.insert(characters), row)
        connection.execute(sql.delete(claims).where(claims.c.folder == row["id"]))

    @writing
    def forget_character(self, connection: sql.Connection, character_id: str, process: str) -> None:
        """Remove a character, and claim its folder until that is removed."""
        connection.execute(sql.delete(characters).where(characters.c.id == character_id))
        claim = {"folder": character_id, "process": process, "bytes": 0}
        put(connection, claims, [claim])

    @reading
    def character(self, connection: sql.Connection, character_id: str) -> Row | None:
        return one(connection, sql.select(characters).where(characters.c.id == character_id))
