"""A farm on this machine: a head's Ray, and one or two machines' parts of it with one worker each."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray_node
import worker
from comfy_server import free_port
from disks import small_disk


class Machines:
    """The head's Ray and the workers' machines. They can be lost, and come back."""

    def __init__(self, base: Path, count: int) -> None:
        self.count = count
        self.base, self.port = base, free_port()
        self.address, self.token = f"127.0.0.1:{self.port}", ray_node.token_file(base / "head")
        self._stack, self.machines = contextlib.ExitStack(), []

    def __enter__(self) -> Machines:
        self._stack.enter_context(ray_node.head(self.token, self.base / "head.log", "127.0.0.1", self.port))
        self.machines = [self._one() for _ in range(self.count)]
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def _one(self) -> subprocess.Popen:
        return self._stack.enter_context(worker.lent(self.base / "machine", self.address, self.token, None, 1))

    def lose(self, number: int) -> None:
        """Kill a machine's raylet with -9, which is all that Ray sees of a machine that is switched off."""
        (raylet,) = [each for each in psutil.Process(self.machines[number].pid).children() if each.name() == "raylet"]
        raylet.kill()
        self.machines[number].wait(60)

    def replace(self, number: int) -> None:
        """Have the machine join again."""
        self.machines[number] = self._one()


@pytest.fixture(scope="module")
def machines(request, tmp_path_factory) -> Iterator[Machines]:
    """As many as the module's MACHINES; DISK, e.g. "250m", gives them a small disk of their own."""
    if importlib.util.find_spec("ray") is None:  # no import: Ray reads how it authenticates when it is imported
        pytest.skip("Ray is not installed: python run.py test --farm installs it")
    if os.name == "nt":
        pytest.skip("workers need Linux")
    base, size = tmp_path_factory.mktemp("farm"), getattr(request.module, "DISK", None)
    disk = small_disk(base / "machine", size) if size else contextlib.nullcontext()
    with disk, Machines(base, request.module.MACHINES) as made:
        yield made
    end = time.monotonic() + 20
    while left := [each for each in psutil.process_iter(["cmdline"]) if str(base) in str(each.info["cmdline"])]:
        assert time.monotonic() < end, f"no ComfyUI outlives its worker: {[each.info['cmdline'] for each in left]}"
        time.sleep(0.2)
