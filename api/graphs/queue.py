"""The queue that runs filled graphs: ComfyUI's own (`comfy_queue.py`), or a farm of other machines (`farm_queue.py`).

The runner is handed one of them and does not know which. A graph's id is a canonical UUID.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from PIL import Image

    from ...media.so_far import Animation

Json = dict[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """The running and the waiting graphs at one moment; the waiting ones in the order in which they will run."""

    running: frozenset[str]
    waiting: tuple[str, ...]

    def __contains__(self, prompt_id: str) -> bool:
        return prompt_id in self.running or prompt_id in self.waiting


@dataclass(frozen=True)
class Steps:
    """Progress of a running graph: `done` of `all` steps over all nodes that report steps, and step `at` of `of` of the
    running one (0 of 0 if it reports none)."""

    done: float = 0
    all: float = 0
    at: int = 0
    of: int = 0

    @property
    def percent(self) -> int:
        return int(100 * self.done / self.all) if self.all else 0


class Queue(Protocol):
    """What the API asks of a queue. Call it in the server's event loop only."""

    async def submit(self, prompt_id: str, prompt: Json, extra: Json, front: bool = False) -> None:
        """Queue a graph. front: ahead of the waiting ones, for a person who waits; such a graph is not kept over a
        restart. extra: metadata for the files that it saves. Raises ApiError if the graph is refused."""

    def snapshot(self) -> Snapshot:
        """What runs and waits. A graph that has left the queue has an outcome by then, unless it was removed."""

    def busy(self) -> bool:
        """Whether a graph that is queued now would have to wait."""

    def outcome(self, prompt_id: str) -> Json | None:
        """ComfyUI's record of a graph that has ended, with its files in this machine's folders; else None."""

    def forget(self, prompt_id: str) -> None:
        """Remove the record of a graph that has ended, if there is one."""

    def steps(self, prompt_id: str) -> Steps:
        """The progress of a graph; zeros if it does not run. From the first call on, its previews are kept."""

    def preview(self, prompt_id: str) -> Image.Image | None:
        """The newest preview of a running graph; None before the first, or if previews are off."""

    async def so_far(self, prompt_id: str, seen: set[int]) -> Animation | None:
        """The part of a running graph's clip that is there; None if there is none, or only single pictures of it.

        seen: the versions that the client has. They come without content.
        """

    def withdraw(self, prompt_id: str) -> bool:
        """Remove a waiting graph, or interrupt a running one. Returns whether it was waiting."""

    def losses(self, prompt_id: str) -> tuple[str, ...]:
        """Why each earlier attempt at a graph was lost, in words; it was begun again, or waits again."""

    async def recover(self, prompt_id: str) -> bool:
        """Take over a graph of a head that has died. Returns False if this queue does not know it."""

    def settle(self, prompt_id: str) -> None:
        """The graph's end is in the store: a restart need not find the graph any more."""

    async def start(self) -> None:
        """Begin to work, after what can be recovered was asked for."""


@runtime_checkable
class HasWorkers(Queue, Protocol):
    """A queue that other machines work for: the farm's."""

    address: str
    """host:port at which workers join."""

    def workers(self) -> list[Json]:
        """The workers, as the API shows them. "job" is the id of a video, or None for a prompt's expansion."""

    def drain(self, name: str) -> None:
        """Give no more jobs to a worker. What it makes now is finished."""

    def resume(self, name: str) -> None:
        """Give work to a drained worker again."""

    async def remove(self, name: str) -> None:
        """Take a worker out until its machine joins again. Its job is made elsewhere."""


def events(record: Json) -> dict[str, Json]:
    """Event -> its data, of a record: execution_error, execution_interrupted, ..."""
    return dict((record.get("status") or {}).get("messages") or [])
