"""A saved graph in, the graph with Atelier's nodes out, and what was lost on the way."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from . import core
from .graph import (
    Graph,
    Json,
    Node,
    UnreadableGraph,
    bounds,
    is_prompt,
    read_editor,
    read_prompt,
    write_editor,
    write_prompt,
)
from .names import Installed
from .report import Report
from .roles import ROLES
from .subgraphs import scopes, unpack
from .translation import Translation
from .wrappers import PACK_OF, PACKS

NOTE_WIDTH, NOTE_LINE = 460, 22


@dataclass
class Conversion:
    """graph: in the form that it came in; the very same object if nothing was to be converted.

    made_for: the packs whose nodes it had. lost, remarks: lines for the person who opens it. offer: the file of a model
    that core's loaders load and Load Video Model could (`loaders`), "" if there is none. swapped: whether it does now.
    """

    graph: Json
    made_for: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    offer: str = ""
    swapped: bool = False

    @property
    def changed(self) -> bool:
        return bool(self.made_for) or self.swapped


def made_for(types: Any) -> list[str]:
    """The packs that the classes among `types` belong to, in the order of the tables."""
    found = {PACK_OF[kind] for kind in types if kind in PACK_OF}
    return [pack.PACK for pack in PACKS if pack.PACK in found]


def convert(
    content: Any, installed: Installed | None = None, loaders: bool = False, guides: bool = False
) -> Conversion:
    """Replace the wrappers' nodes of a saved graph. `content` itself is not changed.

    installed: the choices on this machine, to find models by their names here. loaders: of a graph of core's nodes, the
    loaders as well; guides: and core's nodes that place pictures in LTX Video. Raises UnreadableGraph if the content is
    not a graph of ComfyUI; a graph, however damaged, raises nothing.
    """
    installed = installed or Installed()
    if not isinstance(content, dict):
        raise UnreadableGraph(f"This is JSON of the type {type(content).__name__}. A graph of ComfyUI is an object.")
    try:
        conversion = _convert_prompt(content, installed) if is_prompt(content) else _convert_editor(content, installed)
        return conversion if conversion.changed else _with_core(conversion, installed, loaders, guides)
    except RecursionError:
        raise UnreadableGraph("The file is nested too deeply to be a graph of ComfyUI.") from None


def _copied(content: Json) -> Json:
    return json.loads(json.dumps(content))  # several times faster than a deep copy


def _with_core(conversion: Conversion, installed: Installed, loaders: bool, guides: bool) -> Conversion:
    """The offer to swap core's loaders, or the swap. Subgraphs are left alone: their loaders are part of a design."""
    content, prompt = _copied(conversion.graph), is_prompt(conversion.graph)
    graph = read_prompt(content) if prompt else read_editor(content)
    conversion.offer = core.offered(graph)
    if not loaders:
        return conversion
    report = Report()
    conversion.swapped = core.swap(graph, installed, report, guides)
    conversion.remarks = report.remarks
    if conversion.swapped and prompt:
        conversion.graph, conversion.offer = write_prompt(graph), ""
    elif conversion.swapped:
        write_editor(graph)
        conversion.graph, conversion.offer = content, ""
    return conversion


def _convert_prompt(content: Json, installed: Installed) -> Conversion:
    packs = made_for(node.type for node in read_prompt(content).nodes.values())
    if not packs:
        return Conversion(content)
    graph, report = read_prompt(_copied(content)), Report()
    _strangers(graph, report)
    Translation(graph, installed, report, ROLES, graph.next_number()).run()
    return Conversion(write_prompt(graph), packs, report.lost, report.remarks)


def _convert_editor(content: Json, installed: Installed) -> Conversion:
    packs = made_for(node.type for scope in scopes(content) for node in read_editor(scope).nodes.values())
    if not packs:
        return Conversion(content)
    report, workflow = Report(), _copied(content)
    unpack(workflow, report)
    for scope in scopes(workflow):
        graph = read_editor(scope)
        if graph.unreadable:
            report.remark(f"{graph.unreadable} nodes or links of the file are damaged and were not read")
        _strangers(graph, report)
        first = graph.next_number()
        translation = Translation(graph, installed, report, ROLES, first)
        if translation.old:
            translation.run()
            scope["last_node_id"] = max(first, translation.next_id - 1)
            if scope is workflow:
                _add_note(graph, report, packs, scope)
            write_editor(graph)
    return Conversion(workflow, packs, report.lost, report.remarks)


def _strangers(graph: Graph, report: Report) -> None:
    """Name nodes that say they are of one of the packs, but are in no table."""
    for node in graph.nodes.values():
        properties = node.raw.get("properties")
        marks = [properties.get(key) for key in ("cnr_id", "aux_id")] if isinstance(properties, dict) else []
        pack = next((p for p in PACKS for mark in marks if isinstance(mark, str) and mark.lower() in p.IDS), None)
        if pack is not None and node.type not in PACK_OF:
            report.lose(node, f"left as it is, because this class of {pack.PACK} is unknown")


def _add_note(graph: Graph, report: Report, packs: list[str], scope: Json) -> None:
    text = report.note(packs)
    if not text:
        return
    left, top, _, _ = bounds([node for node in graph.nodes.values() if node.type])
    lines = sum(1 + len(line) // 60 for line in text.split("\n"))
    height = min(max(lines, 4) * NOTE_LINE, 1200)
    scope["last_node_id"] += 1
    note = Node(scope["last_node_id"], "Note", new=True, x=left, y=top - height - 60, width=NOTE_WIDTH, height=height)
    note.raw = {
        **{"id": note.id, "type": "Note", "pos": [], "size": [], "flags": {}, "order": 0, "mode": 0},
        **{"inputs": [], "outputs": [], "properties": {}, "widgets_values": [text]},
        **{"title": "Opened with Atelier", "color": "#432", "bgcolor": "#653"},
    }
    graph.nodes[note.id] = note
