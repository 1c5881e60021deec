"""Random requests: generated from the OpenAPI document, and damaged forms.

Their jobs run a graph without a model, so there can be many. The server answers every request with a status below 500
and as its OpenAPI document says, and every job ends.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator

import clips
import httpx2 as httpx
import pytest
from serving import Server, serving
from wire_client import FAST, coloured_frames, connect, wait

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "use_after_free", "ensure_resource_availability"),
)
"""Without `negative_data_rejection` (numbers may be text) and `positive_data_acceptance` (an id may not exist)."""
BUDGETS = [pytest.param(15, 60), pytest.param(400, 2000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
"""Seconds of requests generated from the OpenAPI document, and number of damaged forms."""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """A separate server, because random requests delete the videos of other tests."""
    with serving(tmp_path_factory.mktemp("fuzz")) as made:
        yield made


@pytest.fixture(scope="module")
def http(server) -> Iterator[httpx.Client]:
    with connect(server.url) as made:
        yield made


@pytest.fixture
def quick_graphs(owner):
    graph = coloured_frames()
    graph["nodes"][0]["title"] = "Empty Image"  # without the mark: a colour cannot be as large as a seed
    for operation in ("generate", "edit", "extend", "loop", "storyboard", "recut", "fill", "blend"):
        owner(f"api/{operation}.json", graph)


@pytest.mark.parametrize("seconds,_", BUDGETS)
def test_the_description_is_true(server, http, quick_graphs, tmp_path, seconds, _):
    wait(http, http.post("/videos", json=FAST).json())
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/v1/openapi.json"),
        *("--checks", ",".join(CHECKS), "--phases", "examples,fuzzing,stateful"),
        *("--seed", "1", "--max-time", str(seconds), "--suppress-health-check", "all", "--request-timeout", "60"),
        *("--no-color", "--exclude-operation-id", "expandPrompt"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=2 * seconds + 200)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert_nothing_is_stuck(http)


@pytest.mark.parametrize("_,count", BUDGETS)
def test_broken_forms(http, quick_graphs, tmp_path, _, count):
    dice = random.Random(count)
    contents = [
        clips.make(tmp_path / "clip.mp4", clips.numbered(9, 64, 64)).read_bytes(),
        clips.make(tmp_path / "short.mp4", clips.numbered(3, 64, 64)).read_bytes(),
        b"",
        b"\0" * 99,
    ]
    for _number in range(count):
        path = dice.choice(["", "/edits", "/extensions", "/characters", f"/{'video_' + '0' * 32}/remix"])
        boundary = dice.choice(["x", "-" * 70, "a b", "ü", ""])
        kind = dice.choice([f"multipart/form-data; boundary={boundary}", f'multipart/form-data; boundary="{boundary}"'])
        sent = spoilt(dice, form(dice, boundary.encode(), contents))
        answer = http.post(f"/videos{path}", content=sent, headers={b"Content-Type": kind.encode()})
        assert answer.status_code < 500, (path, kind, sent[:500], answer.text)
        assert answer.status_code < 300 or answer.json()["error"]["message"]
    assert_nothing_is_stuck(http)


def form(dice: random.Random, boundary: bytes, contents: list[bytes]) -> bytes:
    """A random form, with duplicate, nested and unknown fields, and with files in place of text."""
    names = [
        "prompt",
        "seconds",
        "size",
        "video",
        "video[id]",
        "name",
        "n",
        "seed",
        "storyboard",
        "storyboard_images",
        "recut",
        "blend[video]",
        "loop",
        "x[][y]",
        "x[",
        "",
    ]
    values = [
        b"a red circle",
        b"4",
        b"64x64",
        b"null",
        b"{",
        b'[{"time": 1, "prompt": "x"}]',
        b"\xff\xfe",
        b"1e999",
        b"",
    ]
    parts = []
    for name in ["prompt", "name", *dice.choices(names, k=dice.randrange(6))]:
        head = f'Content-Disposition: form-data; name="{name}"'.encode()
        content = dice.choice(values)
        if dice.random() < 0.4:
            name = dice.choice(["clip.mp4", "../../x", "a\0b", "ü" * 300])
            head += f'; filename="{name}"\r\nContent-Type: {dice.choice(["video/mp4", "text/plain", "?"])}'.encode()
            content = dice.choice(contents)
        if dice.random() < 0.1:
            head += b"\r\nContent-Transfer-Encoding: " + dice.choice([b"base64", b"quoted-printable", b"nonsense"])
        parts.append(b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n")
    return b"".join(parts) + b"--" + boundary + b"--\r\n"


def spoilt(dice: random.Random, sent: bytes) -> bytes:
    """Half of the forms are truncated, have a changed byte, or other line ends."""
    how, at = dice.randrange(8), dice.randrange(len(sent))
    if how == 0:
        return sent[:at]
    if how == 1:
        return sent[:at] + bytes([dice.randrange(256)]) + sent[at + 1 :]
    if how == 2:
        return sent.replace(b"\r\n", b"\n")
    if how == 3:
        return sent[:at] + sent[: dice.randrange(len(sent))] + sent[at:]
    return sent


def assert_nothing_is_stuck(http) -> None:
    """Every job ends, and a new one is completed."""
    page = {"has_more": True, "last_id": None}
    while page["has_more"]:
        page = http.get(
            "/videos", params={"limit": 100} | ({"after": page["last_id"]} if page["last_id"] else {})
        ).json()
        for video in page["data"]:
            assert wait(http, video)["status"] in ("completed", "failed")
    assert wait(http, http.post("/videos", json=FAST).json())["status"] == "completed"
