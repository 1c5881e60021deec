"""Two ComfyUIs on one base directory, as with two GPUs: one store, two queues, and one of them dies."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx2 as httpx
import pytest
from comfy_server import ComfyServer, running
from wire_client import FAST, SLOW, coloured_frames, connect, error, until_running, wait

ODD_NODE = '''
import json

class Odd:
    """An output node that reports its input as its outputs."""
    INPUT_TYPES = classmethod(lambda cls: {"required": {"images": ("IMAGE",), "said": ("STRING", {"default": ""})}})
    RETURN_TYPES, FUNCTION, OUTPUT_NODE, CATEGORY = (), "run", True, "test"
    IS_CHANGED = classmethod(lambda cls, **_: float("nan"))

    def run(self, images, said):
        return {"ui": json.loads(said)}

NODE_CLASS_MAPPINGS = {"AtelierTestOdd": Odd}
'''
ODD_OUTPUTS = {
    "no subfolder": {"filename": "x.mp4", "subfolder": None, "type": "output"},
    "unknown type": {"filename": "x.mp4", "subfolder": "", "type": "nowhere"},
    "type is a list": {"filename": "x.mp4", "subfolder": "", "type": ["output"]},
    "a name that no disk has": {"filename": "x\0.mp4", "subfolder": "", "type": "output"},
    "outside": {"filename": "../../../../etc/x.mp4", "subfolder": "..", "type": "output"},
    "name is a number": {"filename": 5},
}


@pytest.fixture(scope="module")
def second(server) -> Iterator[ComfyServer]:
    """The second ComfyUI, with a node that the first does not have."""
    folder = server.base / "custom_nodes" / "odd"
    folder.mkdir()
    (folder / "__init__.py").write_text(ODD_NODE)
    with running(server.base, "second") as other:
        yield other


@pytest.fixture
def other(second) -> Iterator[httpx.Client]:
    with connect(second.url) as made:
        yield made


def rows(base: Path, query: str, *values: object) -> list[tuple]:
    with closing(sqlite3.connect(base / "user" / "atelier" / "videos.db", timeout=30)) as store, store:
        return store.execute(query, values).fetchall()


def eventually(true: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_forty_jobs_at_once(http, other, owner, server):
    owner("api/generate.json", coloured_frames())
    with ThreadPoolExecutor(40) as pool:
        sent = list(pool.map(lambda n: (http, other)[n % 2].post("/videos", json=FAST | {"seed": n}), range(40)))
    assert {answer.status_code for answer in sent} == {200}
    ids = [answer.json()["id"] for answer in sent]
    for number, name in enumerate(ids):  # each is seen through the ComfyUI that does not make it
        video = wait((other, http)[number % 2], {"id": name, "status": "queued"})
        assert (video["status"], video["seed"]) == ("completed", number), video["error"]
        assert len(list((server.base / "output" / "atelier" / "videos" / name).glob("*.mp4"))) == 1
    assert len(set(ids)) == 40
    assert rows(server.base, "SELECT count(*) FROM claims") == [(0,)]


def test_cancelling_and_deleting_through_the_other(http, other, server):
    at_work = until_running(http, http.post("/videos", json=SLOW | {"seed": 21}).json())
    waiting = http.post("/videos", json=FAST | {"seed": 22}).json()
    deleted = http.post("/videos", json=FAST | {"seed": 23}).json()
    for video in (waiting, at_work):
        assert other.post(f"/videos/{video['id']}/cancel").status_code == 200
    assert other.delete(f"/videos/{deleted['id']}").json()["deleted"]
    for video in (waiting, at_work):
        ended = wait(other, video)
        assert (ended["status"], ended["error"]["code"]) == ("failed", "cancelled")
    assert http.get(f"/videos/{deleted['id']}").status_code == 404
    eventually(lambda: not rows(server.base, "SELECT 1 FROM jobs WHERE id = ?", deleted["id"]))
    assert not (server.base / "output" / "atelier" / "videos" / deleted["id"]).exists()


def test_what_the_other_deletes_leaves_the_history_of_the_one_that_made_it(http, other, server):
    video = wait(http, http.post("/videos", json=FAST | {"seed": 25, "prompt": "a secret"}).json())
    assert "a secret" in json.dumps(server.client.get("/history"))
    assert other.delete(f"/videos/{video['id']}").json()["deleted"]
    eventually(lambda: not http.get("/videos").is_error and "a secret" not in json.dumps(server.client.get("/history")))


@pytest.mark.slow
def test_one_that_was_taken_for_dead_corrects_that(http, other, server):
    video = until_running(http, http.post("/videos", json=SLOW | {"seed": 24}).json())
    error = json.dumps({"code": "server_restarted", "message": "wrong"})
    rows(server.base, "UPDATE jobs SET status = 'failed', error = ? WHERE id = ?", error, video["id"])
    eventually(lambda: other.get(f"/videos/{video['id']}").json()["status"] == "completed")
    ended = other.get(f"/videos/{video['id']}").json()
    assert (ended["error"], ended["progress"]) == (None, 100)
    assert other.get(f"/videos/{video['id']}/content").status_code == 200


def test_odd_outputs_of_a_graph_are_its_own_affair(other, owner, second):
    before = second.log.read_text(errors="replace").count("Traceback")
    graph = coloured_frames()
    graph["nodes"][1:] = [
        {
            **{"id": 3, "type": "AtelierTestOdd", "title": "{said=prompt}", "widgets_values": [""]},
            "inputs": [{"name": "images", "type": "IMAGE", "link": 1}],
        }
    ]
    graph["links"] = [[1, 1, 0, 3, 0, "IMAGE"]]
    owner("api/generate.json", graph)
    odd = [{"images": [item]} for item in ODD_OUTPUTS.values()] + [{"gifs": ["x.mp4", None, 3]}]
    jobs = [other.post("/videos", json=FAST | {"prompt": json.dumps(output)}).json() for output in odd]
    owner("api/generate.json", coloured_frames())
    behind = other.post("/videos", json=FAST | {"seed": 31}).json()
    assert wait(other, behind)["status"] == "completed"
    for job in jobs:
        ended = wait(other, job)
        assert (ended["status"], ended["error"]["code"]) in (("failed", "no_video"), ("failed", "unusable_output"))
        assert "/" not in ended["error"]["message"]
    assert second.log.read_text(errors="replace").count("Traceback") - before <= len(jobs)


def test_an_upload_for_which_the_disk_has_no_room(other, second):
    """Limit files of the process to 20 MB (RLIMIT_FSIZE): an upload fails as on a full disk."""
    resource = pytest.importorskip("resource")
    limits = resource.prlimit(second.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(second.process.pid, resource.RLIMIT_FSIZE, (20_000_000, limits[1]))
    before = set((second.base / "output" / "atelier" / "videos").iterdir())
    answer = other.post("/videos", data=FAST, files={"input_reference": b"\x89PNG\r\n\x1a\n" + bytes(30_000_000)})
    resource.prlimit(second.process.pid, resource.RLIMIT_FSIZE, limits)
    assert error(answer)[:2] == (507, "disk_full") and "/" not in answer.json()["error"]["message"]
    assert set((second.base / "output" / "atelier" / "videos").iterdir()) == before
    assert rows(second.base, "SELECT count(*) FROM claims") == [(0,)]


def test_the_death_of_the_other(http, second, server):
    """The other one ends its jobs and removes its uploads, without a restart. This test must be the file's last."""
    videos = server.base / "output" / "atelier" / "videos"
    with connect(second.url) as other:
        at_work = until_running(other, other.post("/videos", json=SLOW | {"seed": 41}).json())
        waiting = other.post("/videos", json=FAST | {"seed": 42}).json()
        mine = until_running(http, http.post("/videos", json=SLOW | {"seed": 43}).json())
        before = set(videos.iterdir())
        upload = half_an_upload(second.url)
        eventually(lambda: set(videos.iterdir()) - before)
        (receiving,) = set(videos.iterdir()) - before
        assert rows(server.base, "SELECT bytes FROM claims") == [(UPLOAD,)], "it counts before it is there"
        http.get("/videos")
        assert receiving.exists(), "the other is alive"
        second.process.kill()
        second.process.wait()
    for video in (at_work, waiting):
        eventually(lambda name=video["id"]: http.get(f"/videos/{name}").json()["status"] == "failed")
        assert http.get(f"/videos/{video['id']}").json()["error"]["code"] == "server_restarted"
    eventually(lambda: not http.get("/videos").is_error and not receiving.exists())
    assert rows(server.base, "SELECT count(*) FROM claims") == [(0,)]
    assert wait(http, mine)["status"] == "completed"
    upload.close()


UPLOAD = 1_000_000


def half_an_upload(url: str) -> socket.socket:
    """A request for a video whose upload never ends."""
    address = httpx.URL(url)
    head = b'--b\r\nContent-Disposition: form-data; name="input_reference"; filename="x.png"\r\n\r\n\x89PNG\r\n\x1a\n'
    request = f"POST /v1/videos HTTP/1.1\r\nHost: {address.host}:{address.port}\r\nContent-Length: {UPLOAD}\r\n"
    sent = socket.create_connection((address.host, address.port))
    sent.sendall(f"{request}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode() + head + bytes(500_000))
    return sent
