"""A saved graph as nodes with named inputs, read from and written to the editor's form and the API's.

Both forms become one `Graph`, so the translation knows one form only. What it does not touch is written back as it
was read. Whatever a file holds, reading raises nothing but `UnreadableGraph`: what is not a node or a link is kept as
it is, or counted as unreadable.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Json = dict[str, Any]
NodeId = int | str

MUTED, BYPASSED = 2, 4
TITLE = 30
"""Height of a node's title bar, which stands above its position."""
SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS = -10, -20
"""The ids that a subgraph's links use for its own inputs and outputs."""


class UnreadableGraph(ValueError):
    """The content is not a graph, in words for the person who opened it."""


class Source(NamedTuple):
    """Where a value comes from: a node and its output."""

    node: NodeId
    slot: int


@dataclass
class Socket:
    """An input that a link may reach. `link` is the id of the link that was saved, to keep it."""

    name: str
    type: str
    source: Source | None = None
    link: Any = None
    raw: Json = field(default_factory=dict)


@dataclass
class Node:
    """A node. `inputs` are its sockets, `outputs` the (name, type) of what it gives, `raw` what was saved."""

    id: NodeId
    type: str
    inputs: list[Socket] = field(default_factory=list)
    outputs: list[tuple[str, str]] = field(default_factory=list)
    raw: Json = field(default_factory=dict)
    mode: int = 0
    x: float = 0.0
    y: float = 0.0
    width: float = 210.0
    height: float = 60.0
    new: bool = False

    def socket(self, name: str) -> Socket | None:
        return next((socket for socket in self.inputs if socket.name == name), None)

    @property
    def title(self) -> str:
        meta = self.raw.get("_meta")
        title = self.raw.get("title") or (meta.get("title") if isinstance(meta, dict) else None)
        return title if isinstance(title, str) else ""

    @property
    def saved(self) -> list | Json:
        """The widgets' values: by name in an API export, else as the editor saved them; [] if they are neither."""
        saved = self.raw.get("inputs" if "class_type" in self.raw else "widgets_values")
        return saved if isinstance(saved, list | dict) else []

    def value(self, name: str, place: int) -> Any:
        """A widget's value by its name, or by its place among the values; None if there is none."""
        if isinstance(self.saved, dict):
            return self.saved.get(name)
        return self.saved[place] if place < len(self.saved) else None

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top (of the title), right, bottom."""
        return self.x, self.y - TITLE, self.x + self.width, self.y + self.height


@dataclass
class Graph:
    """The nodes of one graph or subgraph. `prompt` is whether it is in the API's form."""

    nodes: dict[NodeId, Node]
    raw: Json
    prompt: bool = False
    unreadable: int = 0

    def consumers(self) -> dict[NodeId, list[tuple[Node, Socket]]]:
        """Node id -> the nodes and sockets that its outputs go to."""
        found: dict[NodeId, list[tuple[Node, Socket]]] = {}
        for node in self.nodes.values():
            for socket in node.inputs:
                if socket.source is not None:
                    found.setdefault(socket.source.node, []).append((node, socket))
        return found

    def next_number(self) -> int:
        """A number above every node's id."""
        last = self.raw.get("last_node_id", 0) if not self.prompt else 0
        return max([0, last if type(last) is int and last < 2**52 else 0, *map(_as_number, self.nodes)]) + 1


def _as_number(node_id: NodeId) -> int:
    """The number in an id; 0 for words, and for numbers that JavaScript cannot count on from."""
    number = node_id if isinstance(node_id, int) else int(node_id) if node_id.isdecimal() and len(node_id) < 15 else 0
    return number if number < 2**52 else 0


def is_prompt(content: Any) -> bool:
    """Whether this is an API export: node ids to class types and inputs."""
    return (
        isinstance(content, dict)
        and bool(content)
        and "nodes" not in content
        and any(isinstance(node, dict) and isinstance(node.get("class_type"), str) for node in content.values())
    )


def read_prompt(content: Json) -> Graph:
    """A graph in the API's form. Values stay in `raw`; links become sockets."""
    nodes = {
        str(key): Node(str(key), raw["class_type"], raw=raw)
        for key, raw in content.items()
        if isinstance(raw, dict) and isinstance(raw.get("class_type"), str)
    }
    for node in nodes.values():
        inputs = node.raw.get("inputs")
        for name, value in inputs.items() if isinstance(inputs, dict) else ():
            if _is_reference(value, nodes):
                node.inputs.append(Socket(str(name), "*", Source(str(value[0]), value[1])))
    return Graph(nodes, content, prompt=True)


def _is_reference(value: Any, nodes: dict[NodeId, Node]) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], int | str)
        and not isinstance(value[0], bool)
        and str(value[0]) in nodes
        and type(value[1]) is int
        and 0 <= value[1] < 1000
    )


def write_prompt(graph: Graph) -> Json:
    """The API's form. Nodes of the graph that were not read as nodes stay where they were."""
    written: Json = {}
    for key, raw in graph.raw.items():
        if key in graph.nodes or not (isinstance(raw, dict) and isinstance(raw.get("class_type"), str)):
            written[key] = raw
    for key, node in graph.nodes.items():
        inputs = dict(node.raw.get("inputs") or {}) if isinstance(node.raw.get("inputs"), dict) else {}
        links = {socket.name: socket for socket in node.inputs}
        for name in [name for name in inputs if name in links and links[name].source is None]:
            del inputs[name]
        inputs |= {name: list(socket.source) for name, socket in links.items() if socket.source is not None}
        written[key] = {**node.raw, "class_type": node.type, "inputs": inputs}
    return written


def read_editor(content: Json) -> Graph:
    """A graph in the editor's form, or a subgraph's definition. Raises UnreadableGraph if it has no nodes."""
    if not isinstance(content.get("nodes"), list):
        raise UnreadableGraph(
            "This is JSON, but not a graph of ComfyUI: it has neither 'nodes' nor class types. Save the graph in "
            "ComfyUI with Workflow > Save or Export (API)."
        )
    graph = Graph({}, content)
    for raw in content["nodes"]:
        node = _node(raw)
        if node is None or node.id in graph.nodes:
            graph.unreadable += 1
        else:
            graph.nodes[node.id] = node
    if "inputNode" in content or "outputNode" in content:  # a subgraph: its boundary gives and takes like a node
        graph.nodes[SUBGRAPH_INPUTS] = Node(SUBGRAPH_INPUTS, "", raw={"outputs": content.get("inputs")})
        graph.nodes[SUBGRAPH_OUTPUTS] = _boundary(content.get("outputs"))
    _connect(graph)
    return graph


def _boundary(outputs: Any) -> Node:
    sockets = [
        Socket(str(raw.get("name", "")), str(raw.get("type", "*")), raw=raw)
        for raw in (outputs if isinstance(outputs, list) else [])
        if isinstance(raw, dict)
    ]
    return Node(SUBGRAPH_OUTPUTS, "", sockets)


def _node(raw: Any) -> Node | None:
    """A saved node; None if it has no id or type."""
    if not isinstance(raw, dict) or not isinstance(raw.get("type"), str):
        return None
    if not isinstance(raw.get("id"), int | str) or isinstance(raw.get("id"), bool):
        return None
    x, y = _pair(raw.get("pos"), (0.0, 0.0))
    width, height = _pair(raw.get("size"), (210.0, 60.0))
    node = Node(raw["id"], raw["type"], raw=raw, x=x, y=y, width=max(width, 10.0), height=max(height, 10.0))
    node.mode = raw["mode"] if type(raw.get("mode")) is int else 0
    for entry in raw["inputs"] if isinstance(raw.get("inputs"), list) else []:
        if isinstance(entry, dict):
            node.inputs.append(Socket(str(entry.get("name")), str(entry.get("type")), raw=entry))
    for entry in raw["outputs"] if isinstance(raw.get("outputs"), list) else []:
        if isinstance(entry, dict):
            node.outputs.append((str(entry.get("name")), str(entry.get("type"))))
    return node


def _pair(value: Any, otherwise: tuple[float, float]) -> tuple[float, float]:
    """A position or size: a list, or an object with keys "0" and "1", as older editors saved it."""
    if isinstance(value, dict):
        value = [value.get("0"), value.get("1")]
    if not isinstance(value, list) or len(value) < 2:
        return otherwise
    first, second = value[:2]
    for number in (first, second):
        if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) < 1e7:
            return otherwise
    return float(first), float(second)


class Link(NamedTuple):
    id: Any
    source: Source
    target: NodeId
    slot: int
    raw: Any


def _links(graph: Graph) -> Iterator[Link]:
    """The links that can be read; the others are counted."""
    saved = graph.raw.get("links")
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
    for raw in saved if isinstance(saved, list) else []:
        parts = [raw.get(key) for key in keys] if isinstance(raw, dict) else raw
        if not isinstance(parts, list) or len(parts) < 5 or not all(_plain(part) for part in parts[:5]):
            graph.unreadable += 1
            continue
        link, origin, output, target, slot = parts[:5]
        if type(output) is int and type(slot) is int and 0 <= output < 1000:
            yield Link(link, Source(origin, output), target, slot, raw)
        else:
            graph.unreadable += 1


def _plain(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _connect(graph: Graph) -> None:
    """Give each socket its source. The socket's own link decides; a subgraph's outputs know theirs by number."""
    links = {link.id: link for link in _links(graph)}
    for node in graph.nodes.values():
        for socket in node.inputs:
            saved = socket.raw.get("link")
            link = links.get(saved) if _plain(saved) else None
            if link is not None and link.source.node in graph.nodes:
                socket.source, socket.link = link.source, link.id
    boundary = graph.nodes.get(SUBGRAPH_OUTPUTS)
    for link in links.values() if boundary is not None else ():
        known = link.source.node in graph.nodes and 0 <= link.slot < len(boundary.inputs)
        if link.target == SUBGRAPH_OUTPUTS and known:
            boundary.inputs[link.slot].source, boundary.inputs[link.slot].link = link.source, link.id


def write_editor(graph: Graph) -> None:
    """Write the nodes and links back into `graph.raw`, in place."""
    saved = graph.raw.get("links")
    objects = SUBGRAPH_INPUTS in graph.nodes or (
        isinstance(saved, list) and any(isinstance(link, dict) for link in saved)
    )
    before = {link.id: link.raw for link in _links(graph)}
    written, leaving = _write_links(graph, before, objects)
    graph.raw["links"] = written
    known = [raw for raw in graph.raw["nodes"] if _node(raw) is None]
    inside = [node for node in graph.nodes.values() if node.id not in (SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS)]
    graph.raw["nodes"] = [_written(node, leaving.get(node.id, {})) for node in inside] + known
    _write_boundary(graph, leaving.get(SUBGRAPH_INPUTS, {}))
    _prune_extensions(graph.raw, {link["id"] if isinstance(link, dict) else link[0] for link in written})


Leaving = dict[NodeId, dict[int, list[Any]]]
"""Node -> output -> the ids of the links that leave it."""


def _write_links(graph: Graph, before: dict[Any, Any], objects: bool) -> tuple[list, Leaving]:
    used: set[Any] = set()
    numbers = [key for key in before if isinstance(key, int)]
    last = graph.raw.get("last_link_id")
    highest = max([0, *numbers, last if isinstance(last, int) else 0])
    written, leaving = [], {}
    for node in graph.nodes.values():
        for place, socket in enumerate(node.inputs):
            if socket.source is None:
                socket.link = None
                continue
            if socket.link is None or socket.link in used:
                highest += 1
                socket.link = highest
            used.add(socket.link)
            kind = _type_of(graph, socket.source, socket)
            leaving.setdefault(socket.source.node, {}).setdefault(socket.source.slot, []).append(socket.link)
            ends = (*socket.source, node.id, place, kind)
            if objects:
                keys = ("origin_id", "origin_slot", "target_id", "target_slot", "type")
                old = before.get(socket.link)
                extra = {"parentId": old["parentId"]} if isinstance(old, dict) and "parentId" in old else {}
                written.append({"id": socket.link, **dict(zip(keys, ends, strict=True)), **extra})
            else:
                written.append([socket.link, *ends])
    if "last_link_id" in graph.raw or not objects:
        graph.raw["last_link_id"] = highest
    return written, leaving


def _type_of(graph: Graph, source: Source, socket: Socket) -> str:
    outputs = graph.nodes[source.node].outputs
    return outputs[source.slot][1] if source.slot < len(outputs) else socket.type


def _written(node: Node, leaving: dict[int, list[Any]]) -> Json:
    """A node as saved, with its links and the types of its sockets as they are now."""
    raw = {**node.raw, "mode": node.mode} if node.new or "mode" in node.raw or node.mode else dict(node.raw)
    if node.inputs or "inputs" in raw:
        raw["inputs"] = [
            {**socket.raw, "name": socket.name, "type": socket.type, "link": socket.link} for socket in node.inputs
        ]
    saved = raw.get("outputs") if isinstance(raw.get("outputs"), list) else []
    entries = [entry for entry in saved if isinstance(entry, dict)]
    outputs = []
    for slot, (name, kind) in enumerate(node.outputs):
        entry = entries[slot] if slot < len(entries) else {"links": []}
        unlinked = [] if isinstance(entry.get("links"), list) else None
        outputs.append({**entry, "name": name, "type": kind, "links": leaving.get(slot, unlinked)})
    if outputs or "outputs" in raw:
        raw["outputs"] = outputs
    if node.new:
        raw |= {"pos": [node.x, node.y], "size": [node.width, node.height]}
    return raw


def _write_boundary(graph: Graph, leaving: dict[int, list[Any]]) -> None:
    """A subgraph's inputs and outputs list the links that reach them."""
    inputs = graph.raw.get("inputs")
    if SUBGRAPH_INPUTS in graph.nodes and isinstance(inputs, list):
        graph.raw["inputs"] = [
            {**raw, "linkIds": leaving.get(slot, [])} if isinstance(raw, dict) else raw
            for slot, raw in enumerate(inputs)
        ]
    if SUBGRAPH_OUTPUTS in graph.nodes:
        graph.raw["outputs"] = [
            {**socket.raw, "type": socket.type, "linkIds": [] if socket.link is None else [socket.link]}
            for socket in graph.nodes[SUBGRAPH_OUTPUTS].inputs
        ]


def _prune_extensions(raw: Json, links: set[Any]) -> None:
    """Floating reroutes are saved beside the links: forget those of links that are gone."""
    extra = raw.get("extra")
    extensions = extra.get("linkExtensions") if isinstance(extra, dict) else None
    if isinstance(extensions, list):
        kept = [
            entry
            for entry in extensions
            if not isinstance(entry, dict) or _plain(entry.get("id")) and entry["id"] in links
        ]
        raw["extra"] = {**extra, "linkExtensions": kept}


def bounds(nodes: list[Node]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of all nodes; zeros if there are none."""
    boxes = [node.box for node in nodes] or [(0.0, 0.0, 0.0, 0.0)]
    return (
        min(box[0] for box in boxes),
        min(box[1] for box in boxes),
        max(box[2] for box in boxes),
        max(box[3] for box in boxes),
    )


def short(value: Any, most: int = 80) -> str:
    """A value of a graph in a message: one line, not long."""
    text = f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)
    text = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())
    return text if len(text) <= most else text[: most - 1] + "…"
