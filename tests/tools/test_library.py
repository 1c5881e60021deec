"""run.py models: list, get and remove by name; and run.py demo --model, which fetches the model first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hub as loopback
import pytest
import shop
from PIL import Image

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("base")
    (base / "models" / "checkpoints").mkdir(parents=True)
    (base / "user" / "atelier").mkdir(parents=True)
    return base


@pytest.fixture(scope="module")
def hub(base) -> Iterator[loopback.Hub]:
    with loopback.running() as made:
        (base / "user" / "atelier" / "models.json").write_text(json.dumps(shop.stock(made, base)))
        yield made


def process(hub: loopback.Hub, text: str, *arguments: str) -> subprocess.CompletedProcess:
    without = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    command = [sys.executable, "-c", f"import sys\nsys.path[:0] = [{str(TOOLS)!r}]\n{text}", *arguments]
    environment = without | {"HF_ENDPOINT": hub.url}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL
    )


COMMANDS = """
import contextlib, io, json, library
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as fault:
        code = library.guard(library.main)
    print(json.dumps([code, out.getvalue(), fault.getvalue()]))
"""


def test_get_list_and_remove(base, hub):
    """In one process, because starting Python with torch takes longest."""
    here = ("--base", str(base))
    model = base / "models" / "checkpoints" / shop.FILE
    commands = [
        ["get", shop.MODEL, *here],
        ["get", shop.MODEL, "--yes", *here],
        [*here],
        ["remove", shop.MODEL, "--yes", *here],
        ["get", "ltx-3", *here],
    ]
    made = process(hub, COMMANDS, json.dumps(commands))
    assert made.returncode == 0, made.stderr
    refused, fetched, listed, removed, wrong = map(json.loads, made.stdout.splitlines())
    assert refused[0] == 1 and "Add --yes" in refused[2] and "Apache-2.0" in refused[1]
    assert fetched[0] == 0 and f"Tiny LTX is here: {shop.FILE}" in fetched[1]
    offered = listed[1].split("To download")[1]
    assert shop.FILE in listed[1] and "pocket (built in)" in listed[1] and f"{shop.MODEL} " not in offered
    assert "ltx-2b-0.9.8-distilled  " in offered and "6.3 GB" in offered and "fits" in offered
    assert removed[0] == 0 and not model.exists()
    assert (base / "models" / "text_encoders" / shop.T5_FILE).is_file(), "others need the text encoder, too"
    assert wrong[0] == 1 and "There is no published model 'ltx-3'" in wrong[2]


@pytest.mark.slow
def test_from_a_fresh_base_folder_to_a_clip_in_one_command(hub, tmp_path, base):
    text = (
        "from pathlib import Path; import demo, library; demo.BASE = library.BASE = Path(sys.argv.pop(1)); "
        "sys.exit(demo.guard(demo.main))"
    )
    made = process(hub, text, str(base), "a red circle", "--model", shop.FOLDER, "--yes", "--out", str(tmp_path))
    assert made.returncode == 0, made.stdout + made.stderr
    assert (tmp_path / "a-red-circle.mp4").is_file()
    with Image.open(tmp_path / "a-red-circle.png") as sheet:
        assert sheet.width > 100
