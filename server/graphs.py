"""Saved graphs with marks: which graph an operation runs, and which of its inputs take what the request says.

A mark stands in a node's title, in braces: `{prompt}` fills the node's input `prompt`; `{denoise=strength}` fills its
input `denoise` with the request's `strength`; `{bypass without image}` bypasses the node when the request has no image.
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import comfy_queue, settings
from .errors import ApiError

Json = dict[str, Any]

BUILT_IN = Path(__file__).parent.parent / "workflows" / "api"
OPERATIONS = ("generate", "edit", "extend")
_MARK = re.compile(r"\{\s*(?:bypass\s+without\s+(?P<without>\w+)|(?:(?P<input>\w+)\s*=\s*)?(?P<field>\w+))\s*\}")


@dataclass(frozen=True)
class Graph:
    """A saved graph in the form ComfyUI's queue takes, and the schemas of its nodes."""

    file: Path
    prompt: Json
    schemas: Json

    def marks(self) -> set[str]:
        """The fields of a request that this graph listens to."""
        return {mark["field"] or mark["without"] for node in self.prompt.values() for mark in _marks(node)}

    def filled(self, values: Json) -> Json:
        """The graph with these values in the marked inputs; a value of None leaves what the artist saved."""
        prompt = copy.deepcopy(self.prompt)
        for node_id in list(prompt):
            for mark in _marks(prompt[node_id]):
                if mark["without"]:
                    if values.get(mark["without"]) is None:
                        _bypass(prompt, node_id, self.schemas[prompt[node_id]["class_type"]])
                        break
                elif values.get(mark["field"]) is not None:
                    prompt[node_id]["inputs"][mark["input"] or mark["field"]] = values[mark["field"]]
        return _needed(prompt, self.schemas)


_read: dict[str, tuple[Path, float, Graph]] = {}


async def load(operation: str) -> Graph:
    """The artist's own graph for an operation (user/atelier/api/OPERATION.json), else ours. Raises ApiError 422."""
    own = settings.folder() / "api" / f"{operation}.json"
    file = own if own.is_file() else BUILT_IN / f"{operation}.json"
    changed = file.stat().st_mtime
    if _read.get(operation, (None, None))[:2] != (file, changed):
        _read[operation] = file, changed, await _checked(file)
    return _read[operation][2]


async def _checked(file: Path) -> Graph:
    try:
        prompt = json.loads(file.read_text(encoding="utf-8"))
        types = {node["class_type"] for node in prompt.values()}
        assert all(isinstance(node["inputs"], dict) for node in prompt.values())
    except (ValueError, AttributeError, TypeError, KeyError, AssertionError):
        raise _unusable(file, "is no graph in ComfyUI's API form") from None
    schemas = await comfy_queue.schemas(types)
    if unknown := types - set(schemas):
        raise _unusable(file, f"needs nodes that are missing: {', '.join(sorted(unknown))}")
    graph = Graph(file, prompt, schemas)
    for node in prompt.values():
        known = {name for group in schemas[node["class_type"]]["input"].values() for name in group}
        for mark in _marks(node):
            name = mark["input"] or mark["field"]
            if name is not None and name not in known:
                title = node["_meta"]["title"]
                raise _unusable(file, f"marks an input of '{title}' that is not there: {name}")
    return graph


def _unusable(file: Path, what: str) -> ApiError:
    return ApiError(422, "unusable_graph", f"The graph {file.name} {what}.")


def _marks(node: Json) -> list[re.Match]:
    return list(_MARK.finditer((node.get("_meta") or {}).get("title") or ""))


def _bypass(prompt: Json, node_id: str, schema: Json) -> None:
    """Wire whoever listens to a node to what the node itself is given of the same type, as the editor's Bypass does."""
    node = prompt.pop(node_id)
    specs = {name: spec for group in schema["input"].values() for name, spec in group.items()}
    for other in prompt.values():
        for name, value in list(other["inputs"].items()):
            if not _is_link(value) or value[0] != node_id:
                continue
            kind = schema["output"][value[1]]
            through = [v for n, v in node["inputs"].items() if _is_link(v) and n in specs and specs[n][0] == kind]
            if through:
                other["inputs"][name] = through[0]
            else:
                del other["inputs"][name]


def _needed(prompt: Json, schemas: Json) -> Json:
    """The graph without nodes that no output depends on (a loader whose picture was not sent)."""
    wanted, open_ends = set(), [i for i, node in prompt.items() if schemas[node["class_type"]].get("output_node")]
    while open_ends:
        node_id = open_ends.pop()
        if node_id not in wanted and node_id in prompt:
            wanted.add(node_id)
            open_ends += [value[0] for value in prompt[node_id]["inputs"].values() if _is_link(value)]
    return {node_id: node for node_id, node in prompt.items() if node_id in wanted}


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)
