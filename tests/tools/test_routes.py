"""How the saved graphs lie on the canvas."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path

import pytest
import routes

GRAPHS = sorted((Path(__file__).resolve().parents[2] / "workflows").glob("*.json"))


@pytest.mark.parametrize("file", GRAPHS, ids=lambda file: file.stem)
def test_nodes_and_links_stand_clear_of_each_other_on_one_screen(file):
    """If this fails after a change to a graph, run python tools/routes.py."""
    graph = json.loads(file.read_text(encoding="utf-8"))
    nodes = routes.boxes(graph)
    pairs = itertools.combinations(nodes.items(), 2)
    assert [(a, b) for (a, one), (b, other) in pairs if overlap(one, other)] == []
    assert routes.hidden(graph) == []
    assert graph["extra"]["ds"]["scale"] >= routes.READABLE
    left, top, right, bottom = routes.on_screen(graph)
    x, y, end, low = routes.SCREENS[-1]
    assert left >= x - 2 and top >= y - 2 and right <= end + 2 and bottom <= low + 2
    for group in graph["groups"]:
        assert all(encloses(group["bounding"], box) for box in nodes.values() if touches(group["bounding"], box))
    links = {link[0] for link in graph["links"]}
    assert {each["id"] for each in graph["extra"].get("linkExtensions", ())} <= links


def test_a_link_under_a_node_is_found_and_led_around_it():
    def node(id: int, x: int, inputs: list, outputs: list) -> dict:
        return {"id": id, "pos": [x, 0], "size": [100, 100], "inputs": inputs, "outputs": outputs}

    slot = {"name": "a", "type": "A"}
    nodes = [node(1, 0, [], [slot]), node(2, 160, [], []), node(3, 320, [slot], [])]
    graph = {"nodes": nodes, "links": [[7, 1, 0, 3, 0, "A"]], "extra": {}}
    assert routes.hidden(graph) == ["A 1 -> 3"]
    straight = copy.deepcopy(graph)
    routes.routed(graph)
    assert routes.hidden(graph) == [] and len(routes.reroutes(graph, 7)) >= 4
    nodes[1]["pos"][1] = 300  # the node is out of the way: the link is straight again
    routes.routed(graph)
    assert graph["extra"] == straight["extra"]


def overlap(one: routes.Box, other: routes.Box) -> bool:
    return all(one[i] < other[i + 2] and other[i] < one[i + 2] for i in (0, 1))


def encloses(group: list[float], node: routes.Box) -> bool:
    x, y, width, height = group
    return x <= node[0] and y <= node[1] and node[2] <= x + width and node[3] <= y + height


def touches(group: list[float], node: routes.Box) -> bool:
    x, y, width, height = group
    return overlap((x, y, x + width, y + height), node)
