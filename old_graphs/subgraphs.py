"""Subgraphs: converted where they are, or unpacked into a group if a wrapper's values cross their border.

A sampler inside whose model loader is outside cannot be translated alone: the two become nodes that know each other.
"""

from __future__ import annotations

import copy

from .graph import (
    SUBGRAPH_INPUTS,
    SUBGRAPH_OUTPUTS,
    TITLE,
    Graph,
    Json,
    Node,
    Source,
    bounds,
    read_editor,
    short,
    write_editor,
)
from .report import Report
from .wrappers import RULES

PLAIN = {"IMAGE", "MASK", "INT", "FLOAT", "STRING", "BOOLEAN", "AUDIO", "VIDEO", "COMBO"}
"""Types that cross a subgraph's border unchanged."""
MOST_NODES, ROUNDS = 20_000, 50
"""Nodes of a graph, and times that subgraphs are unpacked: a small file can describe an endless one."""


def scopes(content: Json) -> list[Json]:
    """The graph itself and the definitions of its subgraphs."""
    definitions = content.get("definitions")
    inner = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    known = inner if isinstance(inner, list) else []
    return [content, *(each for each in known if isinstance(each, dict) and isinstance(each.get("nodes"), list))]


def unpack(workflow: Json, report: Report) -> None:
    """Unpack, in place, each subgraph that a value of a wrapper's node enters or leaves."""
    for _ in range(ROUNDS):
        inner = scopes(workflow)[1:]
        crossing = {each["id"]: each for each in inner if isinstance(each.get("id"), str) and _crosses(each)}
        if not crossing or not any(_unpack_in(scope, crossing, report) for scope in scopes(workflow)):
            return


def _crosses(definition: Json) -> bool:
    """Whether a link of another than a plain type joins a wrapper's node with the subgraph's border."""
    graph = read_editor(definition)
    for node in graph.nodes.values():
        for socket in node.inputs:
            source = socket.source
            if source is None or {source.node, node.id}.isdisjoint((SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS)):
                continue
            origin = graph.nodes[source.node]
            kinds = [kind for _, kind in origin.outputs[source.slot : source.slot + 1]] or [socket.type]
            if (origin.type in RULES or node.type in RULES) and kinds[0] not in PLAIN:
                return True
    return False


def _unpack_in(scope: Json, definitions: dict[str, Json], report: Report) -> bool:
    """Unpack the instances of `definitions` in one graph. Returns whether there were any."""
    graph = read_editor(scope)
    instances = [
        node for node in graph.nodes.values() if node.type in definitions and definitions[node.type] is not scope
    ]
    for instance in instances:
        inner = read_editor(copy.deepcopy(definitions[instance.type]))
        if len(graph.nodes) + len(inner.nodes) > MOST_NODES:
            report.remark(f"The subgraph in node {short(instance.id)} was not converted: the graph is too large")
            instance.type = ""  # not again
            continue
        _unpack_one(graph, instance, inner, report)
    if instances:
        write_editor(graph)
    return bool(instances)


def _unpack_one(graph: Graph, instance: Node, inner: Graph, report: Report) -> None:
    name = short(inner.raw.get("name") or "subgraph", 60)
    inside = [node for key, node in inner.nodes.items() if key not in (SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS)]
    keys = {node.id: key for key, node in enumerate(inside, graph.next_number())}
    for node in inside:
        graph.nodes[keys[node.id]] = node
    graph.raw["last_node_id"] = max([graph.next_number() - 1, *keys.values()])
    boundary = inner.nodes.get(SUBGRAPH_OUTPUTS)

    def outside(source: Source | None) -> Source | None:
        """A source inside, seen from outside."""
        if source is None or source.node != SUBGRAPH_INPUTS:
            return Source(keys[source.node], source.slot) if source and source.node in keys else None
        return instance.inputs[source.slot].source if source.slot < len(instance.inputs) else None

    for node in inside:
        for socket in node.inputs:
            socket.source, socket.link = outside(socket.source), None
    outputs = [outside(socket.source) for socket in boundary.inputs] if boundary else []
    for node in graph.nodes.values():
        for socket in node.inputs:
            if socket.source is not None and socket.source.node == instance.id:
                slot = socket.source.slot
                socket.source = outputs[slot] if slot < len(outputs) else None
    del graph.nodes[instance.id]
    _move(graph, instance, inside, keys, name)
    report.remark(f"The subgraph {name} was unpacked into a group. Check values that were set on the subgraph itself")


def _move(graph: Graph, instance: Node, inside: list[Node], keys: dict, name: str) -> None:
    """Put the nodes where the subgraph stood, in a group of its name."""
    left, top, right, bottom = bounds(inside)
    dx, dy = instance.x - left, instance.y - top
    for node in inside:
        node.x, node.y = node.x + dx, node.y + dy
        node.id = keys[node.id]
        node.raw = {**node.raw, "id": node.id, "pos": [node.x, node.y]}
    groups = graph.raw.get("groups") if isinstance(graph.raw.get("groups"), list) else []
    box = [instance.x - 20, instance.y - TITLE - 20, right - left + 40, bottom - top + TITLE + 40]
    graph.raw["groups"] = [*groups, {"title": name, "bounding": box, "color": "#3f789e", "font_size": 24, "flags": {}}]
