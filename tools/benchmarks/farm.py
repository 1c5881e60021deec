"""Measures what the farm adds to a job and how fast it cancels one, and compares its pixels with a direct run's.

It has Ray and real ComfyUIs: one worker, and one ComfyUI without a farm, make the same short clips, round by round.
`--simulate` runs the days of `farm_days.py` instead, which need no Ray.
"""

import contextlib
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from client import Client
from comfy_server import ComfyServer, free_port, running
from console import Problem, say

from benchmarks import farm_days
from benchmarks.figure import Figure

JOBS, ROUNDS = 8, 5
SHOT = {"prompt": "a red circle moving left", "num_inference_steps": 4}
MOST = 0.1
"""Seconds that the farm may add to a job."""
MOST_CANCEL = 1.0
PATIENCE = 300.0


def farm(simulate: bool) -> list[Figure]:
    """Seconds that the farm adds to a job, how many of its clips differ from a direct run's, and seconds to cancel."""
    if simulate:
        return farm_days.days()
    if importlib.util.find_spec("ray") is None:
        raise Problem("it needs Ray: python run.py bench farm installs it; --simulate does without")
    with tempfile.TemporaryDirectory(prefix="atelier-bench-farm-") as folder, _both(Path(folder)) as (direct, through):
        with Client(direct.url) as here, Client(through.url) as there:
            spent, other = {"direct": [], "farm": []}, 0
            for number in range(ROUNDS + 1):
                seconds, clips = _round(here, direct.base, number * JOBS)
                added, same = _round(there, through.base, number * JOBS)
                other += sum(a != b for a, b in zip(clips, same, strict=True))
                say(f"farm: round {number} of {ROUNDS}: {seconds:.1f} s directly, {added:.1f} s through the farm")
                if number:  # the first one loads the model
                    spent["direct"].append(seconds / JOBS)
                    spent["farm"].append(added / JOBS)
            cancelled = tuple(_cancel(there, seed) for seed in range(ROUNDS))
    more = tuple(a - b for a, b in zip(spent["farm"], spent["direct"], strict=True))
    note = ", ".join(f"{name} {statistics.median(times):.2f} s a job" for name, times in spent.items())
    return [
        Figure("farm, overhead", more, MOST, " s", note=f"{note}; {JOBS} queued at once"),
        Figure("farm, other pixels", (other,), 0, "", note=f"clips of {(ROUNDS + 1) * JOBS}"),
        Figure("farm, cancel", cancelled, MOST_CANCEL, " s", note="a running job, until its worker has stopped"),
    ]


@contextlib.contextmanager
def _both(base: Path) -> Iterator[tuple[ComfyServer, ComfyServer]]:
    """A ComfyUI by itself, and the head of a farm of one worker."""
    import ray_node
    import worker

    port, token = free_port(), ray_node.token_file(base / "head")
    address = f"127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        direct = stack.enter_context(running(base / "direct", "comfyui"))
        stack.enter_context(ray_node.head(token, base / "head.log", "127.0.0.1", port))
        stack.enter_context(worker.lent(base / "machine", address, token, None, 1))
        before = dict(os.environ)
        os.environ |= ray_node.environment(token) | {"ATELIER_FARM": address}
        try:
            through = stack.enter_context(running(base / "head", "comfyui"))
        finally:
            os.environ.clear()
            os.environ |= before
        yield direct, through


def _round(client: Client, base: Path, seed: int) -> tuple[float, list[bytes]]:
    """Queue clips and wait for them -> seconds, and their decoded frames."""
    begun = time.perf_counter()
    names = [client.post("/v1/videos", SHOT | {"seed": seed + number})["id"] for number in range(JOBS)]
    waiting = set(names)
    while waiting and time.perf_counter() - begun < PATIENCE:
        time.sleep(0.02)
        states = {video["id"]: video for video in client.get(f"/v1/videos?limit={JOBS}")["data"]}
        failed = [video["error"] for video in states.values() if video["status"] == "failed"]
        if failed:
            raise Problem(f"a clip failed: {failed[0]}")
        waiting -= {name for name, video in states.items() if video["status"] == "completed"}
    if waiting:
        raise Problem(f"{len(waiting)} clips were not made in {PATIENCE:.0f} s")
    spent = time.perf_counter() - begun
    return spent, [_pixels(next((base / "output" / "atelier" / "videos" / name).glob("*.mp4"))) for name in names]


def _cancel(client: Client, seed: int) -> float:
    """Seconds from the request to cancel a running job until it has ended."""
    video = client.post("/v1/videos", SHOT | {"num_inference_steps": 900, "seed": seed})
    address, limit = f"/v1/videos/{video['id']}", time.perf_counter() + PATIENCE
    while not client.get(address)["step"]:
        if time.perf_counter() > limit:
            raise Problem(f"a clip did not begin in {PATIENCE:.0f} s")
        time.sleep(0.02)
    begun = time.perf_counter()
    client.post(f"{address}/cancel", {})
    while client.get(address)["status"] != "failed" and time.perf_counter() < limit:
        time.sleep(0.02)
    return time.perf_counter() - begun


def _pixels(file: Path) -> bytes:
    import av

    with av.open(str(file)) as container:
        return b"".join(frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0))
