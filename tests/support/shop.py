"""A ComfyUI whose hub is a loopback one, and whose owner's catalogue has a tiny model in the real layout there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import hub as loopback
import tiny
from serving import Server, serving

REPOSITORY = "tiny/ltx"
MODEL, T5 = "tiny-ltx", "tiny-t5"
FOLDER = "tiny-folder"
"""The id of a model that is a whole repository, with a recipe of 64 x 64 x 9 that a CPU can run."""
RECIPE = {"name": "Tiny folder", "width": 64, "height": 64, "frames": 9, "steps": 2}
PARTS = ("scheduler", "transformer", "vae", "text_encoder", "tokenizer")
FILE, T5_FILE = "tiny-ltx-distilled.safetensors", "t5xxl_tiny.safetensors"
LICENCE = {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}


@dataclass(frozen=True)
class Shop:
    server: Server
    hub: loopback.Hub

    def empty(self) -> None:
        """Remove what was fetched, and the hub's faults."""
        self.hub.pause, self.hub.block = 0.0, 1 << 20
        self.hub.faults.clear()
        self.hub.gated.clear()
        self.hub.lies.clear()
        for folder in ("checkpoints", "text_encoders", "diffusers"):
            for path in (self.server.base / "models" / folder).iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def slow(self) -> None:
        """About ten seconds for the model."""
        self.hub.block, self.hub.pause = len(self.hub.files[REPOSITORY, FILE]) // 50, 0.2

    def here(self) -> set[str]:
        models = self.server.base / "models"
        return {path.name for path in models.rglob("*") if path.is_file() and path.name[0] != "."}


def stock(hub: loopback.Hub, folder: Path) -> dict:
    """Put the tiny model into the hub. Returns the owner's catalogue of it."""
    files = {
        (FILE, "checkpoints"): tiny.single_file(folder / FILE, "0.9.5").read_bytes(),
        (T5_FILE, "text_encoders"): tiny.t5_file(folder / T5_FILE).read_bytes(),
    }
    entries = []
    for (name, kind), content in files.items():
        hub.add(REPOSITORY, name, content)
        file = {"path": name, "folder": kind, "bytes": len(content), "sha256": loopback.sha256(content)}
        entries.append({"repository": REPOSITORY, "licence": LICENCE, "files": [file], "about": "For tests."})
    made = tiny.folder(folder / FOLDER, "0.9.5")
    (made / "recipe.json").write_text(json.dumps(RECIPE))
    for path in made.rglob("*"):
        if path.is_file():
            hub.add(f"{REPOSITORY}-folder", path.relative_to(made).as_posix(), path.read_bytes())
    shutil.rmtree(made)
    patterns = [f"{part}/*{suffix}" for part in PARTS for suffix in (".json", ".safetensors", ".model")]
    whole = {"folder": "diffusers/tiny-folder", "patterns": ["model_index.json", "recipe.json", *patterns]}
    about = {"id": FOLDER, "name": "Tiny folder", "kind": "model", "family": "LTX Video", "about": "For tests."}
    whole |= {"repository": f"{REPOSITORY}-folder", "licence": LICENCE, "size": 3_000_000} | about
    entries[0] |= {"id": MODEL, "name": "Tiny LTX", "kind": "model", "family": "LTX Video", "needs": [[T5]]}
    entries[1] |= {"id": T5, "name": "Tiny T5", "kind": "text encoder", "alike": ["t5xxl"]}
    return {"models": [whole, *entries]}


@contextmanager
def open_shop(base: Path) -> Iterator[Shop]:
    """Start it on the folder `base`."""
    (base / "user" / "atelier").mkdir(parents=True)
    (base / "custom_nodes").mkdir()
    shutil.copytree(Path(__file__).with_name("connections"), base / "custom_nodes" / "connections")
    with loopback.running() as hub:
        (base / "user" / "atelier" / "models.json").write_text(json.dumps(stock(hub, base)))
        for name in (FILE, T5_FILE):
            (base / name).unlink()
        without = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        with patch.dict(os.environ, without | {"HF_ENDPOINT": hub.url}, clear=True), serving(base) as server:
            yield Shop(server, hub)
