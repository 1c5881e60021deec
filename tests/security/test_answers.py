"""Answers never contain the owner's key or a path of this machine, whatever error occurs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from atelier.api.errors import summary, without_paths
from pydantic import BaseModel
from wire_client import FAST, coloured_frames, error, wait

KEY = "sk-the-owners-own-key"
SPOILT_SETTINGS = {
    "a misspelt name": {"api_kye": KEY},
    "a number": {"api_key": 20261128, "remote_images": KEY},
    "a list": {"api_key": [KEY]},
    "no length": {"api_key": ""},
    "an entry of a model": {"models": {"mine": {"model": KEY, "size": KEY}}},
    "a certificate": {"content_credentials": {"certificate": KEY, "timestamp_url": KEY}},
    "no object": [KEY],
    "a word": KEY,
    "no JSON": '{"api_key": "' + KEY,
    "nested without end": "[" * 100_000,
}


def machine(server) -> list[str]:
    """Texts that would reveal the server's folders."""
    return [str(server.base), str(server.base.resolve()), str(Path.home()) + "/", "/site-packages"]


@pytest.mark.parametrize("content", SPOILT_SETTINGS.values(), ids=SPOILT_SETTINGS)
@pytest.mark.parametrize("path", ["/videos", "/models"])
def test_settings_with_an_error(http, owner, server, content, path):
    owner("api.json", content)
    answer = http.get(path)
    assert error(answer)[:2] == (500, "misconfigured") and "api.json" in answer.text
    assert not any(secret in answer.text for secret in (KEY, "20261128", *machine(server)))
    assert KEY not in server.log.read_text(errors="replace")


def test_settings_say_which_entry_is_wrong(http, owner):
    owner("api.json", SPOILT_SETTINGS["a misspelt name"])
    assert "api_kye" in http.get("/videos").json()["error"]["message"]


FILES = {
    "no picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "no clip": b"\x00\x00\x00\x18ftypmp42" + bytes(100),
    "no film": b"\x1a\x45\xdf\xa3" + bytes(100),
    "half a JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(30),
    "nothing": b"",
    "a text": b"hello",
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_files_that_cannot_be_read(http, server, content):
    answer = http.post("/videos", data=FAST, files={"input_reference": ("x", content)})
    assert answer.status_code in (400, 200), answer.text
    assert not any(told in answer.text for told in machine(server)) and "atelier/videos" not in answer.text
    if answer.status_code == 200:
        http.delete(f"/videos/{answer.json()['id']}")


@pytest.fixture
def spoilt_models(server) -> Iterator[None]:
    folder, single = server.base / "models" / "diffusers", server.base / "models" / "checkpoints" / "torn.safetensors"
    (folder / "hollow" / "transformer").mkdir(parents=True)
    (folder / "hollow" / "model_index.json").write_text("{}")
    (folder / "garbled" / "transformer").mkdir(parents=True)
    (folder / "garbled" / "model_index.json").write_text("{}")
    (folder / "garbled" / "transformer" / "config.json").write_text("{")
    single.write_bytes(b"\x10\0\0\0\0\0\0\0{")
    yield
    single.unlink()
    for name in ("hollow", "garbled"):
        shutil.rmtree(folder / name)


def test_models_that_cannot_be_read(http, server, spoilt_models):
    """The error names the file without its folder."""
    listed = http.get("/models")
    assert not any(told in listed.text for told in machine(server))
    problems = {model["id"]: model["problem"] for model in listed.json()["data"]}
    assert "safetensors" in problems["diffusers/hollow"] and "torn" in problems["torn.safetensors"]
    refused = http.post("/videos", json=FAST | {"model": "diffusers/hollow"})
    assert error(refused)[:2] == (422, "model_unusable") and not any(t in refused.text for t in machine(server))
    at = str(server.url) + "/atelier/shot?model=diffusers/hollow&seconds="
    assert not any(told in http.get(at + "2").text for told in machine(server))
    assert http.get(at + "inf").status_code == http.get(at + "nan").status_code == 400


def test_nodes_that_fail_with_a_path(http, owner, server):
    """In an artist's graph, a node's error becomes the job's error."""
    graph = coloured_frames()
    graph["nodes"][2]["widgets_values"][0] = str(server.base / "elsewhere" / "x")
    graph["nodes"][2]["title"] = "Save Video"
    owner("api/generate.json", graph)
    video = wait(http, http.post("/videos", json=FAST).json())
    assert video["status"] == "failed" and not any(told in json.dumps(video) for told in machine(server))


class _Owner(BaseModel):
    key: int


def test_words():
    with pytest.raises(ValueError) as raised:
        _Owner.model_validate({"key": KEY})
    assert KEY not in summary(raised.value) and summary(raised.value).startswith("key: ")
    with pytest.raises(OSError) as raised:
        Path("/no/such/file.txt").read_text()
    assert summary(raised.value) == "No such file or directory"
    assert summary(KeyError()) == "KeyError"


@pytest.mark.parametrize(
    "said,shown",
    [
        ("cannot open '/home/ann/my films/a.mp4': no", "cannot open 'my films/a.mp4': no"),
        ("/srv/models/vae/x.safetensors has no VAE.", "x.safetensors has no VAE."),
        (r"C:\Users\Ann\x.png is damaged (C:\y)", "x.png is damaged (y)"),
        ("see /v1/models, /prompt and https://example.org/a/b", "see /v1/models, /prompt and https://example.org/a/b"),
        ("8n/1 or n/a/b frames, 3/4 of it", "8n/1 or n/a/b frames, 3/4 of it"),
        ("(/a/b/, /c/d.x)", "(b, d.x)"),
    ],
)
def test_paths_in_texts(said, shown):
    assert without_paths(said) == shown
