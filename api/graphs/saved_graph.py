"""Convert a saved graph (the UI format that ComfyUI's editor writes) into the API prompt that ComfyUI's queue takes.

The result depends only on the graph and on its nodes' schemas from ``/object_info``. The rules are the editor's own.
"""

from collections.abc import Iterable, Iterator
from typing import Any

MUTED, BYPASSED = 2, 4
"""``mode`` of a node that does not run, and of one that passes its inputs through."""

NOTES = {"Note", "MarkdownNote"}
PRIMITIVE = "PrimitiveNode"
"""A node that only holds a value for the nodes linked to it."""
VIRTUAL = NOTES | {"Reroute", PRIMITIVE}
"""Nodes that exist in the editor only. The server does not know them."""

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3"}
CONTROL_WORDS = ("fixed", "increment", "increment-wrap", "decrement", "randomize")
"""Values of the editor's "control after generate" widget, which is saved right after the seed."""

Json = dict[str, Any]
Spec = tuple[str, Any, Json]
"""(name, type, options) of one input."""


class GraphError(ValueError):
    """The saved graph cannot be run."""


def node_types(workflow: Json) -> set[str]:
    """The node types that the server must know to run ``workflow``."""
    _check_form(workflow)
    return {node["type"] for node in workflow["nodes"] if node["type"] not in VIRTUAL and node.get("mode") != MUTED}


def to_api(workflow: Json, object_info: Json) -> Json:
    """``{node id: {"class_type", "inputs", "_meta"}}`` for ``POST /prompt``."""
    _check_form(workflow)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    links = dict(_read_link(link) for link in workflow.get("links", []))
    prompt: Json = {}
    for node in workflow["nodes"]:
        if node["type"] in VIRTUAL or node.get("mode", 0) in (MUTED, BYPASSED):
            continue
        schema = object_info.get(node["type"])
        if schema is None:
            raise GraphError(
                f"Node {node['id']} is a '{node['type']}', which this ComfyUI does not know. "
                "Install or update its pack. If it is installed, ComfyUI's log says why it did not load."
            )
        inputs = {name: value for name, _, value in _widgets(node, schema)}
        for socket in node.get("inputs", []):
            if socket.get("link") is not None:
                source = _source(socket["link"], nodes, links)
                if source is not None:
                    inputs[socket["name"]] = source
        prompt[str(node["id"])] = {
            "class_type": node["type"],
            "inputs": inputs,
            "_meta": {"title": node.get("title") or schema.get("display_name") or node["type"]},
        }
    return prompt


def set_widget(workflow: Json, object_info: Json, node_type: str, name: str, value: Any) -> None:
    """Set a widget of every node of one type in the saved graph, in place. Raises GraphError."""
    matching = [node for node in workflow["nodes"] if node["type"] == node_type and node_type in object_info]
    if not matching:
        raise GraphError(f"The graph has no node of type '{node_type}', so its '{name}' cannot be set.")
    for node in matching:
        type_into(node, object_info[node_type], name, value)


def type_into(node: Json, schema: Json | None, name: str, value: Any) -> None:
    """Set the widget `name` of one node of a saved graph, in place. Raises GraphError if it has no such widget.

    schema: the node's entry in /object_info; None for a primitive, which has one widget.
    """
    if node["type"] == PRIMITIVE:
        node["widgets_values"] = [value, *(node.get("widgets_values") or [None])[1:]]
        return
    widgets = _widgets(node, schema)
    place = next((place for widget, place, _ in widgets if widget == name), None)
    if place is None:
        raise GraphError(f"'{node['type']}' has no widget '{name}'; it has {', '.join(w[0] for w in widgets)}.")
    values = node["widgets_values"] = node.get("widgets_values") or []
    if isinstance(values, list):  # a graph saved with an older version of the node lacks the last values
        values += [default for _, at, default in widgets if at >= len(values)]
    values[place] = value


def _check_form(workflow: Json) -> None:
    if not isinstance(workflow, dict) or not isinstance(workflow.get("nodes"), list):
        raise GraphError(
            "This is not a graph saved by ComfyUI's editor: 'nodes' and 'links' are missing. "
            "Save it with Workflow > Save (an API export can be queued as it is)."
        )
    subgraphs = {graph["id"]: graph.get("name") for graph in workflow.get("definitions", {}).get("subgraphs", [])}
    for node in workflow["nodes"]:
        if node["type"] in subgraphs:
            raise GraphError(
                f"Node {node['id']} is the subgraph '{subgraphs[node['type']]}', which is not supported here. "
                "Unpack it in the editor (right click > Unpack Subgraph) and save again."
            )


def _read_link(link: list | Json) -> tuple[int, tuple[int, int]]:
    """(link id, (source node's id, its output slot)) of a link saved as a list or, newer, as an object."""
    if isinstance(link, dict):
        return link["id"], (link["origin_id"], link["origin_slot"])
    return link[0], (link[1], link[2])


def _source(link_id: int, nodes: dict[int, Json], links: dict[int, tuple[int, int]]) -> Any:
    """The source of a link: ``[node id, slot]``, the value of a primitive, or None if the source does not run."""
    seen = set()
    while link_id is not None:
        if link_id not in links or link_id in seen:
            raise GraphError(
                f"Link {link_id} has no source or is part of a loop. Open the graph in the editor and save it again."
            )
        seen.add(link_id)
        origin_id, slot = links[link_id]
        node = nodes[origin_id]
        if node.get("mode") == MUTED:
            return None
        if node["type"] == PRIMITIVE:
            return node["widgets_values"][0]
        if node["type"] == "Reroute":
            link_id = node["inputs"][0].get("link")
        elif node.get("mode") == BYPASSED:
            link_id = _bypass(node, slot)
        else:
            return [str(origin_id), slot]
    return None


def _bypass(node: Json, slot: int) -> int | None:
    """The link that a bypassed node passes through: the input in the output's slot if its type fits, else the first
    input whose type does."""
    wanted = node["outputs"][slot]["type"]
    inputs = node.get("inputs", [])
    for socket in inputs[slot : slot + 1] + inputs:
        if socket["type"] == wanted or "*" in (socket["type"], wanted):
            return socket.get("link")
    return None


def _widgets(node: Json, schema: Json) -> list[tuple[str, int | str, Any]]:
    """(input, its place in ``widgets_values``, value) of all widgets of a node.

    A widget that is newer than the saved graph gets its default. Extra values, as of the upload button, are ignored.
    """
    saved = node.get("widgets_values") or []
    marked = {socket["widget"]["name"] for socket in node.get("inputs", []) if socket.get("widget")}
    specs = _specs(schema["input"], schema.get("input_order"))
    if isinstance(saved, dict):
        named = [spec for spec in specs if _is_widget(*spec, marked)]
        return [(name, name, saved.get(name, _default(kind, options))) for name, kind, options in named]
    return _deal(specs, saved, marked)[0]


def _deal(
    specs: Iterable[Spec], values: list, marked: set[str], place: int = 0, prefix: str = ""
) -> tuple[list[tuple[str, int | str, Any]], int]:
    """Assign saved values to widgets in the order in which the editor draws them. Returns (widgets, next place)."""
    dealt: list[tuple[str, int | str, Any]] = []
    for short, kind, options in specs:
        name = prefix + short
        if not _is_widget(name, kind, options, marked):
            continue
        value = values[place] if place < len(values) else _default(kind, options)
        dealt.append((name, place, value))
        place += 1
        if _has_control(short, kind, options) and values[place : place + 1] and values[place] in CONTROL_WORDS:
            place += 1
        if kind == "COMFY_DYNAMICCOMBO_V3":
            chosen = [option["inputs"] for option in options["options"] if option["key"] == value]
            for inputs in chosen:
                nested, place = _deal(_specs(inputs), values, marked, place, prefix=f"{name}.")
                dealt += nested
    return dealt, place


def _specs(groups: Json, order: Json | None = None) -> Iterator[Spec]:
    """Each input, required ones first."""
    for group in ("required", "optional"):
        members = groups.get(group) or {}
        for name in (order or {}).get(group) or members:
            spec = members[name]
            yield name, spec[0], spec[1] if len(spec) > 1 else {}


def _is_widget(name: str, kind: Any, options: Json, marked: set[str]) -> bool:
    if options.get("forceInput"):
        return False
    return isinstance(kind, list) or kind in WIDGET_TYPES or "widgetType" in options or name in marked


def _has_control(name: str, kind: Any, options: Json) -> bool:
    return bool(options.get("control_after_generate", kind == "INT" and name in ("seed", "noise_seed")))


def _default(kind: Any, options: Json) -> Any:
    if "default" in options:
        return options["default"]
    if isinstance(kind, list):
        return kind[0] if kind else None
    if kind == "COMBO":
        return next(iter(options.get("options") or []), None)
    if kind == "COMFY_DYNAMICCOMBO_V3":
        return options["options"][0]["key"]
    return {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}.get(kind)
