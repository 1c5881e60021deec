"""Pieces of a graph that runs on the head: free workers make them while a person waits for that graph."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from .jobs import Farm, State
from .waiting import Job

Json = dict[str, Any]

LOOK_EVERY = 0.05
"""Seconds between two looks at a piece."""


class NotMade(Exception):
    """The farm cannot make a piece, in words. It is made on the head then."""


def upstream(node_of: Callable[[str], Json], name: str) -> Json:
    """A node and all nodes that it depends on, as a graph of its own. node_of(name): a node of the running graph.

    Raises NotMade if a node that was created while the graph runs holds a value that is not JSON.
    """
    found: Json = {}
    names = [name]
    while names:
        name = names.pop()
        if name not in found:
            node = node_of(name)
            found[name] = {"class_type": node["class_type"], "inputs": node["inputs"]}
            names += [value[0] for value in node["inputs"].values() if is_link(value)]
    try:
        return json.loads(json.dumps(found))
    except (TypeError, ValueError):
        raise NotMade("a node before it was made while the graph runs, with values that cannot be sent") from None


def is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


async def make(farm: Farm, job: Job, heard: Callable[[State], None]) -> None:
    """Have a free worker make a piece; its files are here then. heard: called with its state while it is made.

    Pieces of a graph share the workers that were free when its first one came. Raises NotMade; if the call is
    cancelled, the piece is.
    """
    if not farm.has_room(job.group):
        raise NotMade("no worker of the farm is free")
    try:
        await farm.submit(job, front=True)
        while (record := farm.records.get(job.id)) is None:
            if not farm.waiting.live:
                raise NotMade("no worker of the farm is left")
            if job.id in farm.states:
                heard(farm.states[job.id])
            await asyncio.sleep(LOOK_EVERY)
    finally:
        farm.drop(job)
    if record["status"]["status_str"] != "success":
        event, data = (record["status"]["messages"] or [("", {})])[-1]
        raise NotMade(data.get("exception_message") or "it was cancelled on the farm")
