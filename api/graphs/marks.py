"""Saved graphs with marks: which graph an operation runs, and which of its inputs take what the request says.

A graph is saved as any other, with Workflow > Save. A mark stands in a node's title, in braces: `{prompt}` fills the
node's input `prompt`; `{denoise=strength}` fills its input `denoise` with the request's `strength`;
`{bypass without image}` bypasses the node when the request has no image.
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import settings
from ..errors import ApiError
from . import comfy_queue
from .saved_graph import BYPASSED, GraphError, node_types, to_api, type_into

Json = dict[str, Any]

BUILT_IN = Path(__file__).parents[2] / "workflows" / "api"
FIELDS = {
    *("prompt", "model", "negative_prompt", "style", "seed", "num_inference_steps", "guidance_scale", "strength"),
    *("width", "height", "seconds", "num_frames", "fps", "image", "last_frame", "video"),
    *("expander", "loop", "direction", "storyboard", "output"),
    *("context_start", "context_seconds", "new_start", "new_end"),
}
"""What a graph's marks can ask for."""

_MARK = re.compile(r"\{\s*(?:bypass\s+without\s+(?P<without>\w+)|(?:(?P<input>\w+)\s*=\s*)?(?P<field>\w+))\s*\}")


@dataclass(frozen=True)
class Graph:
    """A saved graph and the schemas of its nodes."""

    file: Path
    text: str
    workflow: Json
    schemas: Json

    @property
    def ours(self) -> bool:
        return self.file.parent == BUILT_IN

    def fields(self) -> set[str]:
        """What of a request this graph listens to."""
        return {mark["field"] or mark["without"] for node in self.workflow["nodes"] for mark in _marks(node)}

    def choices(self, field: str) -> list[str]:
        """What can be chosen in the input that takes `field`; [] where it is none with a list."""
        for node in self.workflow["nodes"]:
            for mark in _marks(node):
                if mark["field"] == field:
                    inputs = self.schemas[node["type"]]["input"]
                    kind, *options = {**inputs.get("required", {}), **inputs.get("optional", {})}[
                        mark["input"] or field
                    ]
                    return list(kind if isinstance(kind, list) else (options[0] if options else {}).get("options", []))
        return []

    def filled(self, values: Json) -> tuple[Json, Json]:
        """(what ComfyUI's queue takes, the saved graph) with these values typed into the marked inputs.

        A value of None leaves what the artist saved.
        """
        workflow = json.loads(self.text)  # several times faster than a deep copy
        for node in workflow["nodes"]:
            for mark in _marks(node):
                if mark["without"]:
                    if values.get(mark["without"]) is None:
                        node["mode"] = BYPASSED
                elif values.get(mark["field"]) is not None:
                    name = mark["input"] or mark["field"]
                    type_into(node, self.schemas[node["type"]], name, values[mark["field"]])
        return _needed(to_api(workflow, self.schemas), self.schemas), workflow


_read: dict[str, tuple[Path, int, Graph]] = {}


async def load(operation: str) -> Graph:
    """The artist's own graph for an operation (user/atelier/api/OPERATION.json), else ours. Raises ApiError 422."""
    own = settings.folder() / "api" / f"{operation}.json"
    file = own if own.is_file() else BUILT_IN / f"{operation}.json"
    changed = file.stat().st_mtime_ns
    if _read.get(operation, (None, None))[:2] != (file, changed):
        _read[operation] = file, changed, await _checked(file)
    return _read[operation][2]


async def _checked(file: Path) -> Graph:
    """The graph in a file, every mark of which fits its node."""
    try:
        text = file.read_text(encoding="utf-8")
        workflow = json.loads(text)
        types = node_types(workflow)
        graph = Graph(file, text, workflow, await comfy_queue.schemas(types))
        to_api(workflow, graph.schemas)
        for node in workflow["nodes"]:
            for mark in _marks(node):
                if (field := mark["field"] or mark["without"]) not in FIELDS:
                    raise GraphError(f"'{node['title']}' asks for '{field}'; there are {', '.join(sorted(FIELDS))}.")
                if name := mark["input"] or mark["field"]:
                    type_into(copy.deepcopy(node), graph.schemas[node["type"]], name, None)
    except (GraphError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ApiError(422, "unusable_graph", f"The graph {file.name} cannot be used: {error}") from None
    return graph


def _marks(node: Json) -> list[re.Match]:
    return list(_MARK.finditer(node.get("title") or ""))


def _needed(prompt: Json, schemas: Json) -> Json:
    """The graph without nodes that no output depends on (a loader whose picture was not sent)."""
    wanted, ends = set(), [key for key, node in prompt.items() if schemas[node["class_type"]].get("output_node")]
    while ends:
        key = ends.pop()
        if key not in wanted and key in prompt:
            wanted.add(key)
            ends += [
                value[0] for value in prompt[key]["inputs"].values() if isinstance(value, list) and len(value) == 2
            ]
    return {key: node for key, node in prompt.items() if key in wanted}
