"""Liveness of the processes on one store, by file locks that the system releases."""

from __future__ import annotations

import subprocess
import sys

import pytest
from atelier.api.jobs import processes
from atelier.api.jobs.processes import Processes

HOLD = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("processes", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
held = module.Processes(Path(sys.argv[2]))
print(held.own, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process on the same store: (its number, its handle)."""
    command = [sys.executable, "-c", HOLD, processes.__file__, str(tmp_path / "videos.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip(), process
        process.kill()


def test_a_process_lives_until_the_system_says_that_it_has_ended(tmp_path, other):
    name, process = other
    mine = Processes(tmp_path / "videos.lock")
    assert mine.own != name and mine.alive(mine.own) and mine.alive(name)
    assert mine.alive(name), "asking changes nothing"
    process.kill()
    process.wait()
    assert not mine.alive(name) and mine.alive(mine.own)
    mine.close()


@pytest.mark.parametrize("name", ["1234:1700000000.12", "", "-1", "x", str(2**40), "\u0663"])
def test_what_no_process_of_today_is_named_is_dead(tmp_path, name):
    """The store may have process ids of an older Atelier, which used start times."""
    mine = Processes(tmp_path / "videos.lock")
    assert not mine.alive(name)
    mine.close()
