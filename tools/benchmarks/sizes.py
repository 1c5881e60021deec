"""Measures the Videos API in a real ComfyUI whose store has 100,000 jobs, in SQLite and in PostgreSQL.

PostgreSQL is a server of its own on this machine, as its package sets it up, and is left out where it is not installed.
"""

import importlib.util
import json
import statistics
import tempfile
import uuid
from pathlib import Path

import postgresql_server
from client import Client
from comfy_server import running
from console import Problem, say

from benchmarks.api import PAGE, SHOT, create_and_queue, list_pages, processor
from benchmarks.figure import Figure

JOBS = 100_000
MOST_CREATE, MOST_PAGE = 20, 50
"""Milliseconds."""
AT_A_TIME = 5_000
"""Rows of one INSERT."""


def sizes() -> list[Figure]:
    """Milliseconds: create to queued, and a page of 100, of 100,000 jobs."""
    figures = _measured("SQLite", None)
    try:
        if importlib.util.find_spec("psycopg") is None:
            raise Problem("its driver psycopg is not installed")
        with postgresql_server.running() as server:
            figures += _measured("PostgreSQL", server.url)
    except Problem as problem:
        say(f"sizes: without PostgreSQL: {problem}")
    return figures


def _measured(name: str, url: str | None) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="atelier-bench-sizes-") as base:
        folder = Path(base) / "user" / "atelier"
        folder.mkdir(parents=True)
        (folder / "api.json").write_text(json.dumps({"database": url} if url else {}))
        with running(Path(base), "comfyui") as server, Client(server.url) as client:
            client.post("/v1/videos", SHOT)  # makes the tables, and a row to copy
        _fill(url or f"sqlite:///{folder / 'videos.db'}")
        with running(Path(base), "again") as server, Client(server.url) as client:
            client.get("/v1/videos")
            created, computed, core, _ = create_and_queue(client, server.process.pid)
            pages, paging = list_pages(client, server.process.pid)
    core = f"ComfyUI's own POST /prompt with the same graph: {statistics.median(core):.1f} ms"
    notes = [[f"{JOBS} jobs in the store", *processor(computed), core], [f"{PAGE} of {JOBS} jobs", *processor(paging)]]
    return [
        Figure(f"sizes, create, {name}", tuple(created), MOST_CREATE, " ms", note="; ".join(notes[0])),
        Figure(f"sizes, list, {name}", tuple(pages), MOST_PAGE, " ms", note="; ".join(notes[1])),
    ]


def _fill(url: str) -> None:
    """Copy the first job, as a finished one, until the store has `JOBS`."""
    import sqlalchemy as sql

    engine = sql.create_engine(url)
    jobs = sql.Table("jobs", sql.MetaData(), autoload_with=engine)
    with engine.connect() as connection:
        job = dict(connection.execute(sql.select(jobs).limit(1)).mappings().one())
        del job["seq"]
        job |= {"status": "completed", "file": "video_00001_.mp4", "completed_at": job["created_at"] + 1}
        job["bytes"] = 0  # else each row changes the kept sum, whose old versions PostgreSQL keeps until the commit
        for _ in range(0, JOBS, AT_A_TIME):
            rows = [job | {"id": f"video_{uuid.uuid4().hex}"} for _ in range(AT_A_TIME)]
            connection.execute(sql.insert(jobs), rows)
            connection.commit()
    engine.dispose()
