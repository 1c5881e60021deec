"""The running graph: its progress, which outputs are connected, its metadata for files, and a check for NaN."""

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
    """A function report(done) that shows `done` of `total` in ComfyUI. It raises if the user interrupts."""
    bar = comfy.utils.ProgressBar(total)

    def report(done: int) -> None:
        memory.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return report


def output_is_used(place: int) -> bool:
    """Whether another node is connected to this output of the running node; True if that cannot be determined.

    This does not read the hidden prompt and id: a node's fingerprint has neither and needs the same answer. Otherwise
    ComfyUI would return the cached result of a run in which the output was not connected. A node created while the
    graph runs (by a loop) is not in the queued graph.
    """
    running, server = get_executing_context(), getattr(PromptServer, "instance", None)
    queued = server.prompt_queue.get_current_queue()[0] if server is not None else []
    graph = next((item[2] for item in queued if running and item[1] == running.prompt_id), {})
    if running is None or running.node_id not in graph:
        return True
    links = (value for node in graph.values() for value in node["inputs"].values() if isinstance(value, list))
    return any(link == [running.node_id, place] for link in links)


def metadata(prompt: dict | None, extra: dict | None) -> dict[str, Any]:
    """The graph to embed in a file, under the names that ComfyUI reads; {} with --disable-metadata.

    The entry "is_changed", which ComfyUI adds to the running prompt, is removed: for some nodes it has file paths.
    """
    if args.disable_metadata:
        return {}
    queued = {
        name: {key: value for key, value in node.items() if key != "is_changed"}
        for name, node in (prompt or {}).items()
    }
    return ({"prompt": queued} if queued else {}) | dict(extra or {})


def check_finite(values: torch.Tensor, message: str) -> None:
    """Raises ValueError with `message` if a value is NaN or infinite."""
    if not torch.isfinite(values).all():
        raise ValueError(message)
