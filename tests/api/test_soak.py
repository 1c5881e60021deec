"""A server that lives long: hundreds of jobs, and nothing that grows with their number."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from comfy_server import running
from wire_client import FAST, connect, wait

CLIENTS = 4
SMALL = FAST | {"num_inference_steps": 1, "num_frames": 9, "size": "32x32"}
"""It is about jobs, not about pixels."""


def run_jobs(url: str, numbers: range) -> list[str]:
    """A video and its remix for every second number, as several clients at once; the ids."""

    def work(number: int) -> list[str]:
        with connect(url) as http:
            made = [wait(http, http.post("/videos", json=SMALL | {"seed": number}).json())]
            made.append(wait(http, http.post(f"/videos/{made[0]['id']}/remix", json=SMALL | {"prompt": "blue"}).json()))
        assert [video["status"] for video in made] == ["completed"] * 2, made
        return [video["id"] for video in made]

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [name for names in pool.map(work, numbers[::2]) for name in names]


def grown(process: psutil.Process, temporary: Path) -> dict[str, int]:
    with process.oneshot():
        found = {"descriptors": process.num_fds(), "threads": process.num_threads()}
        found["megabytes"] = process.memory_info().rss >> 20
    return found | {"temporary files": sum(1 for entry in temporary.rglob("*") if entry.is_file())}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("warm,jobs,megabytes", [(8, 16, 60), pytest.param(60, 600, 20, marks=pytest.mark.slow)])
def test_nothing_grows_with_the_number_of_jobs(tmp_path, warm, jobs, megabytes):
    """warm: jobs after which ComfyUI has loaded what it loads once; few of them leave its memory unsettled."""
    with running(tmp_path, "comfyui") as server:
        process, options = psutil.Process(server.process.pid), server.process.args
        temporary = Path(options[options.index("--temp-directory") + 1])
        run_jobs(server.url, range(warm))
        before = grown(process, temporary)
        run_jobs(server.url, range(warm, warm + jobs))
        after = grown(process, temporary)
    print(f"before: {before}\nafter {jobs} jobs: {after}")
    assert after["megabytes"] - before["megabytes"] <= megabytes
    for name, most in (("descriptors", 5), ("threads", 3), ("temporary files", 2)):
        assert after[name] - before[name] <= most, name
