"""Follows links through nodes that only pass a value on: Reroute, and the Set and Get nodes of KJNodes."""

from __future__ import annotations

from .graph import Graph, Node, NodeId, Source

REROUTES = {"Reroute", "Reroute (rgthree)"}
SET, GET = "SetNode", "GetNode"
WIRES = REROUTES | {SET, GET}


class Wires:
    """The wires of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._set: dict[str, Node] = {}
        for node in graph.nodes.values():
            if node.type == SET:
                self._set.setdefault(_name(node), node)

    def origin(self, source: Source | None) -> tuple[Node, Source] | tuple[None, None]:
        """The node that a value really comes from, and its output; (None, None) if the wire begins nowhere."""
        seen: set[NodeId] = set()
        while source is not None and source.node in self.graph.nodes and source.node not in seen:
            seen.add(source.node)
            node = self.graph.nodes[source.node]
            if node.type not in WIRES:
                return node, source
            source = self._before(node)
        return None, None

    def _before(self, node: Node) -> Source | None:
        if node.type == GET:
            node = self._set.get(_name(node), node)
        return node.inputs[0].source if node.inputs else None


def _name(node: Node) -> str:
    return str(node.value("", 0) or "")
