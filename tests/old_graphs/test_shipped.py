"""A saved graph is a promise: every graph that a commit of this repository ever shipped is accepted today."""

from __future__ import annotations

import re

import pytest
from atelier.api.graphs import saved_graph
from atelier.old_graphs import convert
from client import GraphRejected
from graphs import text_to_video
from shipped import kept, shipped


@pytest.fixture(scope="module")
def busy(server):
    """A server that works on something long, so that what is queued waits, and is cleared at the end."""
    server.client.queue(text_to_video(steps=900, frames=400, seed=77))
    yield server
    server.client.post("/queue", {"clear": True})
    server.client.interrupt()


NOT_HERE = re.compile(
    r"safetensors' is not on the list|is not on this machine|models get |Invalid (audio|image|video) file"
)
"""What a loader says of a model or a clip that only the person who made the graph has."""


def about_files(error: GraphRejected) -> bool:
    found = [each for node in error.node_errors.values() for each in node["errors"]]
    return bool(found) and all(NOT_HERE.search(f"{each.get('details')} {each.get('message')}") for each in found)


def test_every_graph_that_was_ever_shipped_is_accepted(busy):
    graphs, refused = shipped(), []
    assert len(graphs) >= 73 and len({name for name, _ in graphs.values()}) >= 19
    schemas = busy.client.object_info()
    for key, (name, graph) in graphs.items():
        try:
            prompt = graph if "nodes" not in graph else saved_graph.to_api(graph, schemas)
            if not name.startswith("api/"):
                busy.client.queue(prompt)
            for node in prompt.values():  # those of the API get their values from a request
                spec = schemas[node["class_type"]]["input"]
                known = {**spec.get("required", {}), **spec.get("optional", {})}
                assert {n.partition(".")[0] for n in node["inputs"]} <= known.keys(), node["class_type"]
        except Exception as error:
            if isinstance(error, GraphRejected) and about_files(error):
                continue  # their files, not the graph, are what is missing here
            refused.append(f"{name} ({key[:8]}): {type(error).__name__} {error}")
    assert refused == []


def test_the_converter_leaves_our_own_graphs_alone():
    for _, graph in kept().values():
        assert convert(graph).graph is graph
