"""Videos of twenty clients through the API of a head, while its workers, their machines and the head itself are killed.

Forty videos; `run.py test --farm --slow` makes 200 with twenty kills (ATELIER_FARM_JOBS).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import comfyui
import psutil
import pytest
from comfy_server import running
from farm_head import done, head, until, workers
from wire_client import connect, error

if TYPE_CHECKING:
    from conftest import Machines

MACHINES = 2
JOBS = int(os.environ.get("ATELIER_FARM_JOBS", 40))
KILLS = JOBS // 10
SHOT = {"prompt": "a red circle moving left", "num_inference_steps": 30}


def strike(machines: Machines, how: str, draw: random.Random) -> None:
    """Kill something of a worker with -9."""
    number = draw.randrange(2)
    if how == "machine":
        machines.lose(number)
        machines.replace(number)
        return
    tree = psutil.Process(machines.machines[number].pid).children(recursive=True)
    main = str(comfyui.located() / "main.py")
    for process in tree:
        with contextlib.suppress(psutil.Error):  # Ray's own programs name a main.py in their options, too
            command = process.cmdline()
            if main in command if how == "comfyui" else any("ray::Worker" in part for part in command):
                process.kill()


@pytest.mark.timeout(900 + 15 * JOBS)
def test_no_video_is_lost_and_none_is_made_twice(machines, monkeypatch):
    draw, ids = random.Random(5), []
    with head(machines, monkeypatch) as (server, http):
        until(lambda: [each["state"] for each in workers(http)] == ["idle"] * MACHINES)
        with ThreadPoolExecutor(20) as clients:
            sent = list(clients.map(lambda n: http.post("/videos", json=SHOT | {"seed": n}), range(JOBS)))
        assert {answer.status_code for answer in sent} == {200}
        ids = [answer.json()["id"] for answer in sent]
        for number in range(KILLS):
            goal = (number + 1) * JOBS // (KILLS + 2)
            until(lambda goal=goal: done(http, ids) >= goal)
            strike(machines, ("comfyui", "actor", "machine")[number % 3], draw)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    with head(machines, monkeypatch) as (server, http):
        until(lambda: done(http, ids) == JOBS, 300 + 10 * JOBS)
        videos = [http.get(f"/videos/{name}").json() for name in ids]
        assert [video["error"] for video in videos if video["status"] != "completed"] == []
        folder = server.base / "output" / "atelier" / "videos"
        assert all(len(list((folder / name).glob("*.mp4"))) == 1 for name in ids)
        listed = http.get("/videos", params={"order": "asc", "limit": 100}).json()["data"]  # in the order of the queue
        begun = [video["started_at"] for video in listed]
        assert sum(a > b + 60 for a, b in zip(begun, begun[1:], strict=False)) == 0, "in the order of the queue"


@pytest.mark.slow
def test_the_head_as_clients_see_it(machines, monkeypatch):
    """Progress, previews, cancelling, files that a graph reads, draining; a second head; and no word of it in logs."""
    with head(machines, monkeypatch) as (server, http):
        until(lambda: [each["state"] for each in workers(http)] == ["idle"] * MACHINES)
        long = SHOT | {"num_inference_steps": 400, "prompt": "a blue square, a secret"}
        first, second, third = (http.post("/videos", json=long | {"seed": n}).json() for n in range(3))
        until(lambda: http.get(f"/videos/{first['id']}").json()["step"])
        until(lambda: http.get(f"/videos/{first['id']}/content?variant=preview").status_code == 200)
        until(lambda: http.get(f"/videos/{first['id']}/content?variant=so_far").status_code == 200)
        so_far = http.get(f"/videos/{first['id']}/content?variant=so_far")
        assert so_far.headers["X-Decoded"] == "false" and float(so_far.headers["X-Seconds"]) > 1
        assert so_far.headers["Content-Type"] == "image/webp" and so_far.content[8:12] == b"WEBP"
        assert http.get(f"/videos/{third['id']}").json()["queue_position"] == 1
        assert {each["job"] for each in workers(http)} == {first["id"], second["id"]}
        begun = time.monotonic()
        for video in (third, first, second):
            http.post(f"/videos/{video['id']}/cancel")
        until(lambda: done(http, [first["id"], second["id"], third["id"]]) == 3, 20)
        assert time.monotonic() - begun < 5
        made = http.post("/videos", json=SHOT | {"seed": 9}).json()
        until(lambda: done(http, [made["id"]]))
        edited = http.post("/videos/edits", json={"video": {"id": made["id"]}, "prompt": "a green circle"}).json()
        until(lambda: done(http, [edited["id"]]))
        assert http.get(f"/videos/{edited['id']}").json()["error"] is None
        name = workers(http)[0]["id"]
        assert http.post(f"/farm/workers/{name}/drain").json()["workers"][0]["state"] in ("drained", "draining")
        assert error(http.post("/farm/workers/none/drain"))[:2] == (404, "not_found")
        http.post(f"/farm/workers/{name}/resume")
        with running(server.base, "second") as other, connect(other.url) as late:
            assert error(late.get("/videos"))[:2] == (503, "farm_has_a_head")
        logs = "".join(log.read_text(errors="replace") for log in machines.base.rglob("*.log"))
        assert "a secret" not in logs
