"""OpenAI's own clients, unmodified, of every generation that has the Videos API, through one whole program each.

The newest Python client is the one of the test environment; the others are fetched, so those tests are slow.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import av
import pytest
from PIL import Image

PROGRAMS = Path(__file__).parent / "clients"
UNREACHABLE = (
    *("NewConnectionError", "ConnectTimeout", "Temporary failure", "Name or service not known"),
    *("ENOTFOUND", "ECONNREFUSED", "EAI_AGAIN", "ETIMEDOUT", "network"),
)


@pytest.fixture
def room(tmp_path, clip) -> Path:
    """A folder with the files that the programs upload."""
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "picture.png")
    assert clip.parent == tmp_path
    return tmp_path


def run(*command: str | Path, **options) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=280, **options)
    said = done.stdout + done.stderr
    if done.returncode and "install" in command and any(word in said for word in UNREACHABLE):
        pytest.skip(f"the package registry cannot be reached: {said[-300:]}")
    assert done.returncode == 0, said[-3000:]
    return done.stdout


def kept(cache: pytest.Cache, name: str, make: Callable[[Path], None]) -> Path:
    """A client's environment, installed once and kept in pytest's cache."""
    folder = Path(cache.mkdir("clients")) / name
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        make(folder)
        (folder / "complete").touch()
    return folder


def python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def test_newest_python_client(server, room):
    seen = json.loads(run(sys.executable, PROGRAMS / "program.py", f"{server.url}/v1", room))
    assert seen["version"] == version("openai")
    check(seen, room)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", ["2.3.0", "2.54.0", "3.54.0"])
def test_python_client(server, room, cache, number):
    def make(folder: Path) -> None:
        run(sys.executable, "-m", "venv", folder)
        run(python_of(folder), "-m", "pip", "install", "--quiet", f"openai=={number}")

    folder = kept(cache, f"python-{number}", make)
    seen = json.loads(run(python_of(folder), PROGRAMS / "program.py", f"{server.url}/v1", room))
    assert seen["version"] == number
    check(seen, room)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("npm") is None, reason="Node.js with npm is not installed")
@pytest.mark.parametrize("number", ["6.49.0", "7.57.0"])
def test_node_client(server, room, cache, number):
    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        quiet = ("--no-audit", "--no-fund", "--ignore-scripts")
        run("npm", "install", "--prefix", folder, *quiet, f"openai@{number}", cwd=folder)

    folder = kept(cache, f"node-{number}", make)
    shutil.copy(PROGRAMS / "program.mjs", folder)
    seen = json.loads(run("node", folder / "program.mjs", f"{server.url}/v1", room))
    assert seen["version"] == number
    check(seen, room)


def check(seen: dict, room: Path) -> None:
    """Check the report of a client's program."""
    assert {"sora-2", "sora-2-pro"} <= set(seen["models"])
    assert seen["queued"]["status"] in ("queued", "in_progress") and seen["queued"]["object"] == "video"
    ended = ("done", "by file", "by data URL", "source", "remixed", "edited", "edited by id", "extended")
    for name in (*ended, "with character"):
        assert (seen[name]["status"], seen[name]["progress"]) == ("completed", 100), (name, seen[name])
    assert seen["done"]["model"] == "sora-2-pro" and seen["done"]["seed"] == 7
    assert seen["remixed"]["remixed_from_video_id"] == seen["edited by id"]["remixed_from_video_id"]
    assert seen["remixed"]["remixed_from_video_id"] == seen["source"]["id"]
    assert float(seen["extended"]["seconds"]) > float(seen["source"]["seconds"])
    assert seen["character"] == "Ruby"
    assert seen["listed"] == seen["oldest"][::-1] and len(seen["listed"]) >= 9 and seen["page"] == [2, True]
    assert seen["deleted"] == [True, seen["listed"][0], "not_found"]
    assert seen["refused"] == ["invalid_value", "size"]
    with av.open(str(room / "video.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == seen["done"]["num_frames"]
    assert [Image.open(room / name).format for name in ("thumbnail.webp", "sheet.jpg")] == ["WEBP", "JPEG"]
