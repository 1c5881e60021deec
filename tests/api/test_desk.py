"""What the studio keeps on the server: the desk's items, and clips that are brought back."""

from __future__ import annotations

import time
from pathlib import Path

import clips
from wire_client import FAST, error, wait


def patch(http, items: dict, base: int | None = None):
    return http.patch("/desk", json={"items": items} | ({} if base is None else {"base": base}))


def test_two_pages_on_one_desk_lose_nothing(http):
    begin = http.get("/desk").json()["revision"]
    first = patch(http, {"board/a": {"text": "mine"}, "video/x": {"star": True}}, begin).json()
    assert first["revision"] > begin and first["items"]["video/x"] == {"star": True}
    assert patch(http, {"board/b": {"text": "other"}}, begin).status_code == 200, "another item: no conflict"
    assert error(patch(http, {"board/c": {}, "board/a": {"text": "late"}}, begin)) == (
        412,
        "changed_meanwhile",
        "board/a",
    )
    seen = http.get("/desk", params={"after": begin}).json()
    assert seen["items"] == {"video/x": {"star": True}, "board/a": {"text": "mine"}, "board/b": {"text": "other"}}
    assert patch(http, {"board/a": {"text": "mine"}}, begin).status_code == 200, "the same: no conflict"
    removed = patch(http, {"board/a": None}).json()["revision"]
    assert http.get("/desk", params={"after": removed - 1}).json() == {
        "object": "desk",
        "revision": removed,
        "items": {"board/a": None},
    }
    assert "board/a" not in http.get("/desk").json()["items"]


def test_what_is_no_item_is_named(http):
    for items in ({}, {"no slash": {}}, {"board/../x": {}}, {"board/x": 3}, {f"board/{n}": {} for n in range(501)}):
        assert patch(http, items).status_code == 400, items
    assert error(patch(http, {"board/x": {"text": "x" * 300_000}})) == (413, "too_large", "items")
    assert patch(http, {"board/x": {"text": "x"}}, -1).status_code == 400
    assert http.get("/desk", params={"after": "soon"}).status_code == 400
    assert "board/x" not in http.get("/desk").json()["items"]


def test_a_clip_comes_back_with_its_settings_and_only_once(http, tmp_path):
    prompt = "a red circle moving left"
    body = FAST | {"seed": 77, "negative_prompt": "noise", "prompt": prompt, "storyboard": f"0s: {prompt}"}
    video = wait(http, http.post("/videos", json=body).json())
    content = http.get(f"/videos/{video['id']}/content").content
    again = http.post("/videos/imports", files={"video": ("clip.mp4", content)}).json()
    assert again["id"] == video["id"], "it is still here"
    http.delete(f"/videos/{video['id']}")
    back = http.post("/videos/imports", files={"video": ("clip.mp4", content)}).json()
    assert back["id"] != video["id"]
    for name in (
        "status",
        "prompt",
        "seed",
        "negative_prompt",
        "num_inference_steps",
        "local_model",
        "size",
        "duration",
        "storyboard",
    ):
        assert back[name] == video[name], name
    assert http.get(f"/videos/{back['id']}/content").content == content
    edited = wait(http, http.post("/videos/edits", json=FAST | {"video": {"id": back["id"]}}).json())
    assert (edited["status"], edited["remixed_from_video_id"]) == ("completed", back["id"])


def test_a_foreign_clip_comes_in_and_what_is_none_is_named(http, tmp_path: Path):
    foreign = clips.make(tmp_path / "holiday.mp4", clips.numbered(9, 64, 64), fps=8).read_bytes()
    begun = time.monotonic()
    made = http.post("/videos/imports", data={"prompt": "holiday.mp4"}, files={"video": ("h.mp4", foreign)}).json()
    assert (made["prompt"], made["operation"], made["num_frames"], made["status"]) == (
        "holiday.mp4",
        "import",
        9,
        "completed",
    )
    assert http.get("/videos", params={"limit": 1}).json()["data"][0] == made and time.monotonic() - begun < 30
    count = len(http.get("/videos", params={"limit": 100}).json()["data"])
    for wrong in (b"", b"text", foreign[:200]):
        assert http.post("/videos/imports", files={"video": ("h.mp4", wrong)}).status_code == 400
    assert http.post("/videos/imports", json={"prompt": "x"}).status_code == 400
    assert len(http.get("/videos", params={"limit": 100}).json()["data"]) == count
    http.delete(f"/videos/{made['id']}")
