"""The HTTP interface: body formats, errors, paging, ranges, cancelling, refused requests and warnings."""

from __future__ import annotations

import io
import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import atelier.api
import httpx2 as httpx
import pytest
import tiny
from atelier.api.graphs.saved_graph import BYPASSED
from PIL import Image
from shipped_pocket import GUIDANCE, SIDE, SIZE
from wire_client import FAST, SLOW, coloured_frames, data_url, error, png, until_running, wait


def test_a_video_has_every_key(http, finished):
    answer = http.get(f"/videos/{finished.id}", headers={"X-Stainless-Poll-Helper": "true"})
    required = "id object model status progress created_at completed_at expires_at prompt size seconds"
    assert set(required.split()) | {"remixed_from_video_id", "error"} <= set(answer.json())
    assert int(answer.headers["openai-poll-after-ms"]) > 0


@pytest.mark.parametrize(
    "sent",
    [
        {"json": FAST | {"input_reference": {"image_url": data_url(png())}}},
        {"json": {"prompt": "x", "extra_body": {"steps": 2, "seed": 3}, "input_reference": data_url(png())}},
        {"data": FAST | {"input_reference[image_url]": data_url(png())}},
        {"data": {"prompt": "x", "extra_params": '{"steps": "2", "seed": 3.0}'}, "files": {"input_reference": png()}},
        {
            "data": {"prompt": "x\r\ny", "extra_params[steps]": "2", "seed": "3"},
            "files": {"image_reference": ("../x", png())},
        },
    ],
    ids=["json, data URL", "json, nested", "form", "multipart, JSON string", "multipart, brackets"],
)
def test_forms_of_a_body(http, sent):
    video = http.post("/videos", **sent).json()
    assert (video["seed"], video["num_inference_steps"], video["warnings"]) == (3, 2, [])
    assert video["prompt"] in ("x", "x\ny", FAST["prompt"])
    assert wait(http, video)["status"] == "completed"


def test_a_reference_is_the_first_frame(http):
    body = FAST | {"num_inference_steps": 4, "input_reference": data_url(png("blue"))}
    video = wait(http, http.post("/videos", json=body).json())
    picture = http.get(f"/videos/{video['id']}/content", params={"variant": "thumbnail"}).content
    red, _, blue = Image.open(io.BytesIO(picture)).convert("RGB").resize((1, 1)).getpixel((0, 0))
    assert blue > red + 60


def test_last_frame_and_a_video_as_reference(http, clip):
    last = http.post("/videos", json=FAST | {"last_frame": data_url(png())}).json()
    with clip.open("rb") as file:
        edited = http.post("/videos", data=FAST, files={"input_reference": file}).json()
    assert wait(http, last)["status"] == wait(http, edited)["status"] == "completed"
    assert (last["operation"], edited["operation"]) == ("generate", "edit")


def test_unknown_and_unused_fields_are_reported(http):
    video = http.post("/videos", json=FAST | {"flow_shift": 3, "direction": "forward"}).json()
    assert video["warnings"] == ["'flow_shift' is not a known field.", "'direction' is not used by the graph generate."]


def test_variations_are_jobs_of_their_own(http):
    video = http.post("/videos", json=FAST | {"n": 2}).json()
    first, second = (wait(http, http.get(f"/videos/{name}").json()) for name in video["variations"])
    assert (first["seed"], second["seed"], second["status"]) == (3, 4, "completed")
    http.delete(f"/videos/{first['id']}")
    assert http.get(f"/videos/{second['id']}/content").status_code == 200


@pytest.mark.parametrize(
    "sent,blue_frame",
    [
        ({"files": {"input_references": png("blue")}}, "first"),
        ({"files": {"input_reference[]": png("blue")}}, "first"),
        ({"files": {"image": png("blue")}}, "first"),
        ({"files": {"image_reference": ("../x", png("blue"))}}, "first"),
        ({"files": {"last_frame_image": png("blue")}}, "last"),
        ({"data": {"input_reference[0]": data_url(png("blue"))}}, "first"),
        ({"data": {"input_references": json.dumps([{"image_url": {"url": data_url(png("blue"))}}])}}, "first"),
        ({"data": {"image_reference": json.dumps({"image_url": data_url(png("blue"))})}}, "first"),
        ({"data": {"end_image": data_url(png("blue")), "last_frame": ""}}, "last"),
        (
            {"data": {"frame_images": json.dumps([{"frame_type": "last_frame", "image_url": data_url(png("blue"))}])}},
            "last",
        ),
    ],
)
def test_pictures_under_other_servers_names(http, sent, blue_frame):
    sent = sent | {"data": FAST | {"num_inference_steps": 4} | sent.get("data", {})}
    video = wait(http, http.post("/videos", **sent).json())
    assert (video["status"], video["warnings"]) == ("completed", []), video
    name = {"first": "thumbnail", "last": "spritesheet"}[blue_frame]
    content = http.get(f"/videos/{video['id']}/content", params={"variant": name}).content
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    if name == "spritesheet":  # four rows of four: the last frame is at the end
        picture = picture.crop((picture.width * 3 // 4, picture.height * 3 // 4, picture.width, picture.height))
    red, _, blue = picture.resize((1, 1)).getpixel((0, 0))
    assert blue > red + 60


def test_files_that_nothing_takes_are_named(http, clip):
    """Each unused upload causes a warning, and is removed from the disk."""
    files = [("input_reference", png()), ("input_reference", png("blue")), ("mask", png())]
    made = http.post("/videos", data=FAST, files=[*files, ("video", clip.read_bytes())]).json()
    assert made["warnings"] == [f"The file '{name}' is not used." for name in ("input_reference", "mask", "video")]
    two = {"input_reference": [data_url(png("blue")), data_url(png())], "image": data_url(png())}
    made = http.post("/videos", json=FAST | two).json()
    assert made["warnings"] == [
        "'image' is not used, because 'input_reference' was sent too.",
        "Only the first 'input_reference' is used, 2 were sent.",
    ]


@pytest.mark.parametrize("size", ["", "auto", f"{SIDE}X{SIDE}", f"{SIDE}*{SIDE}"])
def test_a_size_that_is_left_open_or_written_otherwise(http, size):
    asked = FAST | {"size": size, "seconds": "auto", "direction": "", "style": "", "model": "", "seed": ""}
    video = http.post("/videos", json=asked).json()
    assert (video["size"], video["seconds"], video["model"], video["warnings"]) == (SIZE, "2", "sora-2", [])


@pytest.mark.parametrize(
    "body,expected",
    [
        ({}, (400, "missing_required_parameter", "prompt")),
        ({"prompt": ""}, (400, "invalid_value", "prompt")),
        ({"prompt": "x" * 32001}, (400, "invalid_value", "prompt")),
        ({"prompt": "x", "seconds": "-4"}, (400, "invalid_value", "seconds")),
        ({"prompt": "x", "fps": 5e-324}, (400, "invalid_value", "fps")),
        ({"prompt": "x", "size": "big"}, (400, "invalid_value", "size")),
        ({"prompt": "x", "model": "sora-3"}, (404, "model_not_found", "model")),
        ({"prompt": "x", "last_frame": {"image_url": "http://127.0.0.1/x.png"}}, (400, "invalid_value", "last_frame")),
        ({"prompt": "x", "input_reference": "data:image/png;base64,AAAA"}, (400, "unsupported_file", None)),
        ({"prompt": "x", "input_reference": {"file_id": "../../etc/passwd"}}, (404, "not_found", "id")),
        ({"prompt": "x", "last_frame": data_url(png()[:60])}, (400, "invalid_image", None)),
        ({"prompt": "x", "characters": [{"id": "char_0"}]}, (404, "not_found", "id")),
        ({"prompt": "x", "style": "no such style"}, (400, "graph_refused", None)),
    ],
)  # fmt: skip
def test_bad_requests_say_what_is_wrong(http, server, body, expected):
    before = len(list((server.base / "output" / "atelier" / "videos").glob("*")))
    assert error(http.post("/videos", json=body)) == expected
    assert len(list((server.base / "output" / "atelier" / "videos").glob("*"))) == before


@pytest.mark.parametrize("content", [b"{", b"[1]", b'"x"', b'{"prompt": "\\ud800"}', b"\xff", b"[" * 100_000])
def test_bodies_that_are_no_request(http, content):
    assert error(http.post("/videos", content=content))[:2] == (400, "invalid_body")


def test_unknown_addresses_and_ids(http):
    assert error(http.get("/videos/video_0"))[:2] == (404, "not_found")
    assert error(http.get("/videos/video_0/nothing"))[:2] == (404, "unknown_url")
    assert error(http.patch("/videos"))[:2] == (404, "unknown_url")
    assert error(http.get("/videos", params={"limit": 101})) == (400, "invalid_value", "limit")
    assert error(http.get("/videos", params={"after": "video_0"})) == (400, "invalid_value", "after")


def test_sync_answers_with_the_file(http):
    answer = http.post("/videos/sync", data=FAST | {"flow_shift": "3"}, files={"image": png("blue")})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "video/mp4"), answer.text
    video = http.get(f"/videos/{answer.headers['X-Video-Id']}").json()
    assert video["status"] == "completed" and float(answer.headers["X-Inference-Time-S"]) > 0
    assert json.loads(answer.headers["X-Warnings"]) == video["warnings"] == ["'flow_shift' is not a known field."]
    assert http.get(f"/videos/{video['id']}/content").content == answer.content


def test_sync_says_what_went_wrong(http):
    assert error(http.post("/videos/sync", json=FAST | {"n": 2})) == (400, "invalid_value", "n")
    assert error(http.post("/videos/sync", json={})) == (400, "missing_required_parameter", "prompt")


def test_a_client_of_sync_that_hangs_up_takes_its_job_along(http, server):
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v1/videos/sync", json=SLOW | {"seed": 77}, timeout=3)
    (video,) = http.get("/videos", params={"limit": 1}).json()["data"]
    assert (video["seed"], wait(http, video)["error"]["code"]) == (77, "cancelled")


def test_the_same_under_api(server, finished):
    assert httpx.get(f"{server.url}/api/v1/videos/{finished.id}").json()["id"] == finished.id


def test_range(http, finished):
    whole = http.get(f"/videos/{finished.id}/content")
    part = http.get(f"/videos/{finished.id}/content", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert whole.headers["Content-Type"] == "video/mp4"


def test_what_a_page_of_another_site_may_not(http, server):
    for headers in ({"Origin": "null"}, {"Origin": "https://example.com"}, {"Sec-Fetch-Site": "cross-site"}):
        assert http.get("/videos", headers=headers).status_code == 403
    assert http.get("/videos", headers={"Origin": server.url, "Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_cancel_while_it_runs_and_while_it_waits(http):
    running = until_running(http, http.post("/videos", json=SLOW).json())
    waiting = http.post("/videos", json=FAST | {"seed": 4}).json()
    after = http.post("/videos", json=FAST | {"seed": 5}).json()
    assert http.get(f"/videos/{after['id']}").json()["queue_position"] == 2
    assert error(http.get(f"/videos/{waiting['id']}/content"))[:2] == (404, "video_not_ready")
    for video in (waiting, running):
        http.post(f"/videos/{video['id']}/cancel")
        stopped = wait(http, video)
        assert (stopped["status"], stopped["error"]["code"]) == ("failed", "cancelled")
    assert error(http.get(f"/videos/{waiting['id']}/content"))[:2] == (422, "video_failed")
    assert wait(http, after)["status"] == "completed"


def test_delete_while_it_runs_leaves_nothing(http, server):
    video = until_running(http, http.post("/videos", json=SLOW | {"seed": 6}).json())
    assert http.delete(f"/videos/{video['id']}").json()["deleted"]
    assert http.get(f"/videos/{video['id']}").status_code == 404
    folder = server.base / "output" / "atelier" / "videos" / video["id"]
    following = wait(http, http.post("/videos", json=FAST | {"seed": 6}).json())
    assert following["status"] == "completed" and not folder.exists()


def test_deleting_while_going_through_the_list(http, client, server, owner):
    """A client deletes each page's videos before it requests the next page. All videos are deleted in the end."""
    owner("api/generate.json", coloured_frames())
    ids = [http.post("/videos", json=FAST | {"seed": seed, "prompt": "sweep"}).json()["id"] for seed in range(25)]
    for name in ids:
        wait(http, {"id": name, "status": "queued"})
    swept = []
    for video in client.videos.list(limit=5):
        if video.prompt == "sweep":
            swept.append(video.id)
            client.videos.delete(video.id)
        if len(swept) == len(ids):
            break
    assert swept == ids[::-1]
    assert "sweep" not in json.dumps(server.client.get("/history"))


def test_a_locked_store_stops_nobody_else(http, server):
    """While another program locks the store, ComfyUI runs, lists are answered, and writes get 503."""
    store = sqlite3.connect(server.base / "user" / "atelier" / "videos.db", isolation_level=None)
    store.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(3) as pool:
        sent = [pool.submit(http.post, "/videos", json=FAST) for _ in range(3)]
        silence = []
        while not all(answer.done() for answer in sent):
            for path in ("/videos", f"{server.url}/system_stats"):
                begun = time.monotonic()
                assert http.get(path).status_code == 200
                silence.append(time.monotonic() - begun)
            time.sleep(0.05)
    store.execute("ROLLBACK")
    store.close()
    assert {error(answer.result())[:2] for answer in sent} == {(503, "store_locked")}
    assert max(silence) < 3.0 and len(silence) > 10
    assert wait(http, http.post("/videos", json=FAST).json())["status"] == "completed"


def test_a_job_taken_out_of_comfyuis_own_queue_says_so(http, server):
    running = until_running(http, http.post("/videos", json=SLOW | {"seed": 8}).json())
    waiting = http.post("/videos", json=FAST | {"seed": 8}).json()
    server.client.post("/queue", {"clear": True})
    assert wait(http, waiting)["error"]["code"] == "cancelled"
    server.client.interrupt()
    assert wait(http, running)["error"]["code"] == "cancelled"


def test_deleting_one_of_two_equal_jobs_keeps_the_other(http):
    same = [wait(http, http.post("/videos", json=FAST | {"seed": 9}).json()) for _ in range(2)]
    contents = [http.get(f"/videos/{video['id']}/content").content for video in same]
    http.delete(f"/videos/{same[0]['id']}")
    assert http.get(f"/videos/{same[1]['id']}/content").content == contents[1] != b""


def test_settings_and_workflow_travel_in_the_file(http, finished, tmp_path):
    import av

    content = http.get(f"/videos/{finished.id}/content").content
    with av.open(io.BytesIO(content)) as container:
        about = {name: json.loads(text) for name, text in container.metadata.items() if text.startswith("{")}
    assert about["atelier"]["id"] == finished.id and about["atelier"]["seed"] == finished.seed
    nodes = about["workflow"]["nodes"]
    (sampler,) = [node for node in nodes if node["type"] == "AtelierSampleVideo" and node["mode"] != BYPASSED]
    assert sampler["widgets_values"][0] == finished.seed
    assert {"AtelierSampleVideo"} <= {node["class_type"] for node in about["prompt"].values()}


@pytest.mark.parametrize("path", ["/models/no%0Asuch", "/videos/no/such%0Aplace"])
def test_an_address_with_a_line_break_is_not_found_either(http, path):
    assert error(http.get(path))[0] == 404


def test_the_description_names_every_call(http):
    described = http.get("/openapi.json").json()
    calls = {(method.upper(), f"/v1{path}") for path, methods in described["paths"].items() for method in methods}
    served = {(method, path.replace(":(?s:.+)", "")) for method, path, _ in atelier.api.ROUTES if method != "*"}
    assert calls == served


def test_a_running_video_says_how_far_it_is(http):
    video = until_running(http, http.post("/videos", json=SLOW | {"seed": 11}).json())
    while not video["step"]:
        video = http.get(f"/videos/{video['id']}").json()
    assert video["steps"] == SLOW["num_inference_steps"] and 0 < video["step"] <= video["steps"]
    assert 0 <= video["progress"] < 100 and video["started_at"] >= video["created_at"]
    http.delete(f"/videos/{video['id']}")


def test_models_say_what_they_can(http):
    model = http.get("/models/sora-2").json()
    assert (model["name"], model["family"], model["local_model"]) == (
        "Atelier pocket",
        "LTX Video",
        "pocket (built in)",
    )
    assert model["defaults"] == {
        **{"size": SIZE, "seconds": 2, "num_frames": 17, "fps": 8, "num_inference_steps": 25},
        "guidance_scale": GUIDANCE,
        "negative_prompt": "",
    }
    assert model["limits"] == {"max_pixels": SIDE**2, "max_seconds": 3.2, "max_frames": 25}
    assert model["features"]["input_reference"] == {"supported": True, "note": None} and "archival" in model["styles"]
    for size in model["sizes"]:
        width, height = map(int, size.split("x"))
        assert (
            width * height <= SIDE**2 and width % model["multiples"]["side"] == height % model["multiples"]["side"] == 0
        )


def test_a_file_that_is_no_model_is_listed_with_the_reason(http, server):
    folder = server.base / "models" / "checkpoints"
    (folder / "broken.safetensors").write_bytes(b"nothing")
    model = http.get("/models/checkpoints/broken.safetensors").json()
    assert "broken.safetensors" in model["problem"] and not model["features"]["seed"]["supported"]
    (folder / "broken.safetensors").unlink()


def test_a_models_name_with_the_slashes_of_windows(http, server):
    folder = server.base / "models" / "checkpoints" / "deep"
    folder.mkdir(exist_ok=True)
    tiny.single_file(folder / "ltx.safetensors")
    model = http.get("/models/checkpoints%5Cdeep%5Cltx.safetensors").json()
    assert (model["local_model"], model["problem"]) == ("deep/ltx.safetensors", None)
    asked = {"prompt": "x", "model": "checkpoints\\deep\\gone.safetensors"}
    assert error(http.post("/videos", json=asked)) == (404, "model_not_found", "model")


def test_a_character_is_a_first_frame_until_it_is_deleted(http, server):
    made = http.post("/videos/characters", data={"name": "Blue"}, files={"video": png("blue")}).json()
    assert (made["used_as"], made["object"]) == ("first_frame", "character")
    video = wait(
        http, http.post("/videos", json=FAST | {"num_inference_steps": 4, "characters": [{"id": made["id"]}]}).json()
    )
    assert video["characters"] == [{"id": made["id"], "name": "Blue", "used_as": "first_frame"}]
    picture = http.get(f"/videos/{video['id']}/content", params={"variant": "thumbnail"}).content
    red, _, blue = Image.open(io.BytesIO(picture)).convert("RGB").resize((1, 1)).getpixel((0, 0))
    assert blue > red + 60
    assert http.delete(f"/videos/characters/{made['id']}").json()["deleted"]
    assert http.get(f"/videos/characters/{made['id']}").status_code == 404
    assert not (server.base / "user" / "atelier" / "characters" / made["id"]).exists()
