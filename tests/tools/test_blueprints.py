"""The subgraph blueprints are those that the list and the nodes' definitions give."""

from __future__ import annotations

import blueprints
import translations


def test_the_files_are_those_of_the_list():
    """If this fails after a node changed, run python tools/blueprints.py."""
    nodes = {node.node_id: node for node in translations.schemas()}
    made = {f"{each.name}.json": blueprints.written(each, nodes) for each in blueprints.BLUEPRINTS}
    assert {file.name: file.read_text(encoding="ascii") for file in blueprints.FOLDER.iterdir()} == made


def test_every_slot_is_connected_or_a_widget():
    nodes = {node.node_id: node for node in translations.schemas()}
    for each in blueprints.BLUEPRINTS:
        (graph,) = blueprints.content(each, nodes)["definitions"]["subgraphs"]
        loose = [
            (node["type"], slot["name"])
            for node in graph["nodes"]
            for slot in node["inputs"]
            if slot["link"] is None and "widget" not in slot
        ]
        assert loose == [], each.name
        targets = {(link["target_id"], link["target_slot"]): link["id"] for link in graph["links"]}
        for node in graph["nodes"]:
            for place, slot in enumerate(node["inputs"]):
                assert slot["link"] == targets.get((node["id"], place))
