"""The farm's workers over Ray: finds machines, keeps one detached actor for each GPU, and calls it.

Ray is imported when a farm is connected. An actor has a name and outlives its head, so a head that restarts finds it
with the job that it makes. A loopback address stays one: Ray alone would replace it and listen on every network.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import worker as worker_module
from .jobs import Farm, FarmError, Lost, NotBegun, Refused, State
from .loopback import keep_loopback
from .waiting import Job

Json = dict[str, Any]

NAMESPACE = "atelier"
RESOURCE = "atelier"
"""Ray's resource that a worker's machine has as often as it takes workers."""
LOOK_AROUND_EVERY = 2.0
"""Seconds between two looks for machines that came or went."""
SILENT = 60.0
"""Seconds without an answer after which a worker counts as lost and its actor is killed."""
START = 300.0
"""The same for a worker that starts its ComfyUI."""
PART = 8_000_000
"""Bytes of a file that travel at once."""


def check_token(file: Path) -> None:
    """Raises FarmError unless there is a token that only its owner can read."""
    if not file.is_file() or not file.read_text(encoding="utf-8").strip():
        raise FarmError(
            f"The farm's token is missing: {file.name}. 'run.py serve --farm' makes it; copy it to each worker's "
            "machine, and name it there with --token."
        )
    if os.name == "posix" and file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise FarmError(f"Others can read the farm's token {file.name}: chmod 600 it.")


class Cluster:
    """The connection to the farm's Ray, and the workers that it finds there."""

    def __init__(
        self, farm: Farm, head: str, root: Path, path_of: Callable[[str], Path], check: Callable[[Path], None]
    ):
        """head: this head's lasting name. root: of the pack. path_of: a file's name in a graph -> its path on this
        machine; raises Lost for one outside its folders. check(path, suffix): raises Lost if a file that came back
        cannot be used."""
        self._farm, self._head, self._root = farm, head, root
        self._path_of, self._check = path_of, check
        self._removed: set[str] = set()
        """Workers that are left out, until their machine joins again under another name."""
        self._watch: asyncio.Task | None = None
        self._pack = ""

    async def connect(self, address: str, token: Path) -> None:
        """Raises FarmError in words if there is no Ray, no token, or no farm at the address."""
        check_token(token)
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
        self._pack = await asyncio.to_thread(worker_module.pack_version, self._root)
        await asyncio.to_thread(_connect, address)  # in a thread, so that Ray leaves SIGTERM alone

    def watch(self) -> None:
        """Welcome workers from now on. The farm's jobs of before a restart must have been taken over by then."""
        self._watch = asyncio.create_task(self._look_around())

    async def close(self) -> None:
        import ray

        if self._watch is not None:
            self._watch.cancel()
        await self._farm.close()
        await asyncio.to_thread(ray.shutdown)

    async def remove(self, name: str) -> None:
        """Take a worker out of the farm until its machine joins again. Its job is made elsewhere."""
        import ray

        hand = self._farm.seats[name].hand
        self._removed.add(name)
        self._farm.leave(name, "it was removed")
        with contextlib.suppress(Lost, asyncio.TimeoutError):
            await hand.call("end")
        await asyncio.to_thread(ray.kill, hand.actor)

    async def _look_around(self) -> None:
        trouble = ""
        while True:
            try:
                await self._meet()
                trouble = ""
            except Exception as error:  # Ray is unreachable for a while
                if str(error) != trouble:
                    logging.warning("Atelier: the farm cannot be looked over: %s: %s", type(error).__name__, error)
                trouble = str(error)
            await asyncio.sleep(LOOK_AROUND_EVERY)

    async def _meet(self) -> None:
        """Welcome the workers of machines that came, and part with those of machines that are gone."""
        import ray

        nodes = await asyncio.to_thread(ray.nodes)
        present = {
            f"{node['NodeID'][:8]}-{index}": (node["NodeID"], node["Resources"])
            for node in nodes
            if node["Alive"]
            for index in range(int(node["Resources"].get(RESOURCE, 0)))
        }
        for name in [name for name in self._farm.seats if name not in present]:
            self._farm.leave(name, "its machine has left the farm")
        for name, (node, resources) in present.items():
            if name not in self._farm.seats and name not in self._removed:
                actor = await asyncio.to_thread(self._actor, name, node, resources)
                hand = RemoteHand(name, actor, self._head, self._pack, self._path_of, self._check)
                self._farm.join(hand)

    def _actor(self, name: str, node: str, resources: Json):
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        gpus = resources.get("GPU", 0) / resources[RESOURCE]
        options = {
            **{"name": name, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True},
            **{"max_restarts": -1, "max_concurrency": 100, "num_cpus": 0, "num_gpus": min(1, gpus)},
            "resources": {RESOURCE: 1},
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
        }
        return ray.remote(worker_module.Worker).options(**options).remote(name)


def _connect(address: str) -> None:
    try:
        import ray
    except ImportError:
        raise FarmError(
            "Ray is not installed: start the farm with 'python run.py serve --farm', which does it."
        ) from None
    keep_loopback()
    try:
        ray.init(
            **{"address": address, "namespace": NAMESPACE, "log_to_driver": False, "logging_level": "ERROR"},
            **{"configure_logging": False, "ignore_reinit_error": True},
        )
    except (RuntimeError, ConnectionError, ValueError) as error:  # RuntimeError: another Ray or Python
        reason = str(error).strip().splitlines()[-1][:300] if str(error).strip() else type(error).__name__
        raise FarmError(
            f"The farm at {address} cannot be joined: {reason}. Is it running, with the same Ray, Python and token?"
        ) from None
    ray.cloudpickle.register_pickle_by_value(worker_module)


class RemoteHand:
    """A worker's actor, as `jobs.Hand`."""

    def __init__(self, name: str, actor: Any, head: str, pack: str, path_of: Callable, check: Callable) -> None:
        """head, pack: what `Worker.ready` checks. path_of, check: see `Cluster`."""
        self.name, self.actor, self._head, self._pack = name, actor, head, pack
        self._path_of, self._check = path_of, check

    async def call(self, method: str, *args: Any, patience: float = SILENT, **options: Any) -> Any:
        """Call the actor, with Ray's `options` of a call. Raises Lost."""
        from ray.exceptions import RayActorError, RayError

        try:
            return await asyncio.wait_for(getattr(self.actor, method).options(**options).remote(*args), patience)
        except RayActorError:
            raise Lost("its actor ended, or its machine is out of reach") from None
        except asyncio.TimeoutError:
            await asyncio.to_thread(self._kill)
            raise Lost(f"it did not answer for {patience:.0f} s") from None
        except RayError as error:
            raise Lost(
                f"its actor failed: {type(error).__name__}: {str(error).strip().splitlines()[-1][:300]}"
            ) from None

    def _kill(self) -> None:
        """End an actor that hangs; Ray starts it again."""
        import ray

        ray.kill(self.actor, no_restart=False)

    async def ready(self) -> Json:
        about = await self.call("ready", self._head, self._pack, patience=START, max_task_retries=-1)
        if "lost" in about:
            raise Lost(about["lost"], {"host": about["host"]})
        return about

    async def begin(self, job: Job) -> None:
        for name in job.files:
            await self._send(job.id, name)
        answer = await self.call("begin", job.id, job.prompt, job.extra)
        if "refused" in answer:
            raise Refused(_reasons(answer["refused"], job.prompt))
        if "idle" in answer:
            raise NotBegun(answer["idle"])
        if "lost" in answer:
            raise Lost(answer["lost"])

    async def _send(self, job_id: str, name: str) -> None:
        path, offset = self._path_of(name), 0
        with await asyncio.to_thread(path.open, "rb") as file:
            while (content := await asyncio.to_thread(file.read, PART)) or not offset:
                if problem := await self.call("put", job_id, name, offset, content):
                    raise Lost(problem)
                offset += len(content)
                if not content:
                    break

    async def look(self, job_id: str, version: int) -> State:
        state = await self.call("look", job_id, version)
        if state is None:
            raise Lost("it restarted and has lost the job")
        if state["lost"]:
            raise Lost(state["lost"])
        return State(**{name: value for name, value in state.items() if name != "lost"})

    async def collect(self, state: State) -> None:
        for name, size in state.files.items():
            path = self._path_of(name)
            unfinished = path.with_name(f".{path.name}.part")
            await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
            try:
                await self._receive(name, size, unfinished)
                await asyncio.to_thread(self._check, unfinished, path.suffix)
                await asyncio.to_thread(unfinished.replace, path)
            finally:
                await asyncio.to_thread(unfinished.unlink, missing_ok=True)

    async def _receive(self, name: str, size: int, into: Path) -> None:
        with await asyncio.to_thread(into.open, "wb", 0) as file:  # unbuffered: its end writes nothing
            for offset in range(0, size, PART):
                content, digest = await self.call("fetch", name, offset, PART)
                if hashlib.sha256(content).hexdigest() != digest or len(content) != min(PART, size - offset):
                    raise Lost("a file of the job came damaged")
                await asyncio.to_thread(file.write, content)

    async def so_far(self, job_id: str, seen: set[int]) -> Json | None:
        return await self.call("so_far", job_id, sorted(seen))

    async def cancel(self, job_id: str) -> None:
        await self.call("cancel", job_id)

    async def forget(self, job_id: str) -> None:
        await self.call("forget", job_id)


def _reasons(answer: Json, prompt: Json) -> str:
    """ComfyUI's validation errors in one line, with the names of nodes that it does not have."""
    lines = []
    for node_id, report in (answer.get("node_errors") or {}).items():
        title = (prompt.get(node_id) or {}).get("_meta", {}).get("title") or report.get("class_type", node_id)
        lines += [f"{title}: {error['message']}: {error['details'][:300]}" for error in report.get("errors", [])]
    return "; ".join(lines) or str((answer.get("error") or {}).get("message", "no reason given"))
