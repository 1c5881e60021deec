"""The queue of a farm: graphs run on other machines, and their files come back into this machine's folders.

Only this file of the API and `on_workers.py` know the room `farm`; they are imported if the settings name one.
"""

from __future__ import annotations

import asyncio
import io
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import folder_paths
from PIL import Image

from ...farm.cluster import Cluster
from ...farm.jobs import Farm, FarmError, Lost, Seat, State
from ...farm.pieces import make
from ...farm.spool import Spool
from ...farm.waiting import Job
from ...media import MediaError
from ...media.so_far import Animation
from .. import files, settings
from ..errors import ApiError, summary, without_paths
from . import comfy_queue
from .queue import Snapshot, Steps

Json = dict[str, Any]

LOADERS = {
    **{
        "AtelierLoadVideoModel": "model",
        "CheckpointLoaderSimple": "ckpt_name",
        "ImageOnlyCheckpointLoader": "ckpt_name",
    },
    **{"UNETLoader": "unet_name", "UnetLoaderGGUF": "unet_name"},
}
"""Nodes that load a model, and the input that names it."""
VIDEOS = (".mp4", ".webm", ".mov", ".mkv")
LONGEST_NAME = 300
"""Letters of an input that may name a file."""


class FarmQueue:
    """The queue of the farm in the settings. See `queue.HasWorkers`."""

    def __init__(self, farm: Farm, cluster: Cluster, address: str) -> None:
        self.farm, self.cluster, self.address = farm, cluster, address

    @classmethod
    async def opened(cls, wanted: settings.FarmSettings) -> FarmQueue:
        """Connect to the farm. Raises ApiError 503 with what is wrong."""
        folder = settings.folder() / "farm"
        farm = Farm(Spool(folder / "jobs"))
        cluster = Cluster(farm, _name(folder / "head"), Path(__file__).parents[2], path_of, check)
        try:
            await cluster.connect(wanted.address, wanted.token_file())
        except FarmError as error:
            raise ApiError(503, "farm_unavailable", str(error)) from None
        return cls(farm, cluster, wanted.address)

    async def submit(self, prompt_id: str, prompt: Json, extra: Json, front: bool = False) -> None:
        await comfy_queue.check(prompt_id, prompt)
        read = await asyncio.to_thread(files_of, prompt)
        job = Job(prompt_id, prompt, extra, model_of(prompt), read, kept=not front)
        await self.farm.submit(job, front)

    async def make(self, name: str, prompt: Json, group: str, heard: Callable[[State], None]) -> None:
        """Have a free worker make a piece of a graph that runs on this machine. See `farm.pieces.make`."""
        await make(self.farm, Job(name, prompt, {}, model_of(prompt), files_of(prompt), False, group), heard)

    def snapshot(self) -> Snapshot:
        return Snapshot(self.farm.at_work(), tuple(job.id for job in self.farm.waiting.jobs))

    def busy(self) -> bool:
        return not any(seat.state == "idle" for seat in self.farm.seats.values())

    def outcome(self, prompt_id: str) -> Json | None:
        return self.farm.records.get(prompt_id)

    def forget(self, prompt_id: str) -> None:
        self.farm.forget(prompt_id)

    def steps(self, prompt_id: str) -> Steps:
        state = self.farm.states.get(prompt_id)
        return Steps(*state.steps) if state else Steps()

    def preview(self, prompt_id: str) -> Image.Image | None:
        state = self.farm.states.get(prompt_id)
        return Image.open(io.BytesIO(state.preview)) if state and state.preview else None

    async def so_far(self, prompt_id: str, seen: set[int]) -> Animation | None:
        found = await self.farm.so_far(prompt_id, seen)
        return Animation(**found) if found else None

    def withdraw(self, prompt_id: str) -> bool:
        return self.farm.withdraw(prompt_id)

    def losses(self, prompt_id: str) -> tuple[str, ...]:
        return self.farm.losses(prompt_id)

    async def recover(self, prompt_id: str) -> bool:
        return self.farm.recover(prompt_id)

    def settle(self, prompt_id: str) -> None:
        self.farm.settled(prompt_id)

    def workers(self) -> list[Json]:
        kept = {job.id for job in self.farm.running.values() if job.kept}
        return [
            {
                **{"id": name, "object": "farm.worker", "state": "draining" if drains(seat) else seat.state},
                **{"host": seat.about.get("host"), "gpu": seat.about.get("gpu"), "model": seat.model or None},
                **{"memory": seat.about.get("memory"), "free": seat.about.get("free"), "made": seat.made},
                "job": f"video_{uuid.UUID(seat.job).hex}" if seat.job in kept else None,
                "progress": self.steps(seat.job).percent if seat.job else None,
                "error": without_paths(seat.error) or None,
            }
            for name, seat in self.farm.seats.items()
        ]

    def drain(self, name: str) -> None:
        self.farm.drain(name)

    def resume(self, name: str) -> None:
        self.farm.resume(name)

    async def remove(self, name: str) -> None:
        await self.cluster.remove(name)

    async def start(self) -> None:
        self.farm.start()
        self.cluster.watch()


def drains(seat: Seat) -> bool:
    """Whether a worker finishes its last job."""
    return seat.draining and seat.state != "drained"


def _name(file: Path) -> str:
    """This store's lasting name as the head of a farm."""
    if not file.is_file():
        file.write_text(uuid.uuid4().hex, encoding="utf-8")
    return file.read_text(encoding="utf-8")


def model_of(prompt: Json) -> str:
    """The model that a graph loads: one name for all, or "" for none."""
    loaded = (node["inputs"].get(LOADERS.get(node["class_type"], "")) for node in prompt.values())
    return ", ".join(sorted({name for name in loaded if isinstance(name, str)}))


def files_of(prompt: Json) -> tuple[str, ...]:
    """The files of ComfyUI's folders that a graph's inputs name, each with its folder: "x.png [input]".

    It looks at the disk, so it must not run in the event loop.
    """
    found = {}
    for node in prompt.values():
        for value in node["inputs"].values():
            if isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and value.isprintable():
                name = value if value.endswith(("[input]", "[output]", "[temp]")) else f"{value} [input]"
                try:
                    found |= {name: None} if path_of(name).is_file() else {}
                except (Lost, OSError):  # not a name of a file
                    continue
    return tuple(found)


def path_of(name: str) -> Path:
    """The path of "x/y.png [output]" on this machine. Raises Lost for one outside ComfyUI's folders."""
    relative, _, kind = name.rpartition(" [")
    root = folder_paths.get_directory_by_type(kind.rstrip("]"))
    path = (Path(root or "") / relative).resolve()
    if root is None or not relative or not path.is_relative_to(Path(root).resolve()):
        raise Lost("it named a file outside ComfyUI's folders")
    return path


def check(path: Path, suffix: str) -> None:
    """Raises Lost if a video that came back cannot be read."""
    if suffix.lower() in VIDEOS:
        try:
            files.facts(path)
        except MediaError as error:
            raise Lost(f"its video cannot be used: {summary(error)}") from None
