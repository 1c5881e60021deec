"""deploy/: the compose file and the KubeRay example name what is there. Docker and Kubernetes are not here to run them.

By hand both were validated against their schemas: compose-spec's, and the one of KubeRay's RayCluster.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import comfyui
import environment
import pytest
import serve
import worker
import yaml

DEPLOY = comfyui.ROOT / "deploy"
PARSERS = {"serve": serve.parser, "worker": worker.parser}
BASE = "/atelier/.comfyui/base"
"""Where a container has `demo.BASE`: the Dockerfile copies the pack to /atelier."""
FOLDERS = {f"{BASE}/{name}" for name in ("models", "user", "input", "output")} | {"/farm", "/dev/shm"}


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


def options(command: list[str]):
    """What run.py's own parser reads of a container's command. It exits for an option that it does not know."""
    return PARSERS[command[0]]().parse_args(command[1:])


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_the_compose_file_is_a_head_and_two_workers(profile):
    content = read("compose.yaml")
    chosen = {name: each for name, each in content["services"].items() if profile in each["profiles"]}
    assert len(chosen) == 3
    head = options(chosen.pop("head")["command"])
    address = content["services"]["head"]["networks"]["farm"]["ipv4_address"]
    assert head.farm == address and content["services"]["head"]["ports"] == [f"127.0.0.1:{head.port}:{head.port}"]
    cards = []
    for each in chosen.values():
        lent = options(each["command"])
        assert lent.head == f"{address}:{head.farm_port}" and lent.token == head.token and lent.workers == 1
        devices = each.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
        cards += [card for device in devices for card in device["device_ids"]]
    assert cards == (["0", "1"] if profile == "gpu" else []), "a card of its own for each"
    assert head.token == Path("/run/secrets") / "farm-token" and "farm-token" in content["secrets"]
    for each in (content["services"]["head"], *chosen.values()):
        assert each["secrets"] == ["farm-token"] and each["stop_signal"] == "SIGINT" and each["shm_size"] == "512mb"
        assert {volume.rpartition(":")[2] for volume in each["volumes"]} <= FOLDERS
        named = {volume.partition(":")[0] for volume in each["volumes"] if not volume.startswith("$")}
        assert named <= content["volumes"].keys()


def test_the_kuberay_example_is_a_head_and_two_workers():
    content = read("kuberay.yaml")
    spec, (group,) = content["spec"], content["spec"]["workerGroupSpecs"]
    assert content["metadata"]["annotations"] == {"ray.io/overwrite-container-cmd": "true"}
    assert spec["rayVersion"] == environment.read_lock(environment.FARM_LOCK)["ray"] and group["replicas"] == 2
    parsed = []
    for template in (spec["headGroupSpec"]["template"], group["template"]):
        (container,) = template["spec"]["containers"]
        words = shlex.split(*container["args"])
        assert words[:3] == ["exec", "python", "run.py"]
        parsed.append(options(words[3:]))
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        assert volumes["token"]["secret"]["defaultMode"] & 0o077 == 0, "a token that others can read is refused"
        mounts = container["volumeMounts"]
        assert {mount["name"] for mount in mounts} == volumes.keys()
        assert {mount["mountPath"] for mount in mounts} <= FOLDERS
        given = {each["name"]: each.get("value") for each in container["env"]}
        assert set(re.findall(r"\$(\w+)", container["args"][0])) <= {*given, "FQ_RAY_IP"}
        assert given["RAY_AUTH_TOKEN_PATH"] == str(parsed[-1].token) == "/farm/token"
        assert {"readinessProbe", "livenessProbe"} <= container.keys(), "KubeRay's own ask the dashboard"
    head, lent = parsed
    assert lent.head == f"$FQ_RAY_IP:{head.farm_port}" and head.farm == lent.listen == "$POD_IP"


def test_the_image_has_what_the_commands_need():
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert "WORKDIR /atelier\nCOPY . .\n" in lines and lines.rstrip().endswith('ENTRYPOINT ["python", "run.py"]')
    minor = int(re.search(r"FROM python:3\.(\d+)-slim", lines)[1])
    assert environment.OLDEST <= (3, minor) <= environment.NEWEST
    (code,) = re.findall(r'RUN python -c "(.*)"', lines)
    compile(code, "Dockerfile", "exec")
    for name in re.findall(r"\be\.(\w+)", code):
        assert hasattr(environment, name)
    left_out = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    assert "deploy/farm-token" in left_out and not {"tools", "workflows", "web", "studio"} & set(left_out)
