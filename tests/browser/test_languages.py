"""ComfyUI in another language: its front end shows this pack's nodes, their tooltips and their help in it.

Only the newest front end: 1.32.9, that of ComfyUI 0.3.75, loads a language over the translations of packs. The words of
this pack's own scripts do not depend on that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import editor
import pytest
import translations
from client import Client

ROOT = Path(__file__).resolve().parents[2]

NODE = """type => {
    const node = LiteGraph.createNode(type)
    app.graph.add(node)
    return {
        title: node.title,
        slots: [...node.inputs, ...node.outputs].map(slot => [slot.name, slot.localized_name ?? slot.label]),
        widgets: node.widgets.map(widget => [widget.name, widget.label]),
    }
}"""


@pytest.fixture
def view(request: pytest.FixtureRequest, comfyui, browser) -> Iterator[editor.Editor]:
    language, nodes_2 = request.param
    url = comfyui("newest").url
    try:
        with editor.opened(browser, url, {"Comfy.VueNodes.Enabled": nodes_2, "Comfy.Locale": language}) as opened:
            yield opened
    finally:
        with Client(url) as client:  # the settings are the server's, which other tests use
            client.post("/settings", {"Comfy.Locale": "en", "Comfy.VueNodes.Enabled": False})


def texts(language: str) -> dict:
    return json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


SLOW = [pytest.param((each, False), marks=pytest.mark.slow, id=each) for each in translations.LANGUAGES[1:]]


@pytest.mark.parametrize("view", [pytest.param(("fr", False), id="fr"), *SLOW], indirect=True)
def test_a_node_has_its_name_and_those_of_its_inputs(view, request):
    wanted = texts(request.node.callspec.params["view"][0])
    for kind in ("AtelierSampleVideo", "AtelierRemixShot"):
        shown, text = view.page.evaluate(NODE, kind), wanted[kind]
        assert shown["title"] == text["display_name"]
        slots = dict(shown["slots"]) | dict(shown["widgets"])
        assert {name: slots[name] for name in text["inputs"]} == {
            name: given["name"] for name, given in text["inputs"].items()
        }
        assert {given["name"] for given in text.get("outputs", {}).values()} <= set(slots.values())
    assert view.errors == []


@pytest.mark.parametrize("view", [pytest.param(("fr", False), id="fr")], indirect=True)
def test_the_time_line_and_the_scripts_speak_it(view):
    view.open_template("storyboard")
    lane = view.page.locator(".atelier-storyboard .lane")
    assert lane.get_attribute("aria-label").startswith("Ligne de temps : 2 cartes en ")
    view.page.get_by_role("button", name="Ajouter une carte après celle-ci").click()
    assert lane.get_attribute("aria-label").startswith("Ligne de temps : 3 cartes en ")
    button = "() => LiteGraph.createNode('AtelierExpandPrompt').widgets.at(-1).label"
    assert view.page.evaluate(button) == "modifier le développement"
    assert view.errors == []


@pytest.mark.parametrize("view", [pytest.param(("fr", True), id="fr")], indirect=True)
def test_a_person_reads_its_tooltip_and_its_help(view, tmp_path):
    keep = Path(os.environ.get("ATELIER_KEEP") or tmp_path)
    view.open_template("text_to_video")
    node = view.page.locator(".lg-node", has_text="Échantillonner la vidéo").first
    node.wait_for(timeout=60_000)
    assert "débruitage" in node.inner_text() and "graine" in node.inner_text()
    node.get_by_text("graine", exact=True).hover()
    tooltip = texts("fr")["AtelierSampleVideo"]["inputs"]["seed"]["tooltip"]
    view.page.get_by_text(tooltip).first.wait_for(timeout=20_000)
    node.get_by_text("Échantillonner la vidéo").first.click()
    view.page.get_by_test_id("info-button").click()
    view.page.get_by_text("Fait la vidéo sous forme de latent").first.wait_for(timeout=20_000)
    view.page.get_by_text("Rigueur avec laquelle la vidéo suit le prompt").first.wait_for(timeout=20_000)
    view.screenshot(keep / "french.png")
    assert view.errors == []
