"""The head's queue with workers of this process: order, warm models, losses, refusals, restarts. No Ray, no ComfyUI."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
from atelier.farm import jobs as farm_jobs
from atelier.farm.jobs import Farm, Lost, NotBegun, Refused
from atelier.farm.spool import Spool
from atelier.farm.waiting import AHEAD, Job, Waiting
from farm_workers import SUCCESS, Machine, until

OUT_OF_MEMORY = {"exception_type": "torch.OutOfMemoryError", "exception_message": "CUDA out of memory"}


@pytest.fixture
def spool(tmp_path) -> Path:
    return tmp_path / "jobs"


def job(name: str, model: str = "") -> Job:
    return Job(name, {"1": {"class_type": "X", "inputs": {}}}, model=model)


async def ended(farm: Farm, *names: str) -> list[str]:
    """What became of jobs: "" for success, else the event and its message."""
    async with asyncio.timeout(20):
        while not all(name in farm.records for name in names):
            await asyncio.sleep(0.002)
    told = [dict(farm.records[name]["status"]["messages"]) for name in names]
    return [" ".join(f"{event} {data.get('exception_message', '')}".strip() for event, data in e.items()) for e in told]


def run(scenario) -> None:
    asyncio.run(scenario())


def test_the_order_and_warm_models():
    """Of the first eight, one whose model a free worker has; else the first. A far warm one does not overtake."""
    line = Waiting()
    for number in range(AHEAD + 1):
        line.add(job(str(number), "b" if number in (3, AHEAD) else "a"))
    line.live = {"x", "y"}
    line.free("x", "b")
    assert [found if found is None else (found[0].id, found[1]) for found in (line.next(), line.next())] == [
        ("3", "x"),
        None,
    ]
    line.free("x", "c")
    line.free("y", "a")
    assert (lambda found: (found[0].id, found[1]))(line.next()) == ("0", "y")
    line.jobs[0].refused["x"] = "no such model"
    assert line.next()[0].id == "2", "a worker that refused a job gets the next one"


def test_what_is_lost_is_made_elsewhere_and_fails_after_three_attempts(spool):
    async def scenario() -> None:
        farm = Farm(Spool(spool))
        bad = [Machine(name, Lost(f"{name} burnt"), Lost(f"{name} burnt again")) for name in ("w1", "w2", "w3")]
        good = Machine("w4", at_once=False)
        for machine in (*bad, good):
            farm.join(machine)
        await farm.submit(job("a"))
        (failed,) = await ended(farm, "a") if not good.begun else [""]
        assert good.begun or ("3 workers have lost it" in failed and failed.count("burnt.") == 3), failed
        assert all(name in failed for name in ("w1", "w2", "w3"))
        await farm.submit(job("b"))
        await until(lambda: "b" in good.held or "b" in farm.records)
        for name in list(good.held):
            good.held[name] = SUCCESS
        assert await ended(farm, "b") == [""]
        await farm.close()

    run(scenario)


def test_the_graphs_own_fault_fails_at_once_and_the_machines_does_not(spool):
    async def scenario() -> None:
        farm = Farm(Spool(spool))
        own = farm_jobs.record_of("execution_error", {"exception_message": "bad prompt"})
        memory = farm_jobs.record_of("execution_error", OUT_OF_MEMORY)
        first = Machine("small", own, memory)
        farm.join(first)
        await farm.submit(job("own"))
        assert await ended(farm, "own") == ["execution_error bad prompt"]
        farm.join(Machine("large"))
        await until(lambda: farm.seats["large"].state == "idle")
        jobs = [job("x"), job("y")]
        for each in jobs:
            await farm.submit(each)
        assert await ended(farm, "x", "y") == ["", ""]
        assert [reason for each in jobs for reason in each.lost] == [
            "small: torch.OutOfMemoryError: CUDA out of memory."
        ]
        await farm.close()

    run(scenario)


def test_a_model_that_no_worker_has_is_named_with_the_workers(spool):
    async def scenario() -> None:
        farm = Farm(Spool(spool))
        for name in ("w1", "w2"):
            farm.join(Machine(name, Refused("Load Video Model: 'big' is not in its list")))
        await farm.submit(job("a"))
        (failed,) = await ended(farm, "a")
        for name in ("w1", "w2"):
            assert f"{name}: Load Video Model: 'big' is not in its list." in failed
        await farm.submit(job("b"))
        assert await ended(farm, "b") == [""]
        await farm.close()

    run(scenario)


def test_a_worker_without_comfyui_swallows_no_job(spool):
    """Black hole: a job that was not begun is no attempt, and a worker that cannot get ready gets none."""

    async def scenario() -> None:
        farm = Farm(Spool(spool))
        hole = Machine("hole", NotBegun("it had ended before"))
        farm.join(hole)
        await until(lambda: farm.seats["hole"].state == "idle")
        hole.broken = Lost("its ComfyUI does not start")
        jobs = [job(str(number)) for number in range(10)]
        for each in jobs:
            await farm.submit(each)
        await until(lambda: farm.seats["hole"].state == "resting")
        assert farm.seats["hole"].state == "resting" and len(farm.waiting.jobs) == 10
        farm.join(Machine("good"))
        assert await ended(farm, *(each.id for each in jobs)) == [""] * 10
        assert not any(each.lost for each in jobs) and hole.begun == []
        await farm.close()

    run(scenario)


def test_cancelling_draining_and_leaving(spool):
    async def scenario() -> None:
        farm, one, two = Farm(Spool(spool)), Machine("one", at_once=False), Machine("two")
        farm.join(one)
        await until(lambda: farm.seats["one"].state == "idle")
        for name in ("at work", "waiting", "next"):
            await farm.submit(job(name))
        await until(lambda: one.begun == ["at work"])
        assert farm.withdraw("waiting") and not farm.withdraw("at work")
        assert await ended(farm, "at work") == ["execution_interrupted"]
        await until(lambda: one.begun[-1] == "next")
        assert farm.seats["one"].job == "next"
        farm.drain("one")
        one.held["next"] = SUCCESS
        assert await ended(farm, "next") == [""]
        await farm.submit(job("later"))
        await until(lambda: farm.seats["one"].state == "drained")
        assert farm.seats["one"].state == "drained" and [each.id for each in farm.waiting.jobs] == ["later"]
        farm.resume("one")
        await until(lambda: farm.seats["one"].job == "later")
        assert farm.seats["one"].job == "later"
        farm.join(two)
        farm.leave("one", "its machine has left the farm")
        assert await ended(farm, "later") == [""] and two.collected == ["later"]
        await farm.close()

    run(scenario)


def test_a_worker_drained_before_it_is_ready_and_resumed_in_the_middle_of_a_job(spool):
    async def scenario() -> None:
        farm, one = Farm(Spool(spool)), Machine("one", at_once=False)
        farm.join(one)
        farm.drain("one")  # its ComfyUI has not answered yet
        await farm.submit(job("waiting"))
        await until(lambda: farm.seats["one"].state == "drained")
        assert farm.seats["one"].state == "drained" and one.begun == []
        farm.resume("one")
        await farm.submit(job("next"))
        await until(lambda: one.begun == ["waiting"])
        farm.drain("one")
        farm.resume("one")
        await asyncio.sleep(0.01)
        assert one.begun == ["waiting"], "one job at a time"
        for name in ("waiting", "next"):
            await until(lambda name=name: name in one.begun)
            one.held[name] = SUCCESS
            assert await ended(farm, name) == [""]
        assert one.begun == ["waiting", "next"]
        await farm.submit(job("last"))
        farm.drain("one")  # in the moment in which it got a job
        await until(lambda: one.begun[-1] == "last")
        assert one.begun[-1] == "last"
        await farm.close()

    run(scenario)


def test_a_head_that_restarts(spool):
    """What waited waits, what runs is found again, what is finished is not made again, the rest is forgotten."""

    async def scenario() -> None:
        before, machine = Farm(Spool(spool)), Machine("w", at_once=False)
        before.join(machine)
        await until(lambda: before.seats["w"].state == "idle")
        for name in ("done", "running", "waiting", "deleted"):
            await before.submit(job(name))
            await until(lambda name=name: name in [*machine.begun, *(each.id for each in before.waiting.jobs)])
            if name == "done":
                machine.held[name] = SUCCESS
                await ended(before, "done")
        await before.close()
        assert stat.S_IMODE(spool.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in spool.iterdir()} == {0o600}

        after = Farm(Spool(spool))
        assert all(after.recover(name) for name in ("done", "running", "waiting")) and not after.recover("unknown")
        after.start()
        assert after.at_work() == {"running"} and [each.id for each in after.waiting.jobs] == ["waiting"]
        machine.at_once = True
        after.join(machine)
        await until(lambda: after.seats["w"].job == "running")
        machine.held["running"] = SUCCESS
        assert await ended(after, "done", "running", "waiting") == [""] * 3
        assert machine.begun == ["done", "running", "waiting"]
        for name in ("done", "running", "waiting"):
            after.settled(name)
        assert list(spool.iterdir()) == []
        await after.close()

    run(scenario)


def test_a_worker_that_lost_its_job_while_the_head_was_away(spool):
    async def scenario() -> None:
        before, machine = Farm(Spool(spool)), Machine("w", at_once=False)
        before.join(machine)
        await until(lambda: before.seats["w"].state == "idle")
        await before.submit(job("a"))
        await until(lambda: machine.begun == ["a"])
        await before.close()
        after = Farm(Spool(spool))
        assert after.recover("a")
        after.start()
        machine.held.clear()
        machine.at_once = True
        after.join(machine)
        assert await ended(after, "a") == [""] and machine.begun == ["a", "a"]
        await after.close()

    run(scenario)
