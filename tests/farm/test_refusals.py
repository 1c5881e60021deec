"""What does not start, and what the person who starts it reads. No Ray."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import stat
import sys
import threading
from pathlib import Path

import comfyui
import pytest
import ray_node
import serve
import worker
from atelier.api import settings
from atelier.farm.cluster import check_token
from atelier.farm.jobs import Farm, FarmError
from atelier.farm.spool import Spool
from atelier.farm.worker import Worker, pack_version
from comfy_server import free_port
from console import Problem
from pydantic import ValidationError


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_no_token_no_start(tmp_path):
    file = tmp_path / "farm" / "token"
    for check, error in ((ray_node.check_token, Problem), (check_token, FarmError)):
        file.unlink(missing_ok=True)
        with pytest.raises(error, match="token"):
            check(file)
        ray_node.make_token(file)
        check(file)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600 and len(file.read_text()) == 64
        file.chmod(0o644)
        with pytest.raises(error, match="chmod 600"):
            check(file)
    before = file.read_text()
    ray_node.make_token(file)
    assert file.read_text() == before, "workers have a copy of it"
    assert ray_node.environment(file)["RAY_AUTH_MODE"] == "token"


@pytest.mark.parametrize(
    "text,told",
    [
        (
            "x\nRuntimeError: Version mismatch: The cluster was started with:\n    Ray: 2.59.0",
            "another Ray or Python.*2.59",
        ),
        ("InvalidToken: Unauthenticated: invalid auth token", "refused the token"),
        ("OSError: Address already in use", "--farm-port"),
        (
            "ValueError: ... a port number 16379 that is used by other components.\nPort information: {}",
            "own processes",
        ),
        ("a\nlast words\n", "last words"),
        ("", "no reason"),
    ],
)
def test_why_ray_did_not_start(tmp_path, text, told):
    assert re.search(told, ray_node._why(text, tmp_path / "ray.log"))


def test_the_owners_settings(monkeypatch):
    for address in ("nowhere", "http://x:1", "x:123456", ""):
        with pytest.raises(ValidationError):
            settings.FarmSettings(address=address)
    assert settings.FarmSettings(address="127.0.0.1:6379").token_file().parts[-3:] == ("atelier", "farm", "token")
    assert settings.current().farm is None
    monkeypatch.setenv("ATELIER_FARM", "10.0.0.5:6379")
    assert settings.current().farm.address == "10.0.0.5:6379"
    monkeypatch.setenv("ATELIER_FARM_TOKEN", "/run/secrets/farm")
    assert settings.current().farm.token_file() == Path("/run/secrets/farm"), "what 'run.py serve' started Ray with"


@pytest.mark.parametrize("port", [None, "99999", "x"])
def test_no_head_at_the_address(port):
    address = f"127.0.0.1:{port or free_port()}"
    with pytest.raises(Problem, match=re.escape(address) + ".*run.py serve --farm"):
        worker.check_head(address)


def test_the_farms_address_is_this_machines_and_its_port_is_free():
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        for address, port in (("127.0.0.1", taken), ("127.0.0.1", 99999), ("203.0.113.77", 6379), ("no such host", 1)):
            with pytest.raises(Problem, match=f"cannot listen at {re.escape(address)}:{port}"):
                serve.check_port(address, port)
    serve.check_port("127.0.0.1", free_port())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no flock")
def test_one_head_on_a_base(tmp_path):
    with serve.only_head(tmp_path / "base"), pytest.raises(Problem, match="a farm's head runs on"):
        with serve.only_head(tmp_path / "base"):
            pass
    with serve.only_head(tmp_path / "base"):
        pass


def test_another_pack_is_another_version(tmp_path):
    (tmp_path / "nodes").mkdir()
    (tmp_path / "pyproject.toml").write_text('version = "1.2"\n')
    (tmp_path / "nodes" / "a.py").write_text("a = 1\n")
    before = pack_version(tmp_path)
    (tmp_path / "nodes" / "a.txt").write_text("no code")
    assert pack_version(tmp_path) == before and before.startswith("1.2 (")
    (tmp_path / "nodes" / "a.py").write_text("a = 2\n")
    assert pack_version(tmp_path) != before


def test_a_worker_of_another_pack_starts_no_comfyui(tmp_path, monkeypatch):
    monkeypatch.setenv("ATELIER_FARM_BASE", str(tmp_path / "farm-0"))
    monkeypatch.setenv("ATELIER_FARM_ROOT", str(comfyui.ROOT))
    (tmp_path / "models").mkdir()
    made = Worker("n-0")
    answer = asyncio.run(made.ready("head", "0.0 (other)"))
    assert re.match(
        r"it has Atelier \d.*\), the head has 0.0 \(other\): update the older, then restart it", answer["lost"]
    )
    assert answer["host"] and made._process is None
    answer = asyncio.run(made.ready("another head", "0.0 (other)"))
    assert answer["lost"] == "another head uses this worker: a farm has one head, and a store one farm"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="workers need Linux")
def test_a_worker_without_the_pack(tmp_path, monkeypatch):
    """A real ComfyUI, in which the pack does not load."""
    broken = tmp_path / "custom_nodes" / "atelier"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('no diffusers here')\n")
    (tmp_path / "farm-0").mkdir()
    command = json.dumps([sys.executable, str(comfyui.ROOT / "tools" / "headless.py")])
    for name, value in (("COMMAND", command), ("ROOT", comfyui.ROOT), ("BASE", tmp_path / "farm-0")):
        monkeypatch.setenv(f"ATELIER_FARM_{name}", str(value))

    async def asked() -> dict:
        made = Worker("n-0")
        (tmp_path / "models").mkdir()
        try:
            return await made.ready("head", pack_version(comfyui.ROOT))
        finally:
            await made.end()

    answer = asyncio.run(asked())
    log = tmp_path / "farm-0" / "worker-0" / "comfyui.log"
    assert answer["lost"] == f"its ComfyUI has no Atelier nodes: see {log}"
    assert "no diffusers here" in log.read_text()


def test_a_worker_names_no_file_outside_its_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("ATELIER_FARM_BASE", str(tmp_path))
    made = Worker("n-0")
    assert made._path("a/b.png [output]") == tmp_path / "worker-0" / "output" / "a" / "b.png"
    for name in ("../../x [output]", "/etc/passwd [input]", "x [user]", "x"):
        with pytest.raises(ValueError):
            made._path(name)


def test_a_graphs_files_are_looked_for_off_the_loop(tmp_path, monkeypatch):
    from atelier.api.graphs import comfy_queue, farm_queue

    async def accepted(*_) -> None: ...

    threads, path_of = [], farm_queue.path_of
    monkeypatch.setattr(comfy_queue, "check", accepted)  # there is no ComfyUI to ask
    monkeypatch.setattr(farm_queue, "path_of", lambda name: (threads.append(threading.get_ident()), path_of(name))[1])
    here = farm_queue.path_of("one.png [input]")
    here.parent.mkdir(parents=True, exist_ok=True)
    here.write_bytes(b"")
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "one.png", "text": "a boat", "steps": 3}}}
    queue = farm_queue.FarmQueue(Farm(Spool(tmp_path)), None, "127.0.0.1:1")
    threads.clear()
    asyncio.run(queue.submit("a", graph, {}))
    assert queue.farm.waiting.jobs[0].files == ("one.png [input]",)
    assert len(threads) == 2 and threading.get_ident() not in threads
    here.unlink()


def test_a_head_takes_no_file_outside_its_folders():
    from atelier.api.graphs import farm_queue
    from atelier.farm.jobs import Lost

    assert farm_queue.path_of("a/b.png [output]").parts[-2:] == ("a", "b.png")
    for name in ("../../x [output]", "/etc/passwd [input]", "x [models]", " [output]"):
        with pytest.raises(Lost):
            farm_queue.path_of(name)
    graph = {"1": {"class_type": "UNETLoader", "inputs": {"unet_name": "m.safetensors", "x": ["2", 0], "text": "a\nb"}}}
    assert farm_queue.model_of(graph) == "m.safetensors" and farm_queue.files_of(graph) == ()
