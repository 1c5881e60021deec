"""Saved graphs with marks: the graph that an operation runs, and the inputs that take the request's values.

A graph is saved with Workflow > Save. A mark is text in braces in a node's title: `{prompt}` sets the node's input
`prompt`; `{denoise=strength}` sets its input `denoise` to the request's `strength`; `{bypass without image}` bypasses
the node if the request has no image, and enables it if the request has one. Marks of nodes that never run are ignored
(muted nodes, notes, nodes that no output depends on).
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import settings
from ..errors import ApiError, summary
from . import comfy_queue
from .saved_graph import BYPASSED, MUTED, PRIMITIVE, GraphError, node_types, to_api, type_into

Json = dict[str, Any]

BUILT_IN = Path(__file__).parents[2] / "workflows" / "api"
FIELDS = {
    *("prompt", "model", "negative_prompt", "style", "seed", "num_inference_steps", "guidance_scale", "strength"),
    *("width", "height", "seconds", "num_frames", "fps", "image", "last_frame", "video"),
    *("lora", "lora_scale", "control", "generate_sound", "audio", "upscaler"),
    *("expander", "loop", "direction", "storyboard", "output"),
    *("context_start", "context_seconds", "new_start", "new_end"),
    *("storyboard_images", "recut", "recut_holes", "recut_kept"),
    *("blend_video", "blend_seconds", "blend_curve", "blend_points"),
    *("first_end", "second_start", "second_seconds"),
}
"""Fields that a mark can name."""

_MARK = re.compile(r"\{\s*(?:bypass\s+without\s+(?P<without>\w+)|(?:(?P<input>\w+)\s*=\s*)?(?P<field>\w+))\s*\}")


@dataclass(frozen=True)
class Graph:
    """A saved graph and the schemas of its nodes."""

    file: Path
    text: str
    workflow: Json
    schemas: Json
    running: frozenset[int | str]
    """The ids of nodes that can run."""

    @property
    def ours(self) -> bool:
        return self.file.parent == BUILT_IN

    def fields(self) -> set[str]:
        """The fields that this graph's marks name."""
        return {mark["field"] or mark["without"] for _, mark in self.marks()}

    def marks(self, workflow: Json | None = None) -> Iterator[tuple[Json, re.Match]]:
        """(node, mark in its title) of all nodes that can run, in `workflow` if a copy of the graph is given."""
        for node in (workflow or self.workflow)["nodes"]:
            if node["id"] in self.running:
                yield from ((node, mark) for mark in _marks(node))

    def choices(self, field: str) -> list[str]:
        """The options of the combo input that takes `field`; [] if there is no such input."""
        for node, mark in self.marks():
            if mark["field"] == field and node["type"] != PRIMITIVE:
                inputs = self.schemas[node["type"]]["input"]
                kind, *options = {**inputs.get("required", {}), **inputs.get("optional", {})}[mark["input"] or field]
                return list(kind if isinstance(kind, list) else (options[0] if options else {}).get("options", []))
        return []

    def filled(self, values: Json) -> tuple[Json, Json]:
        """(prompt for ComfyUI's queue, saved graph) with `values` in the marked inputs.

        A value of None keeps the value that the artist saved.
        """
        workflow = json.loads(self.text)  # several times faster than a deep copy
        for node, mark in self.marks(workflow):
            if mark["without"] and node.get("mode") == BYPASSED:  # saved bypassed; the next loop bypasses it again
                node["mode"] = 0
        for node, mark in self.marks(workflow):
            value = values.get(mark["without"] or mark["field"])
            if mark["without"] and value is None:
                node["mode"] = BYPASSED
            elif mark["field"] and value is not None:
                type_into(node, self.schemas.get(node["type"]), mark["input"] or mark["field"], value)
        return _needed(to_api(workflow, self.schemas), self.schemas), workflow


_read: dict[str, tuple[Path, int, Graph]] = {}


async def load(operation: str) -> Graph:
    """The artist's graph for an operation (user/atelier/api/OPERATION.json), else ours. Raises ApiError 422."""
    file = settings.folder() / "api" / f"{operation}.json"
    try:
        changed = file.stat().st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        file = BUILT_IN / f"{operation}.json"
        changed = file.stat().st_mtime_ns
    if _read.get(operation, (None, None))[:2] != (file, changed):
        _read[operation] = file, changed, await _checked(file)
    return _read[operation][2]


async def _checked(file: Path) -> Graph:
    """Read a graph from a file and check that every mark fits its node. Raises ApiError 422."""
    try:
        text = file.read_text(encoding="utf-8")
        workflow = json.loads(text)
        schemas = await comfy_queue.schemas(node_types(workflow))
        to_api(workflow, schemas)
        graph = Graph(file, text, workflow, schemas, _running(json.loads(text), schemas))
        for node, mark in graph.marks():
            if (field := mark["field"] or mark["without"]) not in FIELDS:
                raise GraphError(
                    f"The mark in '{node['title']}' names '{field}'. Use one of {', '.join(sorted(FIELDS))}."
                )
            if name := mark["input"] or mark["field"]:
                type_into(copy.deepcopy(node), schemas.get(node["type"]), name, None)
    except GraphError as error:
        raise ApiError(422, "unusable_graph", f"The graph {file.name} cannot be used: {summary(error)}") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ApiError(
            422,
            "unusable_graph",
            f"The graph {file.name} cannot be read ({type(error).__name__}: {summary(error)}). Open it in ComfyUI's "
            "editor and save it with Workflow > Save.",
        ) from None
    return graph


def _running(workflow: Json, schemas: Json) -> frozenset[int | str]:
    """The ids of nodes that run if a request has every field, and of primitives, whose values go to other nodes."""
    for node in workflow["nodes"]:
        if node.get("mode") == BYPASSED and any(mark["without"] for mark in _marks(node)):
            node["mode"] = 0
    needed = _needed(to_api(workflow, schemas), schemas)
    return frozenset(
        node["id"]
        for node in workflow["nodes"]
        if str(node["id"]) in needed or (node["type"] == PRIMITIVE and node.get("mode") != MUTED)
    )


def _marks(node: Json) -> list[re.Match]:
    return list(_MARK.finditer(node.get("title") or ""))


def _needed(prompt: Json, schemas: Json) -> Json:
    """The prompt without nodes that no output depends on, such as the loader of a picture that was not sent."""
    wanted, ends = set(), [key for key, node in prompt.items() if schemas[node["class_type"]].get("output_node")]
    while ends:
        key = ends.pop()
        if key not in wanted and key in prompt:
            wanted.add(key)
            ends += [
                value[0] for value in prompt[key]["inputs"].values() if isinstance(value, list) and len(value) == 2
            ]
    return {key: node for key, node in prompt.items() if key in wanted}
