"""A custom node for tests: a farm of three workers without Ray. The queue, the API and the page are real.

The first and the last make a job until it is cancelled; the one between them cannot start.
"""

import asyncio
import importlib
import sys

from server import PromptServer

NODE_CLASS_MAPPINGS: dict = {}
CARD = {"memory": 25_757_220_864, "free": 24_000_000_000}
WORKERS = {
    "3f9a1c20-0": {"host": "north", "gpu": "cuda:0 NVIDIA GeForce RTX 4090", **CARD},
    "77b0e4d1-0": {"host": "west"},
    "c0ffee12-0": {"host": "south", "gpu": "cpu", "memory": 16_000_000_000, "free": 9_100_000_000},
}


def make_hand(jobs):
    """The class of the workers, over the pack's module `farm.jobs`."""

    class Paper:
        def __init__(self, name: str) -> None:
            self.name, self.held = name, {}

        async def ready(self) -> dict:
            if "gpu" not in WORKERS[self.name]:
                raise jobs.Lost("its ComfyUI has no Atelier nodes: see comfyui.log", WORKERS[self.name])
            return WORKERS[self.name] | {"jobs": list(self.held)}

        async def begin(self, job) -> None:
            self.held[job.id] = None

        async def look(self, job_id: str, version: int):
            await asyncio.sleep(0.05)
            return jobs.State(version + 1, steps=(12, 30, 12, 30), record=self.held[job_id])

        async def collect(self, state) -> None: ...

        async def cancel(self, job_id: str) -> None:
            self.held[job_id] = jobs.record_of("execution_interrupted", {})

        async def forget(self, job_id: str) -> None:
            self.held.pop(job_id, None)

    return Paper


async def without_ray(_) -> None:
    """Once all custom nodes are loaded, and before the first request."""
    pack = next(name for name in sys.modules if name.endswith("custom_nodes/atelier"))
    cluster, jobs = (importlib.import_module(f"{pack}.farm.{name}") for name in ("cluster", "jobs"))
    hand = make_hand(jobs)

    async def connect(self, address, token) -> None: ...

    async def remove(self, name: str) -> None:
        self._farm.leave(name, "it was removed")

    def watch(self) -> None:
        for name in WORKERS:
            self._farm.join(hand(name))

    cluster.Cluster.connect, cluster.Cluster.watch, cluster.Cluster.remove = connect, watch, remove


PromptServer.instance.app.on_startup.append(without_ray)
