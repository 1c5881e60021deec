"""A real ComfyUI with this pack, for tests to talk to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from client import Client
from comfy_server import running


@dataclass(frozen=True)
class Server:
    """A ComfyUI that answers at `url`. Tests may drop model files into ``base / "models" / ...``."""

    url: str
    base: Path
    client: Client
    log: Path


def remove_new(models: Path, before: set[Path]) -> None:
    """Delete what lies in the kinds' folders in `models` and was not there `before`.

    The kinds' folders themselves stay: ComfyUI remembers their times, and fails when one that it has listed is gone.
    """
    for path in sorted(set(models.glob("*/**/*")) - before, reverse=True):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


@contextmanager
def serving(base: Path) -> Iterator[Server]:
    with running(base, "comfyui") as process, Client(process.url) as client:
        yield Server(process.url, base, client, process.log)
