"""Prompt expansion over HTTP: the built-in rules answer at once, text models run in ComfyUI's queue."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
import tiny
import tiny_writer
from serving import remove_new
from wire_client import SLOW, error, until_running, wait


@pytest.fixture
def llm(server) -> Iterator[Path]:
    models = server.base / "models"
    before = set(models.rglob("*"))
    yield models / "LLM"
    remove_new(models, before)


def queue(server) -> list:
    state = server.client.get("/queue")
    return state["queue_running"] + state["queue_pending"]


def expand(http, **body) -> dict:
    answer = http.post("/prompts/expand", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_pocket_model_gets_what_it_knows(http):
    made = expand(http, prompt="a red circle", seed=1)
    assert made["object"] == "prompt.expansion" and made["original"] == "a red circle"
    assert made["expander"] == "rules (built in)" and made["seed"] == 1 and made["warnings"] == []
    assert made["prompt"].endswith(" background") and "camera" not in made["prompt"]
    assert made["prompt"] == expand(http, prompt="a red circle", seed=1)["prompt"]


def test_a_model_of_the_owners_gets_a_paragraph(http, owner):
    owner("api.json", {"models": {"big": {"model": "checkpoints/big.safetensors"}}})
    made = expand(http, prompt="a red fox in the snow", model="big", expander="rules (built in)", seed=2)
    assert made["prompt"].startswith("A red fox in the snow. ") and len(made["prompt"].split()) > 20


def test_no_seed_is_drawn_and_told(http):
    made = expand(http, prompt="a circle")
    assert made["prompt"] == expand(http, prompt="a circle", seed=made["seed"])["prompt"]


def test_it_answers_while_a_video_is_made(http):
    running = until_running(http, http.post("/videos", json=SLOW | {"seed": 31}).json())
    assert expand(http, prompt="a red circle")["prompt"] != "a red circle"
    assert http.get(f"/videos/{running['id']}").json()["status"] == "in_progress"
    http.post(f"/videos/{running['id']}/cancel")
    assert wait(http, running)["error"]["code"] == "cancelled"


def test_the_list_of_expanders(http):
    listed = http.get("/prompts/expanders").json()
    assert listed["object"] == "list"
    assert [entry["id"] for entry in listed["data"][:2]] == ["automatic", "rules (built in)"]
    assert [entry["default"] for entry in listed["data"][:2]] == [True, False]


@pytest.mark.parametrize(
    "body,expected",
    [
        ({}, (400, "missing_required_parameter", "prompt")),
        ({"prompt": "x", "expander": "nobody"}, (400, "invalid_value", "expander")),
        ({"prompt": "x", "model": "sora-3"}, (404, "model_not_found", "model")),
        ({"prompt": "x", "seed": -1}, (400, "invalid_value", "seed")),
    ],
)
def test_bad_requests_say_what_is_wrong(http, body, expected):
    assert error(http.post("/prompts/expand", json=body)) == expected
    assert error(http.get("/prompts/nothing"))[:2] == (404, "unknown_url")


def test_a_graph_of_the_owners_is_run_instead(http, owner):
    """With core's text nodes: any node that shows text can be the expander."""
    words = {"outputs": [{"name": "STRING", "type": "STRING", "links": [1]}], "widgets_values": ["?"]}
    shown = {"inputs": [{"name": "source", "type": "*", "link": 1}], "widgets_values": []}
    nodes = [
        {"id": 1, "type": "PrimitiveStringMultiline", "title": "Words {value=prompt}", **words},
        {"id": 2, "type": "PreviewAny", "title": "Preview as Text", **shown},
    ]
    owner("api/expand.json", json.dumps({"nodes": nodes, "links": [[1, 1, 0, 2, 0, "STRING"]]}))
    made = expand(http, prompt="just this", seed=3)
    assert (made["prompt"], made["expander"]) == ("just this", "automatic")


TEXT_ONLY = {
    "nodes": [
        {
            "id": 1,
            "type": "AtelierExpandPrompt",
            "title": "Expand Prompt {prompt} {expander} {seed}",
            "outputs": [{"name": "prompt", "type": "STRING", "links": []}],
            "widgets_values": ["", "automatic", 0, "fixed", ""],
        }
    ],
    "links": [],
}
"""Our graph without its loader, so that it needs no video model."""


def test_a_text_model_answers_through_the_queue(http, owner, llm, server):
    tiny_writer.folder(llm / "fox")
    owner("api/expand.json", TEXT_ONLY)
    assert [entry["id"] for entry in http.get("/prompts/expanders").json()["data"]][2:] == ["LLM/fox"]
    before = set(server.client.get("/history"))
    for name in ("automatic", "LLM/fox"):
        made = expand(http, prompt="a fox", expander=name, seed=1)
        assert (made["prompt"], made["expander"], made["warnings"]) == (tiny_writer.SENTENCE, "LLM/fox", [])
    assert set(server.client.get("/history")) == before


def test_the_saved_graph_expands_for_the_model_of_the_request(http, llm, server):
    """The pocket model knows few words, so the rules answer for every expander, and no model is loaded."""
    tiny_writer.folder(llm / "fox")
    tiny.folder(server.base / "models" / "diffusers" / "tiny-ltx", "0.9.5")
    made = expand(http, prompt="a red circle", expander="LLM/fox", model="diffusers/tiny-ltx")
    assert (made["prompt"], made["expander"]) == (tiny_writer.SENTENCE, "LLM/fox")
    assert expand(http, prompt="a red circle", expander="LLM/fox")["expander"] == "rules (built in)"


def test_while_comfyui_works_automatic_does_not_wait_and_a_name_does(http, owner, llm, server):
    tiny_writer.folder(llm / "fox")
    owner("api/expand.json", TEXT_ONLY)
    running = until_running(http, http.post("/videos", json=SLOW | {"seed": 32}).json())
    made = expand(http, prompt="a red circle")
    assert made["expander"] == "rules (built in)" and "busy with another job" in made["warnings"][0]
    waiting = http.post("/videos", json=SLOW | {"seed": 33}).json()
    with pytest.raises(httpx.ReadTimeout):
        http.post("/prompts/expand", json={"prompt": "a fox", "expander": "LLM/fox"}, timeout=1.5)
    deadline = time.monotonic() + 10
    while len(queue(server)) > 2 and time.monotonic() < deadline:  # who hung up takes the job along
        time.sleep(0.1)
    assert len(queue(server)) == 2
    for video in (waiting, running):
        http.post(f"/videos/{video['id']}/cancel")
        assert wait(http, video)["error"]["code"] == "cancelled"


def test_who_hangs_up_stops_the_text_model(http, owner, llm, server):
    tiny_writer.folder(llm / "endless", template=tiny_writer.THINKING, endless=True)
    owner("api/expand.json", TEXT_ONLY)
    with pytest.raises(httpx.ReadTimeout):
        http.post("/prompts/expand", json={"prompt": "a fox", "expander": "LLM/endless"}, timeout=3)
    deadline = time.monotonic() + 20
    while queue(server) and time.monotonic() < deadline:
        time.sleep(0.1)
    last = list(server.client.get("/history").values())[-1]
    assert "AtelierExpandPrompt" in {step["class_type"] for step in last["prompt"][2].values()}
    assert "execution_interrupted" in dict(last["status"]["messages"])


def test_a_text_model_that_cannot_be_used_says_why(http, owner, llm):
    (tiny_writer.folder(llm / "pickle") / "model.safetensors").rename(llm / "pickle" / "pytorch_model.bin")
    owner("api/expand.json", TEXT_ONLY)
    answer = http.post("/prompts/expand", json={"prompt": "a fox", "expander": "LLM/pickle"})
    assert error(answer) == (422, "expansion_failed", None)
    assert "download the model as safetensors" in answer.json()["error"]["message"]
