"""Old graphs out of files, over HTTP and on the command line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest
import saved
from atelier import old_graphs
from PIL import Image
from PIL.PngImagePlugin import PngInfo

ROOT = Path(__file__).resolve().parents[2]


def picture(**tags: str) -> bytes:
    info, file = PngInfo(), io.BytesIO()
    for name, text in tags.items():
        info.add_text(name, text)
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


BAD = {
    "empty": (b" \n", "is empty"),
    "cut off": (json.dumps(saved.cogvideox()).encode()[:3000], "cut off"),
    "damaged": (b'{"nodes": [\n{"id" 3}]}' + b" " * 99, "damaged at line 2"),
    "nested": (b"[" * 200_000, "nested too deeply"),
    "too large": (b'{"a": "' + b"x" * (17 << 20) + b'"}', "16 MB are read"),
    "not text": (b'{"a": "\xff\xfe"}', "UTF-8"),
    "words": (b"a letter to a friend", "no graph of ComfyUI in this file"),
    "a picture without a graph": (picture(), "no graph of ComfyUI in this file"),
    "a picture with a damaged one": (picture(workflow='{"nodes": ['), "workflow in this file ends in the middle"),
}


@pytest.mark.parametrize("content,words", BAD.values(), ids=BAD)
def test_a_file_without_a_graph_gets_a_clear_word(content, words):
    with pytest.raises(old_graphs.UnreadableGraph, match=words):
        old_graphs.graph_in(content)


def test_json_with_a_byte_order_mark_and_pictures_are_read():
    graph = saved.cogvideox()
    text = json.dumps(graph)
    wrapped = json.dumps({"prompt": {"1": {"class_type": "X"}}, "workflow": graph})
    for content in (b"\xef\xbb\xbf" + text.encode(), picture(prompt="{}", workflow=text), wrapped.encode()):
        assert old_graphs.graph_in(content) == graph


@pytest.fixture
def address(server) -> str:
    return f"{server.url}/atelier/convert"


def test_the_route_converts_and_finds_what_is_installed(http, server, address):
    (server.base / "models" / "diffusers" / "CogVideoX-5b").mkdir(parents=True, exist_ok=True)
    assert http.get(address).json()["classes"]["MochiSampler"] == "MochiWrapper"
    answer = http.post(address, content=picture(workflow=json.dumps(saved.cogvideox()))).json()
    assert answer["changed"] and answer["made_for"] == ["CogVideoXWrapper"] and answer["lost"] == []
    loader = saved.of_type(answer["graph"], "AtelierLoadVideoModel")
    assert loader["widgets_values"][0] == "diffusers/CogVideoX-5b"
    assert not any("CogVideoX-5b is not installed" in line for line in answer["remarks"])
    again = http.post(address, json=answer["graph"]).json()
    assert not again["changed"] and again["graph"] == answer["graph"]


@pytest.mark.parametrize("content,words", [BAD["cut off"], BAD["words"], (b'{"a": 1}', "not a graph of ComfyUI")])
def test_the_route_says_what_is_wrong(http, address, content, words):
    answer = http.post(address, content=content)
    assert answer.status_code == 400 and words in answer.json()["error"]["message"]


def test_the_route_has_a_cap_and_the_apis_access_rules(http, server, owner, address):
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    connection.putrequest("POST", "/atelier/convert")
    connection.putheader("Content-Length", str(65 << 20))
    connection.endheaders(b"x")
    assert connection.getresponse().status == 413
    connection.close()
    cross = http.post(address, content=b"{}", headers={"Origin": "http://elsewhere.example"})
    assert cross.status_code == 403
    owner("api.json", {"api_key": "secret"})
    assert http.post(address, content=b"{}").status_code == 401


def convert(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "tools" / "convert.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_command_writes_a_new_file_and_touches_no_old_one(tmp_path):
    old = tmp_path / "old.json"
    old.write_text(json.dumps(saved.cogvideox(n63=[49, 40, 6, 7, "fixed", "DPM++", 1])))
    before = old.read_bytes()
    result = convert(old)
    new = tmp_path / "old.atelier.json"
    assert result.returncode == 0, result.stderr
    assert "Made for CogVideoXWrapper. Lost:" in result.stdout and "scheduler DPM++ is lost" in result.stdout
    assert saved.of_type(json.loads(new.read_text()), "AtelierSampleVideo")["widgets_values"] == [7, "fixed", 40, 6, 1]
    assert old.read_bytes() == before
    again = convert(old)
    assert again.returncode == 1 and "exists already" in again.stderr
