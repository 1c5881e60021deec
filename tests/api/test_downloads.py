"""A model from the hub into a video: through the API, through the node, and with nothing asked for no connection."""

from __future__ import annotations

import time
from collections.abc import Iterator

import graphs
import httpx2 as httpx
import pytest
import shop as shops
import wire_client
from client import GraphRejected, JobFailed, JobInterrupted
from shop import FILE, MODEL, T5_FILE, Shop

CLIP = {"prompt": "a red circle", "num_inference_steps": 1, "size": "64x64", "num_frames": 9, "seed": 1}
OFFER = "Tiny LTX, fetch 1 MB"
SMALL = {"width": 64, "height": 64, "frames": 9, "steps": 1}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with shops.open_shop(tmp_path_factory.mktemp("shop")) as made:
        yield made


@pytest.fixture
def shop(opened: Shop) -> Iterator[Shop]:
    opened.empty()
    yield opened
    (opened.server.base / "user" / "atelier" / "api.json").unlink(missing_ok=True)


@pytest.fixture
def http(opened: Shop) -> Iterator[httpx.Client]:
    with wire_client.connect(opened.server.url) as made:
        yield made


def ended(http: httpx.Client, id: str = MODEL) -> dict:
    """The model's entry when its download has ended."""
    while (entry := http.get(f"/models/{id}").json())["download"]["state"] == "running":
        time.sleep(0.05)
    return entry


def owner(shop: Shop, text: str) -> None:
    (shop.server.base / "user" / "atelier" / "api.json").write_text(text)


def test_nothing_leaves_the_machine_before_it_is_asked_for(shop, http):
    """Start-up, the lists of models, the studio and a video of the built-in model."""
    http.get("/models").raise_for_status()
    http.get(str(http.base_url).removesuffix("/v1/") + "/atelier").raise_for_status()
    shop.server.client.object_info(["AtelierLoadVideoModel"])
    shop.server.client.run(graphs.text_to_video(steps=1))
    seen = set((shop.server.base / "connections.txt").read_text().split())
    assert seen <= {"127.0.0.1", "localhost", "0.0.0.0", "::1"}, seen
    assert shop.hub.requests == []


def test_a_model_is_offered_fetched_used_and_removed(shop, http):
    listed = {model["id"]: model for model in http.get("/models").json()["data"]}
    entry = listed[MODEL]
    assert entry["installed"] is False and entry["download"] is None
    assert [part["id"] for part in entry["published"]["missing"]] == ["tiny-ltx", "tiny-t5"]
    assert listed["ltx-2b-0.9.8-distilled"]["published"]["licence"]["name"] and listed["sora-2"]["installed"]
    assert http.get("/models/sora-2").json()["local_model"] == "pocket (built in)"
    refused = http.post("/videos", json=CLIP | {"model": MODEL})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_installed")

    started = http.post(f"/models/{MODEL}/download").json()
    assert started["download"]["state"] in ("running", "done")
    entry = ended(http)
    assert entry["download"] | {"bytes_per_second": 0} == {
        "state": "done",
        "bytes": entry["download"]["total"],
        "total": sum(part["bytes"] for part in listed[MODEL]["published"]["missing"]),
        "bytes_per_second": 0,
        "seconds_left": None,
        "error": None,
    }
    assert shop.here() == {FILE, T5_FILE}
    assert entry["installed"] and entry["local_model"] == FILE and entry["published"]["missing"] == []
    assert FILE in [model["id"] for model in http.get("/models").json()["data"]]

    video = wire_client.wait(http, http.post("/videos", json=CLIP | {"model": "sora-2"}).json())
    assert (video["status"], video["model"], video["local_model"]) == ("completed", "sora-2", FILE), video["error"]
    owner(shop, '{"models": {"sora-2": {"model": "pocket (built in)"}}}')
    assert http.get("/models/sora-2").json()["local_model"] == "pocket (built in)", "the owner says otherwise"

    assert http.delete(f"/models/{MODEL}").json() == {"id": MODEL, "object": "model", "deleted": True}
    assert shop.here() == {T5_FILE}, "others need the text encoder, too"
    assert http.delete(f"/models/{MODEL}").status_code == 404


def test_cancelled_and_continued(shop, http):
    shop.slow()
    http.post(f"/models/{MODEL}/download").raise_for_status()
    while http.get(f"/models/{MODEL}").json()["download"]["bytes"] == 0:
        time.sleep(0.05)
    running = http.get(f"/models/{MODEL}").json()["download"]
    assert running["state"] == "running" and 0 < running["bytes"] < running["total"]
    assert http.delete(f"/models/{MODEL}/download").json()["download"]["state"] == "cancelled"
    assert shop.here() == set()
    shop.hub.pause = 0
    http.post(f"/models/{MODEL}/download").raise_for_status()
    assert ended(http)["download"]["state"] == "done" and shop.here() == {FILE, T5_FILE}


@pytest.mark.parametrize("fault", ["gated", "wrong"])
def test_a_download_that_fails_says_why(shop, http, fault):
    if fault == "gated":
        shop.hub.gated.add(shops.REPOSITORY)
    else:
        shop.hub.lies[FILE] = bytes(len(shop.hub.files[shops.REPOSITORY, FILE]))
    http.post(f"/models/{MODEL}/download").raise_for_status()
    failed = ended(http)["download"]
    assert failed["state"] == "failed" and failed["error"]["code"] == {"gated": "gated", "wrong": "wrong_file"}[fault]
    assert {"gated": "https://huggingface.co/tiny/ltx", "wrong": FILE}[fault] in failed["error"]["message"]
    assert str(shop.server.base) not in failed["error"]["message"] and shop.here() == set()


def test_who_may_fetch(shop, http):
    asked = len(shop.hub.requests)
    owner(shop, '{"allow_downloads": false}')
    for call in (http.post(f"/models/{MODEL}/download"), http.delete(f"/models/{MODEL}")):
        assert (call.status_code, call.json()["error"]["code"]) == (403, "downloads_not_allowed")
    with pytest.raises(JobFailed, match="allow_downloads"):
        shop.server.client.run(graphs.text_to_video(model=OFFER, **SMALL))
    owner(shop, '{"api_key": "secret"}')
    assert http.post(f"/models/{MODEL}/download").status_code == 401
    page = {"Origin": "https://evil.example"}
    owner(shop, "{}")
    assert http.post(f"/models/{MODEL}/download", headers=page).status_code == 403
    for name in ("../../x", "%2e%2e%2fx", "sora-2", "pocket (built in)", "tiny-t5", "x" * 5000):
        assert http.post(f"/models/{name}/download").status_code in (404, 405), name
        assert http.delete(f"/models/{name}").status_code in (404, 405), name
    assert len(shop.hub.requests) == asked


def test_the_node_fetches_what_it_offers(shop):
    shop.slow()
    shop.hub.pause = 0.02
    info = shop.server.client.object_info(["AtelierLoadVideoModel"])["AtelierLoadVideoModel"]
    options = info["input"]["required"]["model"][1]["options"]
    assert options[-1].startswith("Tiny LTX, fetch ") and options[0] == "pocket (built in)"
    events: list[tuple[str, dict]] = []
    prompt = shop.server.client.queue(graphs.text_to_video(model=OFFER, **SMALL))
    outputs = shop.server.client.wait(prompt, on_event=lambda kind, data: events.append((kind, data)))
    assert graphs.frames(shop.server.client, outputs).shape == (9, 64, 64, 3)
    shown = [data for kind, data in events if kind == "progress" and data.get("node") == "load"]
    assert shown and all(0 <= data["value"] <= data["max"] for data in shown) and shown[-1]["max"] > 100_000
    # The graph names the model: it runs here and where the file came some other way, under any size.
    for name in (OFFER, "Tiny LTX, fetch 6.3 GB", FILE, f"checkpoints/{FILE}", f"diffusion_models\\{FILE}"):
        shop.server.client.queue(graphs.text_to_video(model=name, **SMALL))
    asked = len(shop.hub.requests)
    shop.server.client.run(graphs.text_to_video(model=FILE, **SMALL))
    assert len(shop.hub.requests) == asked


def test_a_graph_of_a_model_that_is_not_here_says_how_to_get_it(shop):
    with pytest.raises(GraphRejected, match=r"It can be fetched \(\d+ MB\)"):
        shop.server.client.run(graphs.text_to_video(model=FILE, **SMALL))


def test_interrupting_the_graph_stops_the_download(shop, http):
    shop.slow()
    prompt = shop.server.client.queue(graphs.text_to_video(model=OFFER, **SMALL))
    while (now := http.get(f"/models/{MODEL}").json()["download"] or {}).get("state") != "running" or not now["bytes"]:
        time.sleep(0.05)
    shop.server.client.interrupt()
    with pytest.raises(JobInterrupted):
        shop.server.client.wait(prompt)
    while http.get(f"/models/{MODEL}").json()["download"]["state"] == "running":
        time.sleep(0.05)
    assert http.get(f"/models/{MODEL}").json()["download"]["state"] == "cancelled" and shop.here() == set()
