"""The graph that runs: its progress, what of it is wanted, what is noted of it in files, and values that are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_management as memory
import comfy.utils
import torch
from comfy.cli_args import args
from comfy_execution.utils import get_executing_context
from server import PromptServer


def progress(total: int) -> Callable[[int], None]:
    """A function to call with how many of `total` are done: ComfyUI shows it, and there its interrupt is raised."""
    bar = comfy.utils.ProgressBar(total)

    def report(done: int) -> None:
        memory.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return report


def output_is_used(place: int) -> bool:
    """Whether another node takes that output of the node that is running; True where nobody can know.

    Not read from the hidden prompt and id, because a node's fingerprint, which has neither, needs the same answer: else
    ComfyUI would give out the cached result of a run in which the output was not wanted. A node made while the graph
    runs (a loop) is not in the graph that was queued.
    """
    running, server = get_executing_context(), getattr(PromptServer, "instance", None)
    queued = server.prompt_queue.get_current_queue()[0] if server is not None else []
    graph = next((item[2] for item in queued if running and item[1] == running.prompt_id), {})
    if running is None or running.node_id not in graph:
        return True
    links = (value for node in graph.values() for value in node["inputs"].values() if isinstance(value, list))
    return any(link == [running.node_id, place] for link in links)


def metadata(prompt: dict | None, extra: dict | None) -> dict[str, Any]:
    """The graph that goes into every file made with it, under the names ComfyUI reads; nothing where it must not.

    What ComfyUI notes in the prompt while it runs ("is_changed": for some nodes the paths of files) stays out.
    """
    if args.disable_metadata:
        return {}
    queued = {
        name: {key: value for key, value in node.items() if key != "is_changed"}
        for name, node in (prompt or {}).items()
    }
    return ({"prompt": queued} if queued else {}) | dict(extra or {})


def check_finite(values: torch.Tensor, complaint: str) -> None:
    if not torch.isfinite(values).all():
        raise ValueError(complaint)
