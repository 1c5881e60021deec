"""A whole ComfyUI whose jobs are in PostgreSQL: a video through the API, a restart, the database away and back."""

from __future__ import annotations

import json
from contextlib import closing

import postgresql_server
import pytest
import sqlalchemy as sql
from comfy_server import running
from databases import need_postgresql
from wire_client import FAST, connect, error, wait


@pytest.mark.slow
def test_a_video_of_a_comfyui_whose_jobs_are_in_postgresql(tmp_path):
    need_postgresql()
    own = tmp_path / "user" / "atelier"
    own.mkdir(parents=True)
    with postgresql_server.running() as server:
        (own / "api.json").write_text(json.dumps({"database": server.url}))
        with running(tmp_path, "comfyui") as comfyui, connect(comfyui.url) as http:
            made = wait(http, http.post("/videos", json=FAST).json())
            assert made["status"] == "completed" and made["error"] is None and made["progress"] == 100
            content = http.get(f"/videos/{made['id']}/content").content
            assert content[4:8] == b"ftyp"
            server.stop()
            assert error(http.get("/videos"))[:2] == (503, "store_unreachable")
            server.start()
            again = wait(http, http.post("/videos", json=FAST | {"seed": 2}).json())
            assert again["status"] == "completed"
        with running(tmp_path, "again") as comfyui, connect(comfyui.url) as http:
            listed = http.get("/videos").json()["data"]
            assert [video["id"] for video in listed] == [again["id"], made["id"]]
            assert http.get(f"/videos/{made['id']}/content").content == content
            http.delete(f"/videos/{again['id']}")
        with closing(sql.create_engine(server.url).connect()) as connection:
            rows = connection.exec_driver_sql("SELECT id, status FROM jobs").fetchall()
        assert [tuple(row) for row in rows] == [(made["id"], "completed")]
        assert not (own / "videos.db").exists()
        logs = "".join(file.read_text(errors="replace") for file in tmp_path.glob("*.log"))
        assert "not a secret" not in logs and FAST["prompt"] not in logs
