"""Expand Prompt in a real ComfyUI."""

from __future__ import annotations

import graph as saved_graph
import graphs
from graphs import node


def expand(server, prompt: str, expander: str = "automatic", seed: int = 1, expanded: str = "", **more) -> dict:
    """What the node shows: the text, who wrote it, and a remark."""
    step = node("AtelierExpandPrompt", prompt=prompt, expander=expander, seed=seed, expanded=expanded)
    step["inputs"] |= {"model": ["load", 0]} if "load" in more else {}
    shown = server.client.run({"expand": step, **more})["expand"]
    return {name: values[0] for name, values in shown.items()}


def test_saved_graph_runs_as_it_is(server, workflow):
    graph = workflow("expand_prompt")
    prompt = saved_graph.to_api(graph, server.client.object_info(saved_graph.node_types(graph)))
    outputs = server.client.run(prompt)
    assert graphs.frames(server.client, {"save": outputs["6"]}).shape == (17, 64, 64, 3)
    assert outputs["8"]["text"][0].endswith("background")


def test_what_is_written_is_used_as_it_is(server):
    shown = expand(server, "a red circle", expanded="a blue  square, ")
    assert (shown["text"], shown["expander"]) == ("a blue  square, ", "you")


def test_the_model_says_what_it_reads(server):
    load = graphs.text_to_video()["load"]
    small = expand(server, "a red circle", load=load)["text"]
    large = expand(server, "a red circle")["text"]
    assert small.endswith("background") and len(small.split()) < 12 < len(large.split())
