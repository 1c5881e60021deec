"""What every test stands on: ComfyUI importable, this pack loaded the way ComfyUI loads it, and a real server.

``nodes`` is a folder of this pack and also a module of ComfyUI, so the repository's root must never be
on ``sys.path``; tests write ``from atelier.models.timeline import spans``.
"""

import atexit
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "support")]

import pack  # noqa: E402
from serving import Server, remove_new, serving  # noqa: E402

# An empty folder instead of the user's.
_BASE = Path(tempfile.mkdtemp(prefix="atelier-tests-"))
atexit.register(shutil.rmtree, _BASE, ignore_errors=True)
pack.prepare_comfyui(_BASE)
pack.load()
torch.set_num_threads(1)  # the tensors are tiny, and the suite runs a process for each core


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One ComfyUI process for the whole session, on a base directory of its own."""
    with serving(tmp_path_factory.mktemp("comfyui")) as made:
        _at_start[made.base / "models"] = set((made.base / "models").rglob("*"))
        yield made


_at_start: dict[Path, set[Path]] = {}
"""The server's models folder, once it has started, and what lay in it then."""


@pytest.fixture(scope="module", autouse=True)
def models_as_at_the_start() -> Iterator[None]:
    """What a file of tests leaves in the server's models folder is gone before the next runs, in any order."""
    yield
    for models, before in _at_start.items():
        remove_new(models, before)


@pytest.fixture
def workflow() -> Callable[[str], dict]:
    """``workflow("text_to_video")`` reads that saved graph."""

    def load(name: str) -> dict:
        return json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))

    return load
