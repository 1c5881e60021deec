"""The store in a PostgreSQL database, for a farm's head. The driver, psycopg, is optional and imported when it is used.

ComfyUIs on one machine may share it, as they share a SQLite file: they have one folder, and see by its locks which of
them are alive. A ComfyUI with another folder is refused, because it has other files and cannot tell whether these live.
"""

from __future__ import annotations

import functools
import logging
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from ..errors import ApiError

HOME, WRITER = 1_635_017_060, 1_635_017_061
"""Our classes of advisory locks: the folder that uses the database (a shared lock of each connection), and the one
transaction that writes."""
ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 15_000}
"""Seconds (the last: milliseconds) after which a silent connection is given up, at both ends: a head that has lost its
network must not keep the next one out for two hours."""
RESTED = 1.0
"""Seconds without use after which a connection is tried first. Before each use, that would cost a millisecond."""
_UNREACHABLE = (503, "store_unreachable", "it cannot be reached. Nothing is lost; try again")
_BY_STATE = {
    "55P03": (503, "store_locked", "another program locks it: try again"),
    "53100": (507, "disk_full", "its disk is full: free some space, then try again"),
    "53300": (503, "store_busy", "it has too many connections: try again"),
    "42P07": (500, "store_unusable", "it has tables of another program. Give Atelier a database of its own"),
    "42501": (500, "store_unusable", "its user may not create or change tables. Make it the database's owner"),
    "25006": (500, "store_unusable", "it is read-only. Name the primary server"),
}
"""SQLSTATE -> (status, code, message) of the answer to a client."""
_BY_TEXT = (
    ("NUL", (400, "invalid_value", "it cannot store the character NUL, which a text of the request has")),
    ("authentication", (500, "store_unusable", "it refuses the login. Correct 'database' in api.json")),
    ("no password", (500, "store_unusable", "it refuses the login. Correct 'database' in api.json")),
    ("does not exist", (500, "store_unusable", "there is no such database or user. Correct 'database' in api.json")),
    ("no pg_hba.conf entry", (500, "store_unusable", "it does not admit this machine. Add it to pg_hba.conf")),
)
"""The same for errors without a SQLSTATE: text in the error -> answer."""


class PostgreSQL:
    """See `database.Database`."""

    name = "the job database (PostgreSQL)"

    def __init__(self, url: str, home: Path) -> None:
        """url: SQLAlchemy's, as postgresql+psycopg://user:password@host/name. home: a file with this folder's number,
        made if there is none. Raises OSError."""
        self._url, self._reported = sql.make_url(url).set(drivername="postgresql+psycopg"), ""
        home.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError), home.open("x", encoding="ascii") as file:
            file.write(str(secrets.randbelow(2**31)))
        self._home = int(home.read_text(encoding="ascii"))

    def engine(self, patience: float) -> sql.Engine:
        at_the_server = " ".join(f"-c {'' if key.startswith('tcp') else 'tcp_'}{key}={n}" for key, n in ALIVE.items())
        options: dict[str, Any] = {"connect_timeout": int(patience), "application_name": "atelier", **ALIVE}
        options = {key: value for key, value in options.items() if key not in self._url.query}
        options["options"] = f"{self._url.query.get('options', '')} {at_the_server}"
        try:
            engine = sql.create_engine(self._url, connect_args=options, pool_timeout=patience)
        except ImportError:
            message = "'database' in api.json needs a driver: pip install 'psycopg[binary]', then restart ComfyUI."
            raise ApiError(503, "store_unavailable", message) from None
        sql.event.listen(engine, "connect", self._claim)
        sql.event.listen(engine, "checkin", _rests)
        sql.event.listen(engine, "checkout", functools.partial(_ping, engine.dialect))
        return engine

    def _claim(self, connection: Any, _: object) -> None:
        """Lock the database for this folder as long as the connection lives. Raises ApiError if another one has it."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock_shared(%s, %s)", (HOME, self._home))
            cursor.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objid <> %s AND "
                "database = (SELECT oid FROM pg_database WHERE datname = current_database())",
                (HOME, self._home),
            )
            (others,) = cursor.fetchone()
        connection.commit()
        if others:
            connection.close()
            message = f"Another ComfyUI, with another folder, uses {self.name}. Stop one, or give each its own."
            raise ApiError(503, "store_in_use", message)

    def begin_reading(self, connection: sql.Connection) -> None:
        connection.execution_options(isolation_level="AUTOCOMMIT")  # two ways to the server less

    def begin_writing(self, connection: sql.Connection, seconds: float, lasting: bool = True) -> None:
        options = {"lock_timeout": max(1, int(seconds * 1000))}  # 0 means for ever
        options |= {} if lasting else {"synchronous_commit": "off"}
        local = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in options.items())
        # Together, from left to right: each way to the server and back takes a millisecond where both are busy.
        connection.exec_driver_sql(f"SELECT {local}, pg_advisory_xact_lock({WRITER}, 0)")

    def version(self, connection: sql.Connection) -> int:
        if connection.exec_driver_sql("SELECT to_regclass('atelier_version')").scalar() is None:
            return 0
        return connection.exec_driver_sql("SELECT version FROM atelier_version").scalar_one()

    def set_version(self, connection: sql.Connection, version: int) -> None:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS atelier_version (version INTEGER NOT NULL)")
        connection.exec_driver_sql("DELETE FROM atelier_version")
        connection.exec_driver_sql(f"INSERT INTO atelier_version VALUES ({version})")

    def problem(self, error: sql.exc.DBAPIError) -> ApiError | None:
        state, text = getattr(error.orig, "sqlstate", None), str(error.orig)
        known = _BY_STATE.get(state) or next((answer for part, answer in _BY_TEXT if not state and part in text), None)
        lost = error.connection_invalidated or isinstance(error, sql.exc.OperationalError | sql.exc.InterfaceError)
        if known is None and not lost:
            return None
        status, code, message = known or _UNREACHABLE
        if status != 400 and text != self._reported:  # the reason may name the owner's host and user: for the log only
            self._reported = text
            logging.warning("Atelier: %s: %s", self.name, text.strip())
        return ApiError(status, code, f"{self.name[0].upper()}{self.name[1:]}: {message}.")


def _rests(connection: Any, record: Any) -> None:
    record.info["rests"] = time.monotonic()


def _ping(dialect: sql.Dialect, connection: Any, record: Any, _: object) -> None:
    """Have the pool make a new connection in the place of one that was broken off while it rested."""
    if time.monotonic() - record.info.get("rests", float("inf")) > RESTED:
        try:
            dialect.do_ping(connection)
        except dialect.dbapi.Error:
            raise sql.exc.DisconnectionError from None
