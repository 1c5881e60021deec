"""The owner's settings: key, models, quota, expiry, own graphs."""

from __future__ import annotations

import io
import random
import sqlite3
import time

import openai
import pytest
from PIL import Image
from wire_client import FAST, SLOW, coloured_frames, data_url, error, png, until_running, wait


def test_key(http, owner, server):
    owner("api.json", {"api_key": "secret"})
    assert error(http.get("/videos"))[:2] == (401, "invalid_api_key")
    assert error(http.get("/videos", headers={"Authorization": "Bearer wrong"}))[:2] == (401, "invalid_api_key")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="secret") as client:
        client.videos.list(limit=1)


def test_a_settings_file_that_cannot_be_read_closes_the_door(http, owner):
    owner("api.json", '{"api_kye": "secret"}')
    answer = http.get("/videos")
    assert error(answer)[:2] == (500, "misconfigured") and "api_kye" in answer.text


def test_a_settings_file_that_is_spoiled_for_a_moment_costs_no_video(http, owner):
    """A job ends while api.json is invalid, so its expiry is unknown. It is completed once api.json is corrected."""
    jobs = [http.post("/videos", json=FAST | {"seed": seed}).json() for seed in (61, 62)]
    file = owner("api.json", "{")
    time.sleep(3)
    file.unlink()
    assert [wait(http, job)["status"] for job in jobs] == ["completed"] * 2


def test_models_of_the_owner(http, owner):
    mine = {"model": "pocket (built in)", "max_pixels": 1024, "max_frames": 9, "seconds": 1}
    owner("api.json", {"models": {"mine": mine, "sora-2": mine}})
    assert {"mine", "sora-2", "sora-2-pro"} <= {model["id"] for model in http.get("/models").json()["data"]}
    video = wait(http, http.post("/videos", json=FAST | {"size": "640x640", "num_frames": 33}).json())
    assert (video["size"], video["num_frames"], len(video["warnings"])) == ("32x32", 9, 2)


def test_quota(http, owner, finished):
    owner("api.json", {"quota_gb": 1e-9})
    assert error(http.post("/videos", json=FAST))[:2] == (403, "quota_exceeded")


def test_the_quota_is_asked_for_characters_and_for_what_waits(http, owner, server, clip):
    """The quota has room for two more clips. The queued one counts, and the refused one leaves no file."""
    with sqlite3.connect(server.base / "user" / "atelier" / "videos.db") as store:
        kept = sum(store.execute(f"SELECT sum(bytes) FROM {table}").fetchone()[0] or 0 for table in KEEPERS)
    at_work = until_running(http, http.post("/videos", json=SLOW | {"seed": 51}).json())
    size = len(picture())
    owner("api.json", {"quota_gb": (kept + 2.5 * size + 2000) / 1e9})
    files = {"input_reference": picture()}
    waiting = http.post("/videos", data=FAST, files=files).json()
    made = http.post("/videos/characters", data={"name": "x"}, files={"video": picture()}).json()
    folders = [server.base / "output" / "atelier" / "videos", server.base / "user" / "atelier" / "characters"]
    before = [set(folder.iterdir()) for folder in folders]
    for path, body, name in (("/videos", FAST, "input_reference"), ("/videos/characters", {"name": "x"}, "video")):
        assert error(http.post(path, data=body, files={name: picture()}))[:2] == (403, "quota_exceeded")
    assert [set(folder.iterdir()) for folder in folders] == before
    for path in (f"/videos/{waiting['id']}", f"/videos/characters/{made['id']}", f"/videos/{at_work['id']}"):
        assert http.delete(path).status_code == 200


KEEPERS = ("jobs", "characters", "claims")


def picture() -> bytes:
    """A picture of about 200 kB of noise, which does not compress."""
    made = io.BytesIO()
    Image.frombytes("RGB", (256, 256), random.Random(0).randbytes(256 * 256 * 3)).save(made, "PNG")
    return made.getvalue()


def test_files_above_the_cap_are_refused_and_not_kept(http, owner, clip, server):
    owner("api.json", {"max_upload_mb": 0.001})
    before = set((server.base / "output" / "atelier" / "videos").glob("*"))
    with clip.open("rb") as file:
        assert error(http.post("/videos/edits", data=FAST, files={"video": file}))[:2] == (413, "too_large")
    assert set((server.base / "output" / "atelier" / "videos").glob("*")) == before


def test_what_failed_jobs_keep_counts(http, server, clip):
    """The upload of a failed job counts for the quota too."""
    with clip.open("rb") as file:
        video = http.post("/videos/edits", data=SLOW | {"strength": 1}, files={"video": file}).json()
    http.post(f"/videos/{until_running(http, video)['id']}/cancel")
    assert wait(http, video)["error"]["code"] == "cancelled"
    with sqlite3.connect(server.base / "user" / "atelier" / "videos.db") as store:
        (kept,) = store.execute("SELECT bytes FROM jobs WHERE id = ?", (video["id"],)).fetchone()
    assert kept == clip.stat().st_size


def test_a_full_queue(http, owner):
    owner("api.json", {"max_waiting": 1})
    first = http.post("/videos", json=FAST | {"num_inference_steps": 100}).json()
    assert error(http.post("/videos", json=FAST))[:2] == (429, "queue_full")
    http.delete(f"/videos/{first['id']}")


def test_expiry(http, owner, server):
    owner("api.json", {"expire_days": 1 / 86400})
    owner("api/generate.json", coloured_frames())
    video = wait(http, http.post("/videos", json=FAST).json())
    assert video["expires_at"] - video["completed_at"] in (1, 2)
    time.sleep(1.1)
    assert http.get(f"/videos/{video['id']}").status_code == 404
    assert not (server.base / "output" / "atelier" / "videos" / video["id"]).exists()


def test_a_graph_of_the_artists_own(http, owner):
    owner("api/generate.json", coloured_frames())
    video = wait(http, http.post("/videos", json=FAST | {"fps": 4}).json())
    assert (video["status"], video["num_frames"], video["fps"], video["size"]) == ("completed", 2, 4, "16x16")
    assert video["warnings"] == [
        f"'{name}' is not used by the graph generate." for name in ("num_inference_steps", "prompt")
    ]


def with_nodes(graph: dict, *nodes: dict) -> dict:
    return {**graph, "nodes": [*graph["nodes"], *nodes]}


@pytest.mark.parametrize(
    "idle",
    [
        {"type": "LoadImage", "mode": 2, "title": "First frame {image}", "widgets_values": ["gone.png", "image"]},
        {"type": "LoadImage", "mode": 4, "title": "First frame {image}", "widgets_values": ["gone.png", "image"]},
        {"type": "LoadImage", "mode": 0, "title": "First frame {image}", "widgets_values": ["gone.png", "image"]},
        {"type": "NoSuchNode", "mode": 2, "title": "{prompt} {no such field}"},
        {"type": "Note", "title": "{prompt}", "widgets_values": ["what {prompt} does"]},
        {"type": "MarkdownNote", "title": "{seeed}", "widgets_values": [""]},
        {"type": "Reroute", "title": "{image}", "inputs": [{"name": "", "type": "*", "link": None}]},
    ],
    ids=["muted", "bypassed", "not wired", "muted and unknown", "note", "note with a misspelt mark", "reroute"],
)
def test_nodes_that_do_not_run_are_not_read(http, owner, idle):
    owner("api/generate.json", with_nodes(coloured_frames(), {"id": 9, **idle}))
    video = wait(http, http.post("/videos", json=FAST | {"input_reference": data_url(png())}).json())
    assert video["status"] == "completed", video
    assert video["warnings"] == [
        f"'{name}' is not used by the graph generate." for name in ("image", "num_inference_steps", "prompt")
    ]


def test_a_primitive_takes_what_its_title_asks_for(http, owner):
    graph = coloured_frames()
    graph["nodes"][1] |= {"title": "Create Video"}
    graph["nodes"][1]["inputs"].append({"name": "fps", "type": "FLOAT", "link": 3, "widget": {"name": "fps"}})
    rate = {"id": 9, "type": "PrimitiveNode", "title": "Frame rate {fps}", "widgets_values": [8.0, "fixed"]}
    graph["links"].append([3, 9, 0, 2, 1, "FLOAT"])
    owner(
        "api/generate.json", with_nodes(graph, rate | {"outputs": [{"name": "FLOAT", "type": "FLOAT", "links": [3]}]})
    )
    assert wait(http, http.post("/videos", json=FAST | {"fps": 5}).json())["fps"] == 5


def test_a_node_saved_bypassed_runs_when_it_is_asked_for(http, owner):
    """Three frames with a picture, two without: RepeatImageBatch is saved bypassed."""
    graph = coloured_frames()
    graph["nodes"][0]["widgets_values"] = [16, 16, 1, 0]
    repeat = {"id": 9, "type": "RepeatImageBatch", "mode": 4, "title": "Longer {bypass without style}"}
    repeat |= {"inputs": [{"name": "image", "type": "IMAGE", "link": 1}], "widgets_values": [3]}
    repeat |= {"outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [4]}]}
    graph["nodes"][1]["inputs"][0]["link"] = 4
    graph["links"] = [[1, 1, 0, 9, 0, "IMAGE"], [2, 2, 0, 3, 0, "VIDEO"], [4, 9, 0, 2, 0, "IMAGE"]]
    owner("api/generate.json", with_nodes(graph, repeat))
    counts = [
        wait(http, http.post("/videos", json=FAST | asked).json())["num_frames"] for asked in ({}, {"style": "any"})
    ]
    assert counts == [1, 3]


def test_equal_jobs_of_a_graph_that_saves_where_it_likes(http, owner):
    """ComfyUI answers the second job from its cache with the first job's file. Each job must get its own copy."""
    graph = coloured_frames()
    graph["nodes"][2]["title"] = "Save Video"
    owner("api/generate.json", graph)
    first, second = (wait(http, http.post("/videos", json=FAST).json()) for _ in range(2))
    assert first["status"] == second["status"] == "completed", second
    http.delete(f"/videos/{first['id']}")
    assert http.get(f"/videos/{second['id']}/content").status_code == 200


@pytest.mark.parametrize(
    "spoil,said",
    [
        (lambda graph: graph.pop("nodes"), "Workflow > Save"),
        (lambda graph: graph["nodes"][0].update(type="NoSuchNode"), "NoSuchNode"),
        (lambda graph: graph["nodes"][0].update(title="{nothing=seed}"), "no widget 'nothing'"),
        (lambda graph: graph["nodes"][0].update(title="{color=sede}"), "sede"),
    ],
    ids=["no graph", "unknown node", "unknown input", "unknown field"],
)
def test_a_graph_that_cannot_be_used_says_why(http, owner, spoil, said):
    graph = coloured_frames()
    spoil(graph)
    owner("api/generate.json", graph)
    answer = http.post("/videos", json=FAST)
    assert error(answer)[:2] == (422, "unusable_graph") and said in answer.text
