"""Loads this pack into the current process, without a server, for tests and benchmarks.

``nodes`` is a folder of this pack and also a module of ComfyUI, so the repository's root must not be on ``sys.path``.
The pack is loaded by path, as ComfyUI does, under the name ``atelier``.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

import comfyui


def prepare_comfyui(base: Path, cpu: bool = True) -> None:
    """Make ComfyUI importable, with its models, inputs and outputs under the folder ``base``.

    cpu: without a graphics card, whether there is one or not.
    """
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != comfyui.ROOT]
    sys.path.insert(0, str(comfyui.located()))
    args = importlib.import_module("comfy.cli_args").args
    args.cpu, args.base_directory = cpu, str(base)  # before ComfyUI's modules look for devices and folders
    # As main.py does, before nodes.py puts comfy/utils.py first in the search for `utils`.
    importlib.import_module("utils.extra_config")


def load_media() -> None:
    """Import the room `media` alone as ``atelier_media``. It does not need ComfyUI, so clients can use it."""
    _load("atelier_media", comfyui.ROOT / "media")


def load() -> None:
    """Import the root ``__init__.py`` as ``atelier``, so that ``from atelier.models import ...`` works."""
    _load("atelier", comfyui.ROOT)


def _load(name: str, folder: Path) -> None:
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
