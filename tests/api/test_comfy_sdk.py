"""Comfy's own Python client, comfy-sdk, runs our saved graphs: over comfy-api-proxy, which puts Comfy's API v2 before a
ComfyUI. Skipped where the two are not installed (pip install comfy-sdk comfy-api-proxy)."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import comfy_server
import pytest
import saved_graph
from atelier.media import read
from shipped_pocket import SIDE

comfy_sdk = pytest.importorskip("comfy_sdk")
pytest.importorskip("comfy_api_proxy")

GRAPHS = {"text_to_video": "6", "storyboard": "6", "remix": "9"}
"""Graph -> the id of its Save Video."""


@pytest.fixture(scope="module")
def client(server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[comfy_sdk.Comfy]:
    port = comfy_server.free_port()
    command = [sys.executable, "-m", "comfy_api_proxy.cli", "--comfyui", server.url, "--port", str(port)]
    command += ["--state-dir", str(tmp_path_factory.mktemp("proxy"))]
    log = (tmp_path_factory.mktemp("log") / "proxy.log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait(f"http://127.0.0.1:{port}/api/v2/jobs", process)
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("COMFY_BASE_URL", f"http://127.0.0.1:{port}")
            yield comfy_sdk.Comfy()
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def _wait(address: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the proxy does not answer")


@pytest.mark.parametrize("name", GRAPHS)
def test_a_saved_graph_runs(client, server, workflow, tmp_path: Path, name):
    graph = workflow(name)
    kinds = {node["type"] for node in graph["nodes"]}
    prompt = saved_graph.to_api(graph, server.client.object_info(kinds))
    job = client.run(client.workflows.from_json(prompt), timeout=240)
    (output,) = job.get_outputs(GRAPHS[name])
    output.to_file(tmp_path / "clip.mp4")
    clip = read.of_file(tmp_path / "clip.mp4")
    assert (clip.width, clip.height) == (SIDE, SIDE) and len(clip.times) > 8


def test_a_failure_says_what_the_node_said(client, server, workflow):
    graph = workflow("storyboard")
    prompt = saved_graph.to_api(graph, server.client.object_info({node["type"] for node in graph["nodes"]}))
    prompt["2"]["inputs"]["flow"] = "prompt relay"
    prompt["1"]["inputs"]["model"] = "pocket pyramid (built in)"
    with pytest.raises(comfy_sdk.ComfyError) as raised:
        client.run(client.workflows.from_json(prompt), timeout=240)
    assert "LTX" in f"{raised.value} {getattr(raised.value, 'error', '')}"
