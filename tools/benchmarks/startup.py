"""Measures what this pack adds to ComfyUI's start-up: seconds, and heavy libraries that ComfyUI had not loaded.

Each sample is a fresh process (this module, run as a script) that loads ComfyUI as its main.py does, then this pack
through ComfyUI's own `load_custom_node`: import, entry point, node list, schemas.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import comfyui
import pack
from console import Problem

from benchmarks.figure import Figure

ROUNDS = 3
HEAVY = ("diffusers", "transformers")


def startup() -> list[Figure]:
    """Seconds added, and the number of modules of diffusers and transformers added."""
    samples = [_fresh_process() for _ in range(ROUNDS + 1)][1:]  # the first one may compile bytecode
    heavy = sorted({name for sample in samples for name in sample["heavy"]})
    names = ", ".join(heavy[:5]) or "no diffusers, no transformers"
    added = f"{samples[0]['modules']} modules, {samples[0]['nodes']} nodes"
    return [
        Figure("startup", tuple(sample["seconds"] for sample in samples), 0.2, " s", note=added),
        Figure("startup, heavy modules", (len(heavy),), 0, note=names),
    ]


def _fresh_process() -> dict:
    command = [sys.executable, "-m", "benchmarks.startup"]
    result = subprocess.run(command, cwd=comfyui.ROOT / "tools", capture_output=True, text=True)
    if result.returncode:
        raise Problem(f"the pack does not load: {result.stderr.strip()[-800:]}")
    return json.loads(result.stdout.splitlines()[-1])


def _load_as_comfyui_does() -> dict:
    """In the fresh process: load the pack after all of ComfyUI. Returns the seconds and the modules it added."""
    import execution  # noqa: F401
    import nodes
    import server  # noqa: F401

    asyncio.run(nodes.init_builtin_extra_nodes())
    modules, kinds = set(sys.modules), len(nodes.NODE_CLASS_MAPPINGS)
    started = time.perf_counter()
    loaded = asyncio.run(nodes.load_custom_node(str(comfyui.ROOT)))
    seconds = time.perf_counter() - started
    if not loaded:
        raise SystemExit("load_custom_node could not load the pack")
    added = set(sys.modules) - modules
    heavy = sorted(name for name in added if name.split(".")[0] in HEAVY)
    count = len(nodes.NODE_CLASS_MAPPINGS) - kinds
    return {"seconds": seconds, "modules": len(added), "nodes": count, "heavy": heavy}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="atelier-startup-") as folder:
        pack.prepare_comfyui(Path(folder))
        print(json.dumps(_load_as_comfyui_does()))
