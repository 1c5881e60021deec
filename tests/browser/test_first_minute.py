"""What a newcomer meets: an address that has our graph on the canvas, whole, and graphs that open as apps."""

from __future__ import annotations

import json
import os
from pathlib import Path

import editor
import pytest
from client import Client
from serve import FIRST_GRAPH

ROOT = Path(__file__).resolve().parents[2]
WIDTH, HEIGHT = 1440, 810
APPS = {
    "text_to_video": ["pocket (built in)", "a red circle moving left"],
    "image_to_video": ["pocket (built in)", "a red square moving right on a black background"],
    "remix": ["a red circle moving left on a black background", "a green circle moving left on a black background"],
    "storyboard": ["pocket (built in)", "0s: a red circle moving right on a black background"],
    "two_stage": ["ltxv-13b-0.9.8-distilled.safetensors", "ltxv-spatial-upscaler-0.9.8.safetensors", "A red fox trots"],
}
"""App -> values that its page shows. The files of two_stage are not here: it opens, and names them."""
SHOWN = """() => [...document.querySelectorAll('input, textarea, [role=combobox], button')]
    .filter(part => part.checkVisibility()).map(part => part.value || part.innerText)"""
RUN = "() => app.extensionManager.command.execute('Atelier.OpenTextToVideo')"
COUNT = "count => app.graph?._nodes.length === count"


@pytest.fixture
def keep(request: pytest.FixtureRequest, tmp_path: Path):
    folder = Path(os.environ.get("ATELIER_KEEP") or tmp_path)
    return lambda name: folder / f"first-{name}.png"


@pytest.mark.parametrize("version", [pytest.param("pinned", marks=pytest.mark.slow), "newest"])
def test_the_address_opens_the_whole_graph(browser, comfyui, workflow, version, keep):
    saved = workflow("text_to_video")
    with editor.opened(browser, comfyui(version).url, width=WIDTH, height=HEIGHT, query=FIRST_GRAPH[1:]) as view:
        view.page.wait_for_function(COUNT, arg=len(saved["nodes"]), timeout=60_000)
        view.page.wait_for_timeout(1000)
        view.screenshot(keep(version))
        for left, top, width, height in view.areas().values():
            assert left >= 0 and top >= 0 and left + width <= WIDTH and top + height <= HEIGHT
        view.page.evaluate("() => app.graph.clear()")
        view.page.evaluate(RUN)
        view.page.wait_for_function(COUNT, arg=len(saved["nodes"]), timeout=60_000)
        assert view.errors == []


@pytest.mark.parametrize(
    "name", ["text_to_video", *(pytest.param(name, marks=pytest.mark.slow) for name in list(APPS)[1:])]
)
def test_a_graph_opens_as_an_app(browser, comfyui, name, keep):
    query = f"?template={name}&source=atelier&mode=linear"
    with editor.opened(browser, comfyui("newest").url, width=WIDTH, height=HEIGHT, query=query) as view:
        run = view.page.get_by_role("button", name="Run").first
        tour = view.page.get_by_role("button", name="Skip", exact=True)  # of ComfyUI's, over the app, which it hides
        run.or_(tour).first.wait_for(timeout=60_000)
        view.page.wait_for_timeout(1000)
        if tour.is_visible():
            tour.click()
        run.wait_for(timeout=60_000)
        view.screenshot(keep(f"app-{name}"))
        shown = "\n".join(view.page.evaluate(SHOWN))
        assert [value for value in APPS[name] if value not in shown] == []
        assert view.errors == []


def test_apps_name_inputs_that_the_nodes_have(comfyui):
    """Every graph that can be an app: its inputs are widgets that no link overrides, its output the node that saves."""
    apps = {}
    for file in (ROOT / "workflows").glob("*.json"):
        graph = json.loads(file.read_text(encoding="utf-8"))
        if data := graph["extra"].get("linearData"):
            apps[file.stem] = graph, data
    assert set(apps) == set(APPS)
    for name, (graph, data) in apps.items():
        kinds = {node["id"]: node["type"] for node in graph["nodes"]}
        with Client(comfyui("newest").url) as client:
            schemas = client.object_info(set(kinds.values()))
        for node, widget in data["inputs"]:
            inputs = schemas[kinds[node]]["input"]
            assert widget in {**inputs.get("required", {}), **inputs.get("optional", {})}, (name, node, widget)
            linked = [
                each["name"]
                for one in graph["nodes"]
                if one["id"] == node
                for each in one.get("inputs", [])
                if each.get("link")
            ]
            assert widget not in linked, (name, node, widget)
        assert [kinds[node] for node in data["outputs"]] == ["SaveVideo"], name
