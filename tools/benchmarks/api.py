"""Measures the Videos API in a real ComfyUI: from a request to a queued job, and listing a store of 10,000 jobs.

Requests are sent one by one to an idle server, because a running sampler would slow them on the CPU.
"""

import sqlite3
import statistics
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from client import Client
from comfy_server import running

from benchmarks.figure import Figure

ROUNDS, JOBS, PAGE = 40, 10_000, 100
PAIRED = "than core's POST /prompt, pair by pair"
SHOT = {"prompt": "a red circle moving left", "num_inference_steps": 1}


def api() -> list[Figure]:
    """Milliseconds: create to queued, with the shipped graph; a page of 100 and all pages of 10,000 jobs."""
    with tempfile.TemporaryDirectory(prefix="atelier-bench-api-") as base:
        with running(Path(base), "comfyui") as server, Client(server.url) as client:
            ours, computed, theirs, core_computed = create_and_queue(client, server.process.pid)
        _fill(Path(base) / "user" / "atelier" / "videos.db")
        with running(Path(base), "again") as server, Client(server.url) as client:
            client.get("/v1/videos")
            pages, paging = list_pages(client, server.process.pid)
            whole = [_timed(_list_all, client)[0] for _ in range(3)]
    core = ", ".join([f"{statistics.median(theirs):.1f} ms", *processor(core_computed)])
    core = f"ComfyUI's own POST /prompt with the same graph: {core}"
    return [
        Figure("api, create", tuple(ours), 20, " ms", note="; ".join([*processor(computed), core])),
        Figure("api, create, more", tuple(a - b for a, b in zip(ours, theirs, strict=True)), 20, " ms", note=PAIRED),
        Figure("api, list", tuple(pages), 50, " ms", note="; ".join([*processor(paging), f"{PAGE} of {JOBS} jobs"])),
        Figure("api, list all", tuple(whole), None, " ms", note=f"{JOBS} jobs in pages of {PAGE}"),
    ]


def processor(milliseconds: list[float]) -> list[str]:
    """A note on the CPU time of the server's own thread, which other programs do not lengthen."""
    return [f"computing {statistics.median(milliseconds):.1f} ms"] if any(milliseconds) else []


def _computed(process: int) -> float:
    """Milliseconds of CPU time of a process's first thread, its event loop; 0 if Linux does not report it."""
    spent = Path(f"/proc/{process}/task/{process}/schedstat")
    return int(spent.read_text().split()[0]) / 1e6 if spent.is_file() else 0.0


def list_pages(client: Client, process: int) -> tuple[list[float], list[float]]:
    """Milliseconds for a page of the list, and the CPU time of the server's thread for it."""
    pages = [_measured(process, client.get, f"/v1/videos?limit={PAGE}")[:2] for _ in range(ROUNDS)]
    return [wall for wall, _ in pages], [computed for _, computed in pages]


def create_and_queue(client: Client, process: int) -> list[list[float]]:
    """Milliseconds of POST /v1/videos and of the server's thread for it; in alternation, both for POST /prompt with
    the resulting graph."""
    rounds = []
    for seed in range(ROUNDS + 1):
        *ours, video = _measured(process, client.post, "/v1/videos", SHOT | {"seed": seed})
        _until_ended(client, video["id"])
        record = client.history(str(uuid.UUID(video["id"].removeprefix("video_"))))
        again = {"prompt": record["prompt"][2], "client_id": client.id}
        *theirs, queued = _measured(process, client.post, "/prompt", again)
        client.wait(queued["prompt_id"])
        rounds.append(ours + theirs)
    return [list(column) for column in zip(*rounds[1:], strict=True)]


def _measured(process: int, call: Any, *arguments: Any) -> tuple[float, float, Any]:
    """(milliseconds, CPU milliseconds of the server's thread, the call's result)."""
    before = _computed(process)
    milliseconds, answer = _timed(call, *arguments)
    return milliseconds, _computed(process) - before, answer


def _until_ended(client: Client, video_id: str) -> None:
    while client.get(f"/v1/videos/{video_id}")["status"] not in ("completed", "failed"):
        time.sleep(0.05)


def _list_all(client: Client) -> None:
    after, more = "", True
    while more:
        page = client.get(f"/v1/videos?limit={PAGE}{after}")
        after, more = f"&after={page['last_id']}", page["has_more"]


def _fill(store: Path) -> None:
    """Copy the first job until the store has `JOBS` jobs."""
    with sqlite3.connect(store) as connection:
        connection.row_factory = sqlite3.Row
        job = dict(connection.execute("SELECT * FROM jobs LIMIT 1").fetchone())
        (there,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
        del job["seq"]
        rows = [job | {"id": f"video_{uuid.uuid4().hex}"} for _ in range(JOBS - there)]
        names = ", ".join(job)
        connection.executemany(f"INSERT INTO jobs ({names}) VALUES ({', '.join(f':{name}' for name in job)})", rows)


def _timed(call: Any, *arguments: Any) -> tuple[float, Any]:
    """(milliseconds, the call's result)."""
    started = time.perf_counter()
    answer = call(*arguments)
    return (time.perf_counter() - started) * 1000, answer
