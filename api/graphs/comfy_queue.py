"""ComfyUI's queue, history and progress, from inside its process. No other file of the API touches them.

Graphs are submitted through the handler that ComfyUI registered for POST /prompt. So its hooks and checks run, and the
form of a queue item may change with its version.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import execution
import nodes
from aiohttp import web
from comfy_execution.progress import NodeState, ProgressHandler, get_progress_state
from server import PromptServer

from ...media.so_far import Animation, carried
from ..errors import ApiError
from .queue import Snapshot, Steps

Json = dict[str, Any]

CLIENT = "atelier-videos-api"
"""The client id of all submitted graphs. Without one, ComfyUI 0.3.75 reports no outputs for a cached graph."""


class _Request:
    """A stand-in for a request, with the parts that ComfyUI's handlers read."""

    headers: dict[str, str] = {}

    def __init__(self, body: Json | None = None, **match_info: str) -> None:
        self._body, self.match_info = body, match_info

    async def json(self) -> Json | None:
        return self._body


def _handler(method: str, path: str):
    for route in PromptServer.instance.routes:
        if isinstance(route, web.RouteDef) and (route.method, route.path) == (method, path):
            return route.handler
    raise ApiError(501, "unsupported_comfyui", f"This ComfyUI has no {method} {path}; Atelier needs 0.3.75 or newer.")


async def schemas(types: set[str]) -> Json:
    """The schemas of these node types from /object_info. A type that ComfyUI does not know is left out."""
    handler, schemas_by_type = _handler("GET", "/object_info/{node_class}"), {}
    for name in sorted(types):
        schemas_by_type |= json.loads((await handler(_Request(node_class=name))).text)
    return schemas_by_type


async def choices(node_type: str, name: str) -> list[str]:
    """The options of a node's combo input."""
    kind, options = (await schemas({node_type}))[node_type]["input"]["required"][name]
    return kind if isinstance(kind, list) else options["options"]


class _Preview(ProgressHandler):
    """Keeps the newest preview of the running graph, and the newest clip that one carried."""

    picture, clip = None, None

    def update_handler(self, node_id, value, max_value, state, prompt_id, image=None) -> None:
        if image is not None:
            self.picture = image[1]
            self.clip = carried(image[1]) or self.clip


class ComfyQueue:
    """The queue of this ComfyUI. See `queue.Queue`."""

    async def submit(self, prompt_id: str, prompt: Json, extra: Json, front: bool = False) -> None:
        more = {"extra_pnginfo": extra, "preview_method": "auto"}  # newer ComfyUI makes previews per request
        body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": CLIENT, "extra_data": more}
        body |= {"front": True} if front else {}
        answer = await _handler("POST", "/prompt")(_Request(body))
        if answer.status != 200:
            raise refusal(json.loads(answer.text), prompt)

    def snapshot(self) -> Snapshot:
        running, waiting = PromptServer.instance.prompt_queue.get_current_queue_volatile()
        return Snapshot(frozenset(item[1] for item in running), tuple(item[1] for item in sorted(waiting, key=_number)))

    def busy(self) -> bool:
        now = self.snapshot()
        return bool(now.running or now.waiting)

    def outcome(self, prompt_id: str) -> Json | None:
        return PromptServer.instance.prompt_queue.get_history(prompt_id=prompt_id).get(prompt_id)

    def forget(self, prompt_id: str) -> None:
        PromptServer.instance.prompt_queue.delete_history_item(prompt_id)

    def steps(self, prompt_id: str) -> Steps:
        state = get_progress_state()
        if state.prompt_id != prompt_id:
            return Steps()
        if __name__ not in state.handlers:  # ComfyUI drops its progress handlers with each graph
            # A new dict: ComfyUI's thread may be iterating over the old one, and adding to that would fail the graph.
            state.handlers = {**state.handlers, __name__: _Preview(__name__)}
        counting = [node for node in list(state.nodes.values()) if node["max"] > 1]
        now = next((node for node in counting if node["state"] is NodeState.Running), {"value": 0, "max": 0})
        done, whole = (sum(node[key] for node in counting) for key in ("value", "max"))
        return Steps(done, whole, int(now["value"]), int(now["max"]))

    def preview(self, prompt_id: str):
        watcher = _watcher(prompt_id)
        return watcher and watcher.picture

    async def so_far(self, prompt_id: str, seen: set[int]) -> Animation | None:
        watcher = _watcher(prompt_id)
        clip = watcher and watcher.clip
        if clip is None:
            return None
        content = None if clip.version in seen else await asyncio.to_thread(clip.webp)
        return Animation(clip.version, clip.seconds, clip.decoded, content)

    def withdraw(self, prompt_id: str) -> bool:
        queue = PromptServer.instance.prompt_queue
        if queue.delete_queue_item(lambda item: item[1] == prompt_id):
            return True
        if hasattr(queue, "interrupt_if_running"):
            queue.interrupt_if_running(prompt_id)
        else:
            with queue.mutex:  # so that the interrupt cannot hit the next graph
                if any(item[1] == prompt_id for item in queue.currently_running.values()):
                    nodes.interrupt_processing()
        return False

    def losses(self, prompt_id: str) -> tuple[str, ...]:
        return ()  # ComfyUI begins nothing twice

    async def recover(self, prompt_id: str) -> bool:
        return False  # ComfyUI's queue dies with its process

    def settle(self, prompt_id: str) -> None:
        """Nothing to do: ComfyUI's queue finds nothing after a restart."""

    async def start(self) -> None:
        """Nothing to begin: ComfyUI's own thread works on its queue."""


def _watcher(prompt_id: str) -> _Preview | None:
    """What keeps the previews of a graph; None if it does not run."""
    state = get_progress_state()
    return state.handlers.get(__name__) if state.prompt_id == prompt_id else None


def _number(item: tuple) -> float:
    return item[0]


async def check(prompt_id: str, prompt: Json) -> None:
    """Raises ApiError if this ComfyUI would refuse the graph. Nothing is queued."""
    valid = await execution.validate_prompt(prompt_id, prompt, None)
    if not valid[0]:
        raise refusal({"error": valid[1], "node_errors": valid[3]}, prompt)


def refusal(answer: Json, prompt: Json) -> ApiError:
    """All of ComfyUI's validation errors in one message."""
    lines = []
    for node_id, report in (answer.get("node_errors") or {}).items():
        title = (prompt.get(node_id) or {}).get("_meta", {}).get("title") or report.get("class_type", node_id)
        lines += [f"{title}: {error['message']}: {error['details']}" for error in report.get("errors", [])]
    reason = "; ".join(lines) or (answer.get("error") or {}).get("message", "no reason given")
    return ApiError(400, "graph_refused", f"ComfyUI refused the graph: {reason}")
