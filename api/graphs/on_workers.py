"""A node's sampling on the farm: its scenes are pieces that free workers make, joined to the latents of one machine.

The MODEL is loaded by each worker from the nodes before it; everything else is sent. A piece that the farm cannot make
is sampled here. It runs in ComfyUI's thread of graphs; the farm is called in the server's event loop.
"""

from __future__ import annotations

import asyncio
import io
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import comfy.model_management as memory
import comfy.utils
from comfy_execution.utils import get_executing_context
from PIL import Image
from server import PromptServer

from ...farm import parcel
from ...farm.jobs import State
from ...farm.pieces import NotMade, is_link, upstream
from ...models.bridge import sampling
from ...models.bridge.scenes import joined, scenes
from ...models.timeline.openings import with_openings
from .. import settings, state
from ..errors import ApiError
from .farm_queue import FarmQueue, path_of

Json = dict[str, Any]

PIECE = "atelier_piece"
"""The id of the node that samples in a worker's graph."""
SHOW_EVERY = 0.1
"""Seconds between two looks at progress and at whether the user interrupts."""


@dataclass(frozen=True)
class Place:
    """Where a node runs: its graph's id, the running graph's nodes, its own id, and its number in a list of runs."""

    graph: str
    nodes: Any
    node: str
    index: int

    @classmethod
    def of(cls, hidden: Any) -> Place:
        """That of the running node, from its Hidden.dynprompt and Hidden.unique_id. Raises NotMade outside a graph."""
        running = get_executing_context()
        if running is None or hidden.dynprompt is None:
            raise NotMade("it does not run in a graph")
        return cls(running.prompt_id, hidden.dynprompt, hidden.unique_id, running.list_index or 0)

    def graph_of(self, values: str) -> Json:
        """The worker's graph: the nodes of the MODEL, and the one that samples the `values` in that file."""
        model = self.nodes.get_node(self.node)["inputs"].get("model")
        if not is_link(model):
            raise NotMade("its model does not come from a node")
        piece = {"model": list(model), "values": f"{values} [temp]", "index": self.index}
        return {
            **upstream(self.nodes.get_node, model[0]),
            PIECE: {"class_type": "AtelierSamplePiece", "inputs": piece},
        }


async def sample(model: Any, given: Json, hidden: Any, tell: Callable[[str], None]) -> dict:
    """`sampling.sample(model, **given)` on the farm. tell: shows the user a notice.

    Without a farm, a free worker or what a piece needs, it is sampled here, and the notice says why.
    """
    try:
        farm, place = await _in_server(_farm()), Place.of(hidden)
        place.graph_of("")
    except NotMade as reason:
        tell(f"sampled here: {reason}")
        return sampling.sample(model, **given)
    words = {name: given[name] for name in ("positive", "negative")}
    parts = scenes(model, given["latent"], sigmas=given["sigmas"], **words)
    with _shown(place, len(parts), given["sigmas"].shape[-1] - 1) as (shown, first):
        pieces = [
            _made(farm, place, {**given, "only": only}, partial(shown.hear, first + number))
            for number, only in enumerate(parts)
        ]
        made = await _watched(pieces, shown)
    here = [number for number, result in enumerate(made) if isinstance(result, NotMade)]
    tell(f"on the farm: {len(parts) - len(here)} of {len(parts)} pieces")
    for number in here:
        tell(f"piece {number + 1} of {len(parts)} is sampled here: {made[number]}")
        made[number] = sampling.sampled(model, **given, only=parts[number])
    samples = joined(model, parts=list(zip(parts, made, strict=True)), **words)
    return sampling.carried(model, given["latent"], samples)


async def _farm() -> FarmQueue:
    """The farm's queue. Raises NotMade without one."""
    if settings.current().farm is None:
        raise NotMade("this ComfyUI is not the head of a farm")
    try:
        queue = (await state.opened()).queue
    except ApiError as error:
        raise NotMade(str(error)) from None
    if not isinstance(queue, FarmQueue):
        raise NotMade("the farm in the settings is used after a restart")
    return queue


async def _in_server(call: Coroutine) -> Any:
    """Await a call in the server's event loop. If this is cancelled, it is."""
    server = getattr(PromptServer, "instance", None)
    if server is None:
        call.close()
        raise NotMade("ComfyUI's server does not run")
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, server.loop))


async def _made(farm: FarmQueue, place: Place, values: Json, heard: Callable[[State], None]) -> Any:
    """The samples of a piece, from a worker. Raises NotMade."""
    name = str(uuid.uuid4())
    file = f"{parcel.FOLDER}/{name}.safetensors"
    sent, came = path_of(f"{file} [temp]"), path_of(f"{file} [output]")
    try:
        parcel.write(sent, values)
        await _in_server(farm.make(name, place.graph_of(file), place.graph, heard))
        return with_openings(*parcel.read(came))
    except (parcel.Unsendable, OSError) as error:
        raise NotMade(str(error)) from None
    finally:
        sent.unlink(missing_ok=True)
        came.unlink(missing_ok=True)


async def _watched(pieces: list[Coroutine], shown: Shown) -> list[Any]:
    """What the pieces return, or NotMade, while their progress is shown. Cancels them if the user interrupts."""
    together = asyncio.gather(*pieces, return_exceptions=True)
    try:
        while not together.done():
            await asyncio.wait([together], timeout=SHOW_EVERY)
            shown.show()
    finally:
        together.cancel()
    results = await together
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, NotMade):
            raise result
    return results


class Shown:
    """The progress of a node's pieces: the sum over all its runs in a list."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []
        self.runs, self.interrupted = 0, False
        self._preview = self._last = None
        self._bar = comfy.utils.ProgressBar(1)

    def hear(self, number: int, state: State) -> None:
        done, whole, _, _ = state.steps
        if whole:
            self.steps[number] = (done, whole)
        self._preview = state.preview or self._preview

    def show(self) -> None:
        """Raises InterruptProcessingException if the user interrupts, in all runs of the node."""
        try:
            if self.interrupted:
                raise memory.InterruptProcessingException
            memory.throw_exception_if_processing_interrupted()
            done, whole = (int(sum(column)) for column in zip(*self.steps, strict=True))
            if (done, self._preview) != self._last:
                self._last = (done, self._preview)
                picture = Image.open(io.BytesIO(self._preview)) if self._preview else None
                self._bar.update_absolute(done, whole, picture and ("JPEG", picture, None))
        except memory.InterruptProcessingException:
            self.interrupted = True
            raise


_nodes: dict[tuple[str, str], Shown] = {}
"""The nodes that wait for the farm, by graph and id."""


@contextmanager
def _shown(place: Place, pieces: int, steps: int) -> Iterator[tuple[Shown, int]]:
    """The progress of a node with these pieces added, and the number of the first of them."""
    key = (place.graph, place.node)
    shown = _nodes.setdefault(key, Shown())
    first = len(shown.steps)
    shown.steps += [(0, steps)] * pieces
    shown.runs += 1
    try:
        yield shown, first
    finally:
        shown.runs -= 1
        if not shown.runs:
            del _nodes[key]
