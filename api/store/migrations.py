"""The steps that take a store of any version to the newest one."""

from __future__ import annotations

import sqlalchemy as sql

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


class StoreTooNew(Exception):
    """A newer Atelier wrote the file. It stays unchanged."""


def migrated(connection: sql.Connection, name: str) -> int:
    """Migrate the file to the newest version. Returns the version it had, 0 for a new file. Raises StoreTooNew."""
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version > len(MIGRATIONS):
        raise StoreTooNew(f"{name} has version {version}, this Atelier knows up to {len(MIGRATIONS)}: update it.")
    for step in MIGRATIONS[version:]:
        for statement in step:
            connection.exec_driver_sql(statement)
    connection.exec_driver_sql(f"PRAGMA user_version = {len(MIGRATIONS)}")
    return version
