"""Full disks and folders that disappear, on real (small) disks: nothing is lost, and the Farm page has words for it."""

from __future__ import annotations

import asyncio
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from atelier.farm import jobs as farm_jobs
from atelier.farm.jobs import Farm, State
from atelier.farm.spool import Spool
from atelier.farm.waiting import Job
from atelier.farm.worker import Worker
from disks import fill, small_disk
from farm_head import head, until, workers

if TYPE_CHECKING:
    from conftest import Machines

MACHINES = 1
DISK = "250m"
"""Of the worker's machine."""
SHOT = {"prompt": "a red circle moving left", "num_inference_steps": 8}
SUCCESS = {"outputs": {}, "status": {"status_str": "success", "messages": []}}


class Maker:
    """A worker of this process whose clips have 20 kB."""

    name = "w"

    def __init__(self, folder: Path) -> None:
        self.folder, self.held = folder, {}

    async def ready(self) -> dict:
        return {"jobs": list(self.held)}

    async def begin(self, job: Job) -> None:
        self.held[job.id] = SUCCESS

    async def look(self, job_id: str, version: int) -> State:
        return State(version + 1, record=self.held[job_id], files={job_id: 20_000})

    async def collect(self, state: State) -> None:
        for name, size in state.files.items():
            (self.folder / name).write_bytes(b"\1" * size)

    async def cancel(self, job_id: str) -> None: ...

    async def forget(self, job_id: str) -> None:
        self.held.pop(job_id, None)


def test_a_full_disk_of_the_head_keeps_clips_on_their_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(farm_jobs, "LOOK_AGAIN", 0.01)

    async def scenario(disk: Path) -> None:
        farm, maker = Farm(Spool(disk / "jobs")), Maker(disk)
        for name in ("made", "cancelled"):
            await farm.submit(Job(name, {}))
        filler = fill(disk)
        with pytest.raises(OSError, match="No space left"):
            await farm.submit(Job("refused", {}))
        assert [job.id for job in farm.waiting.jobs] == ["made", "cancelled"]
        farm.join(maker)
        await until_true(lambda: "No space left" in farm.seats["w"].error)
        await asyncio.sleep(0.1)
        assert farm.records == {} and farm.seats["w"].state == "busy"
        filler.unlink()
        await until_true(lambda: "made" in farm.records)
        assert farm.records["made"] == SUCCESS and (disk / "made").stat().st_size == 20_000
        await until_true(lambda: "cancelled" in farm.records)
        fill(disk)
        await farm.close()
        assert [(job.id, job.record) for job in Spool(disk / "jobs").load()] == [
            ("made", SUCCESS),
            ("cancelled", SUCCESS),
        ]

    with small_disk(tmp_path / "disk", "64k") as disk:
        asyncio.run(scenario(disk))


async def until_true(true) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.005)


def test_a_worker_whose_disk_is_full_or_whose_models_are_gone_takes_no_job(tmp_path, monkeypatch):
    models = tmp_path / "models"
    monkeypatch.setenv("ATELIER_FARM_BASE", str(tmp_path / "farm-0"))
    (models / "checkpoints").mkdir(parents=True)
    worker = Worker("n-0")
    assert worker._unfit() == "", "no models at all: the built-in one is enough"
    with small_disk(models, "1m"):
        (models / "checkpoints").mkdir()
        (models / "checkpoints" / "m.safetensors").write_bytes(b"")
        assert worker._unfit() == ""
    assert "models folder has become empty. Is it mounted?" in worker._unfit()
    shutil.rmtree(models)
    answer = asyncio.run(worker.ready("head", "1.0"))
    assert answer["lost"] == "its models folder cannot be read: No such file or directory. Is it mounted?"
    with small_disk(tmp_path / "farm-0", "1m"):
        answer = asyncio.run(worker.ready("head", "1.0"))
        assert answer == {"lost": "its disk is full: 1 MB are free, it needs 64", "host": platform.node()}


@pytest.mark.slow
def test_full_disks_in_a_real_farm(machines: Machines, monkeypatch):
    """The worker's is full: jobs wait. Then the head's: the clip waits on the worker. With room, both are made."""
    with (
        small_disk(machines.base / "head" / "output", "300k") as output,
        head(machines, monkeypatch) as (_, http),
    ):
        until(lambda: [each["state"] for each in workers(http)] == ["idle"])
        filler = fill(machines.base / "machine")
        first = http.post("/videos", json=SHOT | {"seed": 1}).json()["id"]
        until(lambda: "its disk is full" in str(workers(http)[0]["error"]))
        assert http.get(f"/videos/{first}").json()["error"] is None
        filler.unlink()
        until(lambda: http.get(f"/videos/{first}").json()["status"] == "completed")
        filler = fill(output)
        second = http.post("/videos", json=SHOT | {"seed": 2})
        if second.status_code == 507:  # the request's own folder did not fit
            filler.unlink()
            second = http.post("/videos", json=SHOT | {"seed": 2})
            filler = fill(output)
        second = second.json()["id"]
        until(lambda: "the head cannot keep its job" in str(workers(http)[0]["error"]))
        filler.unlink()
        until(lambda: http.get(f"/videos/{second}").json()["status"] == "completed")
        assert http.get(f"/videos/{second}").json()["error"] is None and workers(http)[0]["error"] is None
