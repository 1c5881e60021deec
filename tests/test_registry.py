"""What the Comfy Registry gets: the tracked files without those of .comfyignore. They must be the whole product."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import atelier
import comfyui
import pytest
import tomllib
from atelier.nodes import inputs
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
POCKETS, LARGEST = 61_000_000, 4 << 20
"""Bytes of the small models, 45 MB of four families, 14 MB with sound and copies of a text encoder; of the rest."""
LOAD = """
import asyncio, json, sys
from pathlib import Path
sys.path.insert(0, "tools")
import pack
pack.prepare_comfyui(Path(sys.argv[1]))
pack.load()
import atelier
from atelier.api.graphs import marks
from atelier.models.library.folders import model_choices
nodes = asyncio.run(asyncio.run(atelier.comfy_entrypoint()).get_node_list())
print(json.dumps([[node.GET_SCHEMA().node_id for node in nodes], model_choices(), str(marks.BUILT_IN)]))
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the archive, in a folder of their own."""

    def tracked(*options: str) -> set[str]:
        run = subprocess.run(["git", "ls-files", "-z", *options], cwd=ROOT, capture_output=True, text=True)
        if run.returncode:
            pytest.skip("this is not a git checkout")
        return set(filter(None, run.stdout.split("\0")))

    folder = tmp_path_factory.mktemp("registry") / "atelier"
    for name in tracked() - tracked("--cached", "--ignored", "--exclude-from=.comfyignore"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    return folder


def test_it_has_no_tests_no_training_and_no_pictures_of_the_docs(published):
    files = [path.relative_to(published) for path in published.rglob("*") if path.is_file()]
    assert not [file for file in files if file.parts[0] == "tests" or file.parts[:2] == ("docs", "images")]
    assert not (published / "tools" / "train_pocket.py").exists()
    sizes = {file: (published / file).stat().st_size for file in files}
    pockets = sum(
        size for file, size in sizes.items() if file.parts[0] == "models" and file.parts[1].startswith("pocket")
    )
    assert pockets < POCKETS and sum(sizes.values()) - pockets < LARGEST
    assert not [file for file in files if (published / file).is_symlink() or file.suffix == ".pyc"]


def test_it_loads_and_has_all_nodes_models_graphs_and_translations(published, tmp_path):
    environment = {**os.environ, "ATELIER_COMFYUI": str(comfyui.located())}
    command = [sys.executable, "-c", LOAD, str(tmp_path)]
    run = subprocess.run(command, cwd=published, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    nodes, models, graphs = json.loads(run.stdout.splitlines()[-1])
    ours = asyncio.run(asyncio.run(atelier.comfy_entrypoint()).get_node_list())
    assert nodes == [node.GET_SCHEMA().node_id for node in ours]
    assert {f"pocket{name} (built in)" for name in ("", " pyramid", " mochi", " sound", " cogvideox")} <= set(models)
    assert Path(graphs).is_relative_to(published) and (Path(graphs) / "generate.json").is_file()
    for room in ("workflows", "web", "studio", "locales", "subgraphs"):
        names = {path.relative_to(ROOT) for path in (ROOT / room).rglob("*") if path.is_file()}
        assert {path.relative_to(published) for path in (published / room).rglob("*") if path.is_file()} == names


def test_the_registry_s_fields():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert re.fullmatch(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*", project["project"]["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["project"]["version"])
    assert project["project"]["description"] and project["tool"]["comfy"]["DisplayName"]
    icon, banner = (Image.open(ROOT / "docs" / "images" / f"{name}.png") for name in ("icon", "banner"))
    assert icon.width == icon.height <= 400 and banner.width * 9 == banner.height * 21


def test_search_words_are_given_where_the_schema_has_them(monkeypatch):
    known = set(inputs.io.Schema.__dataclass_fields__)
    words = {"search_aliases": ["extend video"], "essentials_category": "Video Tools"}
    given = inputs.found_by("extend video", essential=True)
    assert given == {name: value for name, value in words.items() if name in known}

    @dataclass
    class Newer(inputs.io.Schema):
        search_aliases: list[str] = field(default_factory=list)
        essentials_category: str | None = None

    monkeypatch.setattr(inputs.io, "Schema", Newer)
    nodes = asyncio.run(asyncio.run(atelier.comfy_entrypoint()).get_node_list())
    schemas = [node.define_schema() for node in nodes]
    assert [schema.node_id for schema in schemas if not schema.search_aliases] == []
    assert {schema.essentials_category for schema in schemas} == {"Video Tools", None}
