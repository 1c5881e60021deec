"""Graphs that are damaged, hostile or huge: a clear word, or a conversion; never an error of the program."""

from __future__ import annotations

import copy
import json
import random
import time

import pytest
import saved
from atelier.old_graphs import UnreadableGraph, convert
from atelier.old_graphs.wrappers import RULES

NOT_GRAPHS = [None, 7, "words", [], {}, {"nodes": 3}, {"nodes": None, "links": []}, {"a": {"b": 1}}, {"version": 0.4}]


@pytest.mark.parametrize("content", NOT_GRAPHS, ids=repr)
def test_what_is_not_a_graph_gets_a_clear_word(content):
    with pytest.raises(UnreadableGraph, match="graph of ComfyUI"):
        convert(content)


DAMAGE = {
    "no links": lambda g: g.pop("links"),
    "links of numbers": lambda g: g.update(links=[1, 2, [3], [4, 5], None, {"id": 1}]),
    "a link to nowhere": lambda g: g["links"].append([999, 12345, 0, 63, 0, "MODEL"]),
    "slots out of range": lambda g: g["links"].__setitem__(0, [1, 20, 10**9, 30, -5, "CLIP"]),
    "values short": lambda g: [n.update(widgets_values=n["widgets_values"][:1]) for n in g["nodes"][:6]],
    "values long": lambda g: [n["widgets_values"].extend(["x", 7, None]) for n in g["nodes"][:6]],
    "no values": lambda g: [n.pop("widgets_values") for n in g["nodes"]],
    "values of a table": lambda g: [n.update(widgets_values={"steps": "x", "model": 3}) for n in g["nodes"]],
    "nodes that are none": lambda g: g["nodes"].extend([None, 3, [], {"type": 5}, {"id": 1}, {"id": [1], "type": "x"}]),
    "the same id twice": lambda g: g["nodes"].append(copy.deepcopy(g["nodes"][0])),
    "positions of words": lambda g: [n.update(pos="here", size={"0": "a"}) for n in g["nodes"]],
    "positions far away": lambda g: [n.update(pos=[1e308, float("nan")], size=[-5, 1e9]) for n in g["nodes"]],
    "inputs of words": lambda g: [n.update(inputs="none", outputs=7) for n in g["nodes"]],
    "a node that waits for itself": lambda g: g["nodes"][5]["inputs"][0].update(link=6),
    "ids of words": lambda g: [n.update(id=f"node {n['id']}") for n in g["nodes"]],
    "subgraphs of words": lambda g: g.update(definitions={"subgraphs": [3, {"id": "a"}, {"id": "b", "nodes": [3]}]}),
    "unknown classes of the pack": lambda g: g["nodes"].append(
        {"id": 500, "type": "CogVideoNewer", "properties": {"cnr_id": "comfyui-cogvideoxwrapper"}}
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_graph_is_converted_as_far_as_it_goes(damage):
    old = saved.cogvideox()
    damage(old)
    converted = convert(old)
    json.dumps(converted.graph)
    assert convert(converted.graph).graph is converted.graph
    if any("unknown" in line for line in converted.lost):
        assert any("CogVideoNewer" in line for line in converted.lost)


def test_an_input_that_no_version_has_is_named():
    """In the API's form a graph may be written by hand, with names that the wrapper never had."""
    prompt = {
        "1": {"class_type": "DownloadAndLoadMochiModel", "inputs": {"checkpoint": "mine.safetensors"}},
        "2": {"class_type": "MochiTextEncode", "inputs": {"text": "a panda", "force_offload": True}},
        "3": {"class_type": "MochiSampler", "inputs": {"model": ["1", 0], "conditioning": ["2", 0], "steps": 9}},
    }
    converted = convert(prompt)
    assert {line.rpartition("): ")[2] for line in converted.lost} == {
        "its input checkpoint is lost: no version of DownloadAndLoadMochiModel has it.",
        "its input text is lost: no version of MochiTextEncode has it.",
        "its input conditioning is lost: no version of MochiSampler has it.",
    }
    assert any("names no model" in line for line in converted.remarks)


@pytest.mark.parametrize("depth", [100, 600, 950])
def test_a_nested_graph_is_converted_or_named(depth):
    old = saved.cogvideox()
    old["extra"] = json.loads("[" * depth + "]" * depth)
    try:
        assert convert(old).changed
    except UnreadableGraph as error:
        assert "nested too deeply" in str(error) and depth > 100


def test_a_loop_of_samplers_is_named():
    nodes = {
        n: ("CogVideoSampler", [("samples", "LATENT", 1 + n % 3, 0)], ["LATENT"], [49, 2, 6, 0, "fixed", "DPM", 1])
        for n in (1, 2, 3)
    }
    converted = convert(saved.graph(nodes))
    assert any("waits for its own output" in line for line in converted.lost)


def chain(length: int) -> dict:
    """Samplers on one model, each behind the one before."""
    sampler = [49, 2, 6, 0, "fixed", "CogVideoXDDIM", 1]
    nodes = {1: ("DownloadAndLoadCogVideoModel", [], ["COGVIDEOMODEL", "VAE"], ["THUDM/CogVideoX-5b", "bf16"])}
    for key in range(2, length + 2):
        before = [("samples", "LATENT", key - 1, 0)] if key > 2 else []
        nodes[key] = ("CogVideoSampler", [("model", "COGVIDEOMODEL", 1, 0), *before], ["LATENT"], sampler)
    return saved.graph(nodes)


def test_the_time_grows_with_the_graph_and_a_chain_is_no_recursion():
    """A graph of 5 MB has 10,000 such nodes; it takes about 5 s."""
    times = []
    for length in (500, 4000):
        old = chain(length)
        began = time.perf_counter()
        converted = convert(old)
        times.append(time.perf_counter() - began)
        samplers = [node for node in converted.graph["nodes"] if node["type"] == "AtelierSampleVideo"]
        assert len(samplers) == length and converted.lost == []
    assert times[1] < 40 * times[0]


ODD = [None, True, -1, 0, 2**70, 1.5, float("inf"), float("nan"), "", "x" * 300, "\x00\ud800", [], {}, [[]], {"0": 1}]


def mutated(value, chance: random.Random, depth: int = 0):
    """The value with some of its parts removed, repeated, or replaced by odd ones."""
    if depth > 1 and chance.random() < 0.03:
        return chance.choice(ODD)
    if isinstance(value, dict):
        return {k: mutated(v, chance, depth + 1) for k, v in value.items() if depth < 2 or chance.random() > 0.02}
    if isinstance(value, list):
        items = [mutated(v, chance, depth + 1) for v in value if chance.random() > 0.02]
        if items and chance.random() < 0.05:
            items.append(chance.choice(items))
        return items
    return value


def random_graph(chance: random.Random) -> dict:
    """Old nodes of any class, linked at random, also in circles."""
    kinds = [*RULES, "CLIPLoader", "EmptyLatentImage", "Reroute", "SetNode", "GetNode", "KSampler"]
    nodes = {}
    count = chance.randint(1, 15)
    for key in range(1, count + 1):
        kind = chance.choice(kinds)
        rule = RULES.get(kind)
        names = [*rule.takes, *rule.lost, "pipeline"] if rule else ["a", "b"]
        inputs = [
            (name, "X", chance.randint(1, count), chance.randint(0, 2)) for name in names if chance.random() < 0.7
        ]
        values = [chance.choice([1, 0.5, "a", True, "fixed", None, 49]) for _ in range(chance.randint(0, 9))]
        outputs = list(rule.outputs) if rule and rule.outputs else ["*"]
        nodes[key] = (kind, inputs, [*outputs, "IMAGE", "CLIP"], values)
    return saved.graph(nodes)


def as_prompt(graph: dict, chance: random.Random) -> dict:
    """The nodes as an API export, with odd values."""
    links = {link[0]: link for link in graph["links"]}
    prompt = {}
    for node in graph["nodes"]:
        inputs = {
            s["name"]: [str(links[s["link"]][1]), links[s["link"]][2]] for s in node["inputs"] if s["link"] in links
        }
        rule = RULES.get(node["type"])
        names = [widget.partition(":")[0] for widget in rule.versions[0].split()] if rule else []
        inputs |= {name: chance.choice([*ODD, 49, "fixed"]) for name in names if chance.random() < 0.8}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def in_subgraph(graph: dict, chance: random.Random) -> dict:
    """The nodes in a subgraph whose border some of the links cross, used two times."""
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    links = [dict(zip(keys, link, strict=True)) for link in graph["links"]]
    for link in links:
        end = chance.choice(["origin_id", "target_id", "", "", ""])
        link |= (
            {end: -10 if end == "origin_id" else -20, end.replace("id", "slot"): chance.randint(0, 3)} if end else {}
        )
    ends = [{"name": f"end {n}", "type": chance.choice(["IMAGE", "MODEL", "LATENT"])} for n in range(3)]
    inner = {"id": "8a1b", "name": "x", "inputs": ends, "outputs": ends, "inputNode": {}, "outputNode": {}}
    inner |= {"nodes": graph["nodes"], "links": links}
    inputs = [("a", "X", 2, 0), ("b", "X", 2, 1)]
    outer = {1: ("8a1b", inputs, ["IMAGE", "X"], []), 2: ("8a1b", [("a", "X", 1, 0)], ["LATENT", "Y"], [])}
    return {**saved.graph(outer), "definitions": {"subgraphs": [inner, {**inner, "id": "8a1c"}]}}


def test_no_graph_makes_the_converter_raise():
    chance = random.Random(25)
    for number in range(600):
        graph = random_graph(chance) if number % 2 else saved.cogvideox()
        if number % 5 == 1:
            graph = as_prompt(graph, chance)
        elif number % 5 == 3:
            graph = in_subgraph(graph, chance)
        if number % 4 != 1:
            graph = mutated(graph, chance)
        before = json.dumps(graph)
        try:
            converted = convert(graph)
            again = convert(converted.graph, loaders=number % 7 == 0, guides=True)
        except UnreadableGraph:
            continue
        except Exception as error:
            error.add_note(f"graph {number}: {before[:20_000]}")
            raise
        assert json.dumps(graph) == before
        assert again.made_for == [], (number, again.made_for)
