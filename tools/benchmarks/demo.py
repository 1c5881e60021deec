"""Measures `python run.py demo` in seconds, from the command to the MP4, with the environment prepared."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import comfyui
from console import Problem

from benchmarks.figure import Figure

ROUNDS = 3


def demo() -> list[Figure]:
    """The command as a person types it, each time in a new process with a new ComfyUI."""
    before = _processor_time()
    seconds = tuple(_once() for _ in range(ROUNDS))
    used = (_processor_time() - before) / ROUNDS
    return [Figure("demo", seconds, 60, " s", note=f"{used:.0f} s of processor time each" if used else "")]


def _processor_time() -> float:
    """Seconds that ended child processes, and theirs, have used (0 on Windows, which does not tell)."""
    times = os.times()
    return times.children_user + times.children_system


def _once() -> float:
    with tempfile.TemporaryDirectory(prefix="atelier-demo-") as out:
        command = [sys.executable, str(comfyui.ROOT / "run.py"), "demo", "a red circle moving left", "--out", out]
        started = time.perf_counter()
        result = subprocess.run(command, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        if result.returncode or not list(Path(out).glob("*.mp4")):
            raise Problem(f"run.py demo made no MP4: {(result.stderr or result.stdout).strip()[-800:]}")
        return seconds
