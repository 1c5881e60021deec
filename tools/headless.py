"""Keeps the ComfyUI of a farm's worker: starts it, says where it is, and ends it when the worker's actor is gone.

Usage: headless.py INDEX, with the worker's folders in ATELIER_FARM_BASE. It writes one line, {"url": ..., "pid": ...}
or what went wrong, and lives until its standard input ends.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

from comfy_server import prepare_base, running
from console import Problem

SHARED = ("models", "custom_nodes")
"""Folders of the machine's ComfyUI that all its workers use."""


def prepare_worker(base: Path, index: str) -> Path:
    """A base directory for one worker: folders of its own for files, the machine's for models and custom nodes."""
    own, machine = base / f"worker-{index}", base.parent
    prepare_base(machine)
    own.mkdir(parents=True, exist_ok=True)
    for name in SHARED:
        link = own / name
        if not link.is_symlink():
            link.symlink_to(machine / name, target_is_directory=True)
    return own


def main() -> int:
    def gone() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    threading.Thread(target=gone, daemon=True).start()
    os.umask(0o077)
    if threads := os.environ.get("ATELIER_FARM_THREADS"):
        os.environ["OMP_NUM_THREADS"] = threads
    else:  # Ray sets it to the number of processors that an actor asks for, which is none
        os.environ.pop("OMP_NUM_THREADS", None)
    try:
        base = prepare_worker(Path(os.environ["ATELIER_FARM_BASE"]), sys.argv[1])
        # Files that the head sends for a job lie in folders of `base`, "[temp]" among them.
        options = ("--preview-method", "auto", "--temp-directory", str(base))
        with running(base, "comfyui", options=options, with_us=True) as server:
            print(json.dumps({"url": server.url, "pid": server.process.pid}), flush=True)
            return server.process.wait()
    except (Problem, OSError) as problem:
        print(" ".join(str(problem).split()), flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
