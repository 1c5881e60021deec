"""A farm on this machine: a head's Ray, and one machine's with a tiny ComfyUI, which is killed with -9.

The head's queue runs in the test's own process; leaving Ray and connecting again is what a head's restart is.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import comfyui
import psutil
import pytest
import ray_node
import worker
from atelier.farm.cluster import Cluster
from atelier.farm.jobs import Farm
from atelier.farm.spool import Spool
from atelier.farm.waiting import Job
from client import Client
from console import Problem
from saved_graph import node_types, set_widget, to_api

if TYPE_CHECKING:
    from conftest import Machines


MACHINES = 1


@asynccontextmanager
async def head(machines: Machines, expected: list[str] = ()) -> AsyncIterator[Farm]:
    """The head's queue with its workers ready. expected: jobs of the head before it that it takes over."""
    from atelier.api.graphs import farm_queue

    farm = Farm(Spool(machines.base / "jobs"))
    cluster = Cluster(farm, "test", comfyui.ROOT, farm_queue.path_of, farm_queue.check)
    await cluster.connect(machines.address, machines.token)
    try:
        assert all([farm.recover(job_id) for job_id in expected])
        farm.start()
        cluster.watch()
        await until(lambda: len(farm.seats) == MACHINES and all(seat.about for seat in farm.seats.values()))
        yield farm
    finally:
        await cluster.close()


async def until(true, seconds: float = 120) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


def frames(colour: int = 255) -> Job:
    """A job that takes no time: two frames of a colour."""
    job_id = str(uuid.uuid4())
    save = {"filename_prefix": f"farm/{job_id}", "format": "mp4", "codec": "h264"}
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 2, "color": colour}},
        "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 8.0}},
        "3": {"class_type": "SaveVideo", "inputs": {"video": ["2", 0], **save}},
    }
    return Job(job_id, prompt)


def clip(farm: Farm, steps: int, seed: int) -> Job:
    """A job of the built-in model, which has steps and previews."""
    url = next(iter(farm.seats.values())).about["url"]
    graph = json.loads((comfyui.ROOT / "workflows" / "text_to_video.json").read_text(encoding="utf-8"))
    with Client(url) as client:
        info = client.object_info(node_types(graph))
    set_widget(graph, info, "AtelierSampleVideo", "seed", seed)
    set_widget(graph, info, "AtelierSampleVideo", "steps", steps)
    return Job(str(uuid.uuid4()), to_api(graph, info), model="pocket (built in)")


def made(job: Job) -> list[Path]:
    from atelier.api.graphs import farm_queue

    return sorted(farm_queue.path_of("farm [output]").glob(f"{job.id}*"))


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_what_is_killed_is_made_again_and_what_runs_is_found_again(machines):
    """One worker. Its ComfyUI is killed in the middle of a job, and the head leaves in the middle of another."""
    asyncio.run(killed_cancelled_refused(machines))


async def killed_cancelled_refused(machines: Machines) -> None:
    async with head(machines) as farm:
        (seat,) = farm.seats.values()
        quick, struck, long, odd = frames(), clip(farm, 60, 1), clip(farm, 900, 2), frames()
        odd.prompt["1"]["class_type"] = "NoSuchNode"
        for job in (quick, struck, long, odd):
            await farm.submit(job)
        await until(lambda: steps(farm, struck) > 3)
        before = seat.about["process"]
        assert psutil.Process(before).nice() <= psutil.Process().nice(), "as urgent as a ComfyUI without a farm"
        os.kill(before, signal.SIGKILL)
        await until(lambda: struck.lost, 10)
        assert "its ComfyUI ended while it worked" in struck.lost[0] and not alive(before)
        await until(lambda: steps(farm, long) > 3 and farm.states[long.id].preview)
        begun = time.monotonic()
        assert not farm.withdraw(long.id)
        await until(lambda: long.id in farm.records)
        assert time.monotonic() - begun < 5, "0.1 s on an idle machine"
        await until(lambda: odd.id in farm.records)
        assert [outcome(farm, job) for job in (quick, struck)] == ["success"] * 2 and len(made(quick)) == 1
        assert outcome(farm, long) == "execution_interrupted"
        assert f"{seat.hand.name}: Cannot execute because node NoSuchNode does not exist." in outcome(farm, odd)
        going = [clip(farm, 60, 3), frames(9)]
        for job in going:
            await farm.submit(job)
        await until(lambda: steps(farm, going[0]) > 3)
    async with head(machines, [job.id for job in going]) as farm:
        await until(lambda: all(job.id in farm.records for job in going))
        assert [outcome(farm, job) for job in going] == ["success"] * 2 and len(made(going[1])) == 1
        assert [seat.made for seat in farm.seats.values()] == [2] and not any(job.lost for job in farm.running.values())


def test_a_machine_with_another_token_does_not_join(machines, tmp_path):
    token = ray_node.token_file(tmp_path)
    ray_node.make_token(token)
    with pytest.raises(Problem, match="the head refused the token. Copy the head's token file"):
        with worker.lent(tmp_path / "machine", machines.address, token, None, 1):
            pass


def steps(farm: Farm, job: Job) -> int:
    """The step that a job is at; 0 while it does not run."""
    return farm.states[job.id].steps[2] if job.id in farm.states else 0


def outcome(farm: Farm, job: Job) -> str:
    """success, or the last event with its message."""
    status = farm.records[job.id]["status"]
    event, data = status["messages"][-1]
    return "success" if status["status_str"] == "success" else data.get("exception_message") or event
