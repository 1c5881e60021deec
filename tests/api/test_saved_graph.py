"""The converter from saved graphs to API prompts, on small hand-made graphs and on every graph that we ship."""

from pathlib import Path

import published_graphs
import pytest
from atelier.api.graphs import saved_graph

WORKFLOWS = sorted((Path(__file__).parents[2] / "workflows").glob("*.json"))

INFO = {
    "Load": {"input": {"required": {"name": [["a.safetensors", "b.safetensors"], {}]}}, "output": ["MODEL", "VAE"]},
    "Sample": {
        "display_name": "Sample It",
        "input": {
            "required": {
                "model": ["MODEL", {}],
                "seed": ["INT", {"default": 7, "control_after_generate": True}],
                "steps": ["INT", {"default": 20}],
                "sampler": ["COMBO", {"options": ["euler", "heun"]}],
            },
            "optional": {"note": ["STRING", {"default": "none"}], "strength": ["FLOAT", {"forceInput": True}]},
        },
        # The editor draws the widgets in this order, whatever order the dictionary has.
        "input_order": {"required": ["model", "seed", "steps", "sampler"], "optional": ["strength", "note"]},
    },
    "Save": {
        "input": {
            "required": {
                "video": ["VIDEO", {}],
                "format": [
                    "COMFY_DYNAMICCOMBO_V3",
                    {
                        "options": [
                            {"key": "auto", "inputs": {"required": {}}},
                            {"key": "mp4", "inputs": {"required": {"crf": ["FLOAT", {"default": 23.0}]}}},
                        ]
                    },
                ],
                "prefix": ["STRING", {"default": "video"}],
            }
        }
    },
    "Pass": {"input": {"required": {"model": ["MODEL", {}], "vae": ["VAE", {}]}}},
}


def node(id: int, type: str, values=None, inputs=(), outputs=(), **more) -> dict:
    return {"id": id, "type": type, "widgets_values": values, "inputs": list(inputs), "outputs": list(outputs), **more}


def wire(name: str, type: str, link: int | None, widget: bool = False) -> dict:
    return {"name": name, "type": type, "link": link} | ({"widget": {"name": name}} if widget else {})


def convert(*nodes: dict, links=()) -> dict:
    return saved_graph.to_api({"nodes": list(nodes), "links": list(links)}, INFO)


def sample(values, link=None, **more) -> dict:
    return node(2, "Sample", values, [wire("model", "MODEL", link)], **more)


LOAD = node(1, "Load", ["b.safetensors"], outputs=[{"type": "MODEL"}, {"type": "VAE"}])


def test_widgets_links_and_titles():
    prompt = convert(LOAD, sample([5, "randomize", 30, "heun", "x"], 1), links=[[1, 1, 0, 2, 0, "MODEL"]])
    assert prompt["1"] == {
        "class_type": "Load",
        "inputs": {"name": "b.safetensors"},
        "_meta": {"title": "Load"},
    }
    assert prompt["2"]["inputs"] == {"model": ["1", 0], "seed": 5, "steps": 30, "sampler": "heun", "note": "x"}
    assert prompt["2"]["_meta"]["title"] == "Sample It"


def test_a_save_without_the_control_value_and_a_save_older_than_the_node():
    assert convert(sample([5, 30, "heun", "x"]))["2"]["inputs"]["steps"] == 30
    assert convert(sample([5, "fixed"]))["2"]["inputs"] == {"seed": 5, "steps": 20, "sampler": "euler", "note": "none"}


def test_values_saved_by_name():
    assert convert(sample({"seed": 3, "note": "y"}))["2"]["inputs"] == {
        "seed": 3,
        "steps": 20,
        "sampler": "euler",
        "note": "y",
    }


def test_a_widget_turned_into_an_input_keeps_the_order_of_the_others():
    primitive = node(3, "PrimitiveNode", [99, "fixed"], outputs=[{"type": "INT"}])
    wired = sample([5, "fixed", 30, "heun", "x"])
    wired["inputs"].append(wire("steps", "INT", 4, widget=True))
    inputs = convert(primitive, wired, links=[[4, 3, 0, 2, 1, "INT"]])["2"]["inputs"]
    assert inputs["steps"] == 99 and inputs["sampler"] == "heun" and inputs["note"] == "x"


def test_reroutes_and_notes_leave_no_trace():
    reroute = node(8, "Reroute", None, [wire("", "*", 1)], [{"type": "MODEL"}])
    note = node(9, "MarkdownNote", ["words"])
    links = [[1, 1, 0, 8, 0, "MODEL"], [2, 8, 0, 2, 0, "MODEL"]]
    prompt = convert(LOAD, reroute, note, sample([5, "fixed"], 2), links=links)
    assert set(prompt) == {"1", "2"} and prompt["2"]["inputs"]["model"] == ["1", 0]


def test_a_bypassed_node_hands_on_what_fits_and_a_muted_one_nothing():
    sockets = [wire("vae", "VAE", 5), wire("model", "MODEL", 1)]
    links = [[1, 1, 0, 6, 1, "MODEL"], [5, 1, 1, 6, 0, "VAE"], [2, 6, 0, 2, 0, "MODEL"]]
    for mode, expected in ((saved_graph.BYPASSED, ["1", 0]), (saved_graph.MUTED, None)):
        passing = node(6, "Pass", None, sockets, [{"type": "MODEL"}], mode=mode)
        prompt = convert(LOAD, passing, sample([5, "fixed"], 2), links=links)
        assert set(prompt) == {"1", "2"} and prompt["2"]["inputs"].get("model") == expected


def test_links_saved_as_objects():
    link = {"id": 1, "origin_id": 1, "origin_slot": 0, "target_id": 2, "target_slot": 0, "type": "MODEL"}
    assert convert(LOAD, sample([5, "fixed"], 1), links=[link])["2"]["inputs"]["model"] == ["1", 0]


def test_a_dynamic_combo_brings_the_widgets_of_its_choice():
    assert convert(node(1, "Save", ["mp4", 18.0, "p"]))["1"]["inputs"] == {
        "format": "mp4",
        "format.crf": 18.0,
        "prefix": "p",
    }
    assert convert(node(1, "Save", ["auto", "p"]))["1"]["inputs"] == {"format": "auto", "prefix": "p"}


@pytest.mark.parametrize(
    ("workflow", "message"),
    [
        ({"1": {"class_type": "Load", "inputs": {}}}, "API export"),
        ({"nodes": [node(4, "Nobody")], "links": []}, "'Nobody', which this ComfyUI does not know"),
        (
            {"nodes": [node(4, "u-u-i-d")], "definitions": {"subgraphs": [{"id": "u-u-i-d", "name": "Mine"}]}},
            "subgraph 'Mine'",
        ),
        ({"nodes": [sample([5], 77)], "links": []}, "Link 77"),
    ],
)
def test_what_cannot_be_run_is_named(workflow, message):
    with pytest.raises(saved_graph.GraphError, match=message):
        saved_graph.to_api(workflow, INFO)


def test_set_widget_types_into_the_saved_graph():
    saved = {"nodes": [sample([5, "fixed", 30]), node(1, "Load", {"name": "b.safetensors"})], "links": []}
    saved_graph.set_widget(saved, INFO, "Sample", "steps", 4)
    saved_graph.set_widget(saved, INFO, "Sample", "note", "new")
    saved_graph.set_widget(saved, INFO, "Load", "name", "a.safetensors")
    assert saved["nodes"][0]["widgets_values"] == [5, "fixed", 4, "euler", "new"]
    assert saved_graph.to_api(saved, INFO)["1"]["inputs"]["name"] == "a.safetensors"
    with pytest.raises(saved_graph.GraphError, match="no node of type 'Save'"):
        saved_graph.set_widget(saved, INFO, "Save", "prefix", "x")
    with pytest.raises(saved_graph.GraphError, match="no widget 'model'; it has seed, steps, sampler, note"):
        saved_graph.set_widget(saved, INFO, "Sample", "model", "x")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_shipped_graph_becomes_a_prompt_with_all_required_inputs(path, server, workflow):
    saved = workflow(path.stem)
    info = server.client.object_info(saved_graph.node_types(saved))
    prompt = saved_graph.to_api(saved, info)
    for node_id, made in prompt.items():
        required = info[made["class_type"]]["input"].get("required", {})
        assert not set(required) - set(made["inputs"]), f"node {node_id} ({made['class_type']})"
        for name, spec in required.items():
            options = spec[0] if isinstance(spec[0], list) else spec[1].get("options") if spec[0] == "COMBO" else None
            if options and not isinstance(made["inputs"][name], list):
                from_disk = made["class_type"] == "LoadImage" or path.stem in published_graphs.GRAPHS
                assert made["inputs"][name] in options or from_disk, f"{node_id}.{name}"
