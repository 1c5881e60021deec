"""The catalogue: its form, and that nothing in it leaves ComfyUI's folders or can hold code."""

from __future__ import annotations

import json
from pathlib import Path

import folder_paths
import pytest
from atelier.models.library import published

FACTS = Path(__file__).parents[2] / "published"


def test_every_published_variant_that_runs_can_be_fetched():
    variants = {entry.variant for entry in published.models()}
    known = {file.stem for file in FACTS.glob("*.json")}
    assert variants <= known
    large = {"ltx2-19b-dev", "ltx2-22b-dev", "ltx2-22b-distilled"}  # 43 GB and more: they are put in place by hand
    assert known - variants <= {"pyramid-miniflux-image", *large}, "the picture model makes no video"


def test_entries_are_whole():
    entries = published.catalogue()
    for entry in entries.values():
        assert entry.bytes > 50e6, entry.id
        assert all(name in entries and entries[name].kind != published.MODEL for need in entry.needs for name in need)
        assert entry.kind == published.MODEL or entry.alike, f"{entry.id}: which files serve instead?"
        for file in entry.files:
            assert file.bytes or file.size, file
            assert file.name.endswith((".safetensors", ".gguf"))
    names = [entry.name for entry in entries.values()]
    assert len(set(names)) == len(names)


def test_sizes_that_are_known_agree_with_the_facts_beside_the_tests():
    """The file names are those of tests/published, which were read elsewhere."""
    files = {file.name: entry for entry in published.models() for file in entry.files}
    for facts in FACTS.glob("ltx-*.json"):
        told = json.loads(facts.read_text(encoding="utf-8"))
        for name in [told["file"], *(n for n in told["other_files"] if n.endswith("fp8.safetensors"))]:
            assert files[name].variant == told["variant"], name


GOOD = {
    "id": "mine",
    "name": "Mine",
    "kind": "model",
    "about": "x",
    "repository": "me/mine",
    "licence": {"name": "x", "url": "https://x"},
    "files": [{"path": "a/b.safetensors", "folder": "checkpoints"}],
}
FOLDER = {"files": [], "folder": "diffusers/Mine", "patterns": ["transformer/*.safetensors"]}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"id": "../mine"}, "id"),
        ({"repository": "../mine"}, "OWNER/NAME"),
        ({"repository": "https://evil/x"}, "OWNER/NAME"),
        ({"revision": "main/../../x"}, "revision"),
        ({"kind": "script"}, "kind"),
        ({"url": "https://evil"}, "unknown keys"),
        ({"licence": {"name": "x", "url": "javascript:alert(1)"}}, "https"),
        ({"files": [{"path": "../b.safetensors", "folder": "checkpoints"}]}, "plain relative path"),
        ({"files": [{"path": "/etc/b.safetensors", "folder": "checkpoints"}]}, "plain relative path"),
        ({"files": [{"path": "a\\..\\b.safetensors", "folder": "checkpoints"}]}, "plain relative path"),
        ({"files": [{"path": ".b.safetensors", "folder": "checkpoints"}]}, "plain relative path"),
        ({"files": [{"path": "b.ckpt", "folder": "checkpoints"}]}, "plain relative path"),
        ({"files": [{"path": "b.py", "folder": "checkpoints"}]}, "plain relative path"),
        ({"files": [{"path": "b.safetensors", "folder": "custom_nodes"}]}, "none of"),
        ({"files": [{"path": "b.safetensors", "folder": "checkpoints", "sha256": "x"}]}, "sha256"),
        ({"files": [{"path": "b.safetensors", "folder": "checkpoints", "bytes": -1}]}, "size in bytes"),
        ({"files": []}, "either files or a folder"),
        (FOLDER | {"folder": "diffusers/../x"}, "diffusers/NAME"),
        (FOLDER | {"folder": "custom_nodes/x"}, "diffusers/NAME"),
        (FOLDER | {"patterns": ["../*.safetensors"]}, "plain relative path"),
        (FOLDER | {"patterns": ["transformer/*"]}, "none of"),
        (FOLDER | {"patterns": ["*.py"]}, "plain relative path"),
    ],
)
def test_what_the_form_refuses(tmp_path, monkeypatch, change, fault):
    """The owner's file is refused as a whole, and the pack's own entries stay."""
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path))
    (tmp_path / "atelier").mkdir()
    (own := tmp_path / "atelier" / "models.json").write_text(json.dumps({"models": [GOOD | change]}))
    with pytest.raises(published.CatalogueError, match=fault):
        published.read(own)
    assert published.catalogue() == published.read(published.OWN)


def test_the_owner_adds_entries(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path))
    (tmp_path / "atelier").mkdir()
    (tmp_path / "atelier" / "models.json").write_text(json.dumps({"models": [GOOD, GOOD | FOLDER | {"id": "two"}]}))
    assert {"mine", "two", "ltx-2b-0.9.8-distilled"} <= published.catalogue().keys()
    assert published.find("checkpoints/b.safetensors").id == published.find("Mine").id == "mine"


def test_the_list_of_offers_reads_the_catalogue_once(monkeypatch):
    """ComfyUI asks for it several times for each graph, so its time is every request's."""
    read, catalogue = [], published.catalogue
    monkeypatch.setattr(published, "catalogue", lambda: read.append(1) or catalogue())
    here = published.Here()
    offers = here.offers()
    assert len(read) == 1
    monkeypatch.undo()
    of_each = [f"{entry.name}{published.FETCH}" for entry in published.models() if not here.has(entry)]
    assert len(offers) == len(of_each) > 10 and all(map(str.startswith, offers, of_each))
    total = published.gigabytes(sum(part.bytes for part in here.missing(published.offered(offers[0]))))
    assert offers[0].endswith(total)
