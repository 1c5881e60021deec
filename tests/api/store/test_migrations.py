"""Stores that an older Atelier wrote."""

from __future__ import annotations

import asyncio
import sqlite3

from atelier.api.store import Store, migrations


def test_a_store_of_before_is_summed_once(tmp_path, monkeypatch):
    monkeypatch.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:2])
    Store(tmp_path / "videos.db").close()
    with sqlite3.connect(tmp_path / "videos.db") as file:
        file.execute(
            "INSERT INTO jobs (id, operation, status, created_at, model, prompt, settings, warnings, bytes, process, "
            "deleted) VALUES ('video_1', 'generate', 'completed', 1, 'm', 'x', '{}', '[]', 70, '1', 0)"
        )
        file.execute("INSERT INTO characters (id, name, created_at, picture, bytes) VALUES ('char_1', 'x', 1, 'x', 7)")
    monkeypatch.undo()
    store = Store(tmp_path / "videos.db")
    assert asyncio.run(store.bytes_kept()) == 77
    store.close()
