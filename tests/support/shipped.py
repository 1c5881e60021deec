"""Every graph that a commit of this repository shipped in workflows/: from a file, and from git where it has more.

`python tests/support/shipped.py` adds what the history has to the file. Clones without a history have the file alone.
"""

from __future__ import annotations

import json
import lzma
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "tests" / "old_graphs" / "shipped.json.xz"
Shipped = dict[str, tuple[str, Any]]
"""Git's hash of a version -> (its name below workflows/, the graph)."""


def shipped() -> Shipped:
    return kept() | in_history()


def kept() -> Shipped:
    return {key: (name, graph) for key, (name, graph) in json.loads(lzma.decompress(FILE.read_bytes())).items()}


def in_history() -> Shipped:
    """The versions of all commits at hand; {} without git or outside a clone."""
    found: dict[str, str] = {}
    for commit in _git("log", "--format=%H", "--", "workflows").split():
        for line in _git("ls-tree", "-r", commit, "workflows").splitlines():
            entry, _, name = line.partition("\t")
            if name.endswith(".json"):
                found[entry.split()[2]] = name.removeprefix("workflows/")
    return {key: (name, json.loads(_git("cat-file", "blob", key))) for key, name in found.items()}


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def write() -> None:
    text = json.dumps(shipped(), separators=(",", ":"), sort_keys=True)
    FILE.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    write()
