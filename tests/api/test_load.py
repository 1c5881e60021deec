"""Many clients at once, and the death of the server in the middle of it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from comfy_server import running
from wire_client import FAST, SLOW, coloured_frames, connect, until_running, wait

CLIENTS = 20


@pytest.mark.timeout(600)
@pytest.mark.parametrize("jobs_each", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_many_jobs_of_twenty_clients(http, owner, server, jobs_each):
    owner("api/generate.json", coloured_frames())

    def work(client: int) -> list[str]:
        with connect(server.url) as own:
            sent = [own.post("/videos", json=FAST | {"seed": client * 100 + n}) for n in range(jobs_each)]
        return [answer.json()["id"] for answer in sent]

    with ThreadPoolExecutor(CLIENTS) as pool:
        ids = [job_id for mine in pool.map(work, range(CLIENTS)) for job_id in mine]
    videos = {job_id: wait(http, http.get(f"/videos/{job_id}").json()) for job_id in ids}
    assert len(videos) == CLIENTS * jobs_each and {video["status"] for video in videos.values()} == {"completed"}
    assert all(
        http.get(f"/videos/{job_id}/content", headers={"Range": "bytes=0-7"}).status_code == 206 for job_id in ids
    )
    ran = [f"video_{prompt_id.replace('-', '')}" for prompt_id in server.client.get("/history")]
    newest = [job_id for job_id in ran if job_id in videos]  # as many as ComfyUI's history keeps
    listed = [job_id for job_id in in_order(http) if job_id in videos]
    assert len(newest) >= min(len(videos), 51) and newest == listed[-len(newest) :]


def in_order(http) -> list[str]:
    """The ids of all jobs, oldest first."""
    ids, more, after = [], True, {}
    while more:
        page = http.get("/videos", params={"limit": 100, "order": "asc", **after}).json()
        ids += [video["id"] for video in page["data"]]
        more, after = page["has_more"], {"after": page["last_id"]}
    return ids


@pytest.mark.timeout(600)
def test_killed_in_the_middle_and_started_again(tmp_path):
    with running(tmp_path, "first") as server, connect(server.url) as http:
        done = [wait(http, http.post("/videos", json=FAST | {"seed": seed}).json()) for seed in (1, 2, 6)]
        half = done.pop()["id"]
        at_work = until_running(http, http.post("/videos", json=SLOW).json())
        waiting = http.post("/videos", json=FAST).json()
        contents = [http.get(f"/videos/{video['id']}/content").content for video in done]
        saved, unseen = finished_behind_our_back(server, http, done[0])
        server.process.kill()
        server.process.wait()
    garbage, treasure = left_by_the_dead(tmp_path, half)
    with running(tmp_path, "second") as server, connect(server.url) as http:
        assert [http.get(f"/videos/{video['id']}/content").content for video in done] == contents
        for video in (at_work, waiting):
            ended = http.get(f"/videos/{video['id']}").json()
            assert (ended["status"], ended["error"]["code"]) == ("failed", "server_restarted")
        assert http.get(f"/videos/{unseen}/content").content == saved
        assert len(http.get("/videos").json()["data"]) == 5
        assert not any(folder.exists() for folder in garbage) and all(folder.exists() for folder in treasure)
        assert wait(http, http.post("/videos", json=FAST).json())["status"] == "completed"


def left_by_the_dead(base, deleted: str) -> tuple[list, list]:
    """Folders left by a server that died while it deleted or received: (to be removed, to be kept)."""
    import sqlite3

    with sqlite3.connect(base / "user" / "atelier" / "videos.db") as store:
        store.execute("UPDATE jobs SET deleted = 1 WHERE id = ?", (deleted,))
    videos, characters = base / "output" / "atelier" / "videos", base / "user" / "atelier" / "characters"
    upload, sent = videos / f"video_{1:032x}", characters / f"char_{2:032x}"
    unknown, foreign = videos / f"video_{3:032x}", videos / "holiday"
    for folder, name in ((upload, f"{4:032x}.png"), (sent, f"{5:032x}"), (unknown, "video_00001_.mp4"), (foreign, "x")):
        folder.mkdir(parents=True)
        (folder / name).write_bytes(b"x")
    return [videos / deleted, upload, sent], [unknown, foreign]


def finished_behind_our_back(server, http, done: dict) -> tuple[bytes, str]:
    """A queued job whose video exists already: the server died between writing the file and updating the store."""
    video = http.post("/videos", json=FAST | {"seed": 5}).json()
    videos = server.base / "output" / "atelier" / "videos"
    (source,) = (videos / done["id"]).glob("*.mp4")
    (videos / video["id"]).mkdir(parents=True)
    (videos / video["id"] / f"{source.stem}.mov").write_bytes(source.read_bytes())  # an owner's graph may save these
    return source.read_bytes(), video["id"]


def test_a_store_of_a_newer_version_is_left_alone(tmp_path):
    import sqlite3

    (tmp_path / "user" / "atelier").mkdir(parents=True)
    with sqlite3.connect(tmp_path / "user" / "atelier" / "videos.db") as store:
        store.execute("PRAGMA user_version = 999")
    with running(tmp_path, "comfyui") as server, connect(server.url) as http:
        answer = http.get("/videos")
        assert answer.status_code == 500 and "999" in json.loads(answer.text)["error"]["message"]
