"""Rows for a job store without a server."""

from __future__ import annotations

from atelier.api.settings import Settings

OPEN = Settings()
"""No limits but the defaults."""


def job(number: int, **values) -> dict:
    row = {"id": f"video_{number:032x}", "operation": "generate", "status": "queued", "created_at": 1.0, "model": "m"}
    row |= {"prompt": "x", "settings": {}, "warnings": [], "bytes": 0, "process": "1", "deleted": False}
    return row | {"error": None} | values
