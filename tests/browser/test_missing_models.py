"""ComfyUI's own missing-model dialog, in its real front end: each family's template names what it needs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import front_ends
import published_graphs
import pytest

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = json.loads((ROOT / "models" / "library" / "published.json").read_text(encoding="utf-8"))["models"]


def loaders(name: str) -> list[dict]:
    """The nodes that load what the catalogue has."""
    nodes = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))["nodes"]
    kinds = {f"AtelierLoadVideo{kind}" for kind in ("Model", "UpscaleModel", "LoRA")}
    return [node for node in nodes if node["type"] in kinds]


@pytest.mark.parametrize("name", published_graphs.GRAPHS)
def test_a_template_names_files_of_the_catalogue(name):
    known = {
        (file["path"].rpartition("/")[2], file["folder"]): (entry, file)
        for entry in CATALOGUE
        for file in entry.get("files", ())
    }
    for node in loaders(name):
        named = [model["name"] for model in node["properties"]["models"]]
        chosen = {value for value in node["widgets_values"] if isinstance(value, str)} - {"default", "automatic"}
        assert chosen <= set(named), "the dialog looks for these values"
        for model in node["properties"]["models"]:
            entry, file = known[model["name"], model["directory"]]
            place = f"{entry['repository']}/resolve/{entry.get('revision', 'main')}/{file['path']}"
            assert model["url"] == f"https://huggingface.co/{place}"


@pytest.mark.parametrize("view", front_ends.BOTH, indirect=True)
def test_the_dialog_offers_them(view, request):
    (node,) = loaders("ltx_video")
    view.open_template("ltx_video")
    view.page.wait_for_timeout(3000)
    if folder := os.environ.get("ATELIER_KEEP"):
        view.page.screenshot(path=Path(folder) / f"dialog-{request.node.name}.png")
    models = node["properties"]["models"]
    if (
        request.node.callspec.params["view"] == "newest"
    ):  # a panel, behind a count; the note on the canvas names them, too
        return view.page.get_by_text(f"{len(models)} issues found").wait_for(timeout=20_000)
    for model in models:
        view.page.get_by_text(f"{model['directory']} / {model['name']}").wait_for(timeout=20_000)


@pytest.mark.parametrize("view", ["pinned"], indirect=True)
def test_an_older_graphs_name_becomes_the_plain_one(view, comfyui):
    """So that it is on the list, and no newer front end takes the file for missing."""
    file = comfyui("pinned").base / "models" / "checkpoints" / "old.safetensors"
    file.write_bytes(b"")
    try:
        view.page.evaluate("async () => { await app.refreshComboInNodes() }")
        graph = json.loads((ROOT / "workflows" / "text_to_video.json").read_text(encoding="utf-8"))
        (node,) = [node for node in graph["nodes"] if node["type"] == "AtelierLoadVideoModel"]
        node["widgets_values"][0] = "checkpoints\\old.safetensors"
        view.page.evaluate("async graph => { await app.loadGraphData(graph) }", graph)
        (shown,) = [node for node in view.nodes() if node["type"] == "AtelierLoadVideoModel"]
        assert shown["widgets"][0]["value"] == "old.safetensors" in shown["widgets"][0]["choices"]
    finally:
        file.unlink()
