"""Expanding prompts over HTTP: the built-in rules at once, whatever the queue does."""

from __future__ import annotations

import json

import pytest
from wire_client import SLOW, error, until_running, wait


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
    """Core's text nodes: whatever shows a text can be an expander."""
    words = {"outputs": [{"name": "STRING", "type": "STRING", "links": [1]}], "widgets_values": ["?"]}
    shown = {"inputs": [{"name": "source", "type": "*", "link": 1}], "widgets_values": []}
    nodes = [
        {"id": 1, "type": "PrimitiveStringMultiline", "title": "Words {value=prompt}", **words},
        {"id": 2, "type": "PreviewAny", "title": "Preview as Text", **shown},
    ]
    owner("api/expand.json", json.dumps({"nodes": nodes, "links": [[1, 1, 0, 2, 0, "STRING"]]}))
    made = expand(http, prompt="just this", seed=3)
    assert (made["prompt"], made["expander"]) == ("just this", "automatic")
