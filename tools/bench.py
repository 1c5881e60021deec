"""Runs the benchmarks. docs/benchmarks.md says what they measure; the code is in tools/benchmarks/.

A missed target is reported, but the exit code is 0 if all benchmarks ran, whatever the figures.
"""

import argparse
import importlib
import importlib.metadata
import json
import logging
import os
import platform
import re
import sys
import tempfile
import traceback
from datetime import datetime, timezone
from pathlib import Path

import comfyui
import pack
from console import Problem, guard, say

BENCHMARKS = {
    "step": "a sampler step against diffusers' LTX, LTX-2, CogVideoX and Mochi pipelines, ratio",
    "step_core": "a sampler step against ComfyUI core's own LTX Video and Mochi, ratio",
    "parity": "difference from diffusers' pipelines, relative",
    "decode": "piecewise decoding: memory over length and over diffusers' ways, time over decoding at once",
    "startup": "seconds that the pack adds to ComfyUI's start-up",
    "load": "loading checkpoints of LTX, LTX-2, CogVideoX and Mochi: memory over their size, time over diffusers'",
    "media": "writing and reading clips: time over core's Save Video, colours, memory at 8x the frames",
    "demo": "seconds from the command to the MP4",
    "pyramid": "Pyramid Flow over a plain version of it: time per latent frame, memory",
    "api": "the Videos API: create to queued, listing 10,000 jobs",
    "studio": "the studio with 500 videos: a click to the next picture, the page's weight",
    "farm": "waits on a farm, by simulated days; named without --simulate: what a farm adds to a job, 3 minutes",
    "pocket": "the share of the built-in model's clips that follow their prompt",
}
ON_REQUEST = {
    "sizes": "the Videos API with 100,000 jobs, in SQLite and in PostgreSQL: create to queued, a page; 3 minutes",
    "speed": "Speed Up Video: block evaluations and time saved, what it costs the built-in models' score; 15 minutes",
    "gpu": "one graphics card: steps at real size beside diffusers and core, formats, attention, compiling, decoding",
}
"""Benchmarks that run only if they are named."""
IN_STEP = ("step", "step_core")
"""Benchmarks in benchmarks/step.py; every other one is in a file with its own name."""


def parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:<12}{what}" for name, what in (BENCHMARKS | ON_REQUEST).items())
    options = argparse.ArgumentParser(
        prog="run.py bench",
        description=f"Measures Atelier and reports which targets are met:\n\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    left_out = ", ".join(ON_REQUEST)
    options.add_argument("names", nargs="*", metavar="NAME", help=f"which benchmarks (default: all but {left_out})")
    options.add_argument("--model", metavar="WORD", help="speed, gpu: only models whose name contains this, as mochi")
    options.add_argument("--prompts", type=int, default=100, metavar="N", help="speed: how many prompts (default: 100)")
    options.add_argument("--tiny", action="store_true", help="gpu: small networks, for a machine without a card")
    options.add_argument("--simulate", action="store_true", help="farm: simulated days, without Ray")
    options.add_argument("--json", type=Path, metavar="FILE", help="also write figures and samples to this file")
    return options


def main() -> int:
    options = parser().parse_args()
    known = BENCHMARKS | ON_REQUEST
    unknown = [name for name in options.names if name not in known]
    if unknown:
        raise Problem(f"there is no benchmark '{unknown[0]}'. Known: {', '.join(known)}.")
    names = options.names or list(BENCHMARKS)
    on_card = "gpu" in names and not options.tiny
    if on_card:
        check_card(names)
    given = {"speed": {"prompts": options.prompts, "model": options.model}}
    given["farm"] = {"simulate": options.simulate or not options.names}
    given["gpu"] = {"tiny": not on_card, "model": options.model}
    with tempfile.TemporaryDirectory(prefix="atelier-bench-") as base:
        pack.prepare_comfyui(Path(base), cpu=not on_card)
        logging.getLogger().setLevel(logging.ERROR)
        pack.load()
        importlib.import_module("comfy.utils").set_progress_bar_enabled(False)  # one for each clip hides the figures
        about = machine()
        say("  ".join(f"{key}: {value}" for key, value in about.items()))
        figures, failed = measure(names, given)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        record = {"machine": about, "figures": [figure.record() for figure in figures], "failed": failed}
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    missed = [figure.name for figure in figures if figure.met is False]
    say(f"Missed targets: {', '.join(missed)}" if missed else "All measured targets are met.")
    if failed:
        say(f"Did not run: {', '.join(failed)}")
    if not options.names:
        say(f"Run only if named: {', '.join(ON_REQUEST)}")
    return 1 if failed else 0


def check_card(names: list[str]) -> None:
    """Raises Problem if `gpu` cannot run: without a card, or together with benchmarks that are for a processor."""
    import torch

    if len(names) > 1:
        raise Problem("gpu runs alone: ComfyUI is either on the card or on the processor. Start it by itself.")
    if not torch.cuda.is_available():
        raise Problem("there is no CUDA card in this machine. `bench gpu --tiny` runs the same on a processor.")


def measure(names: list[str], given: dict[str, dict]) -> tuple[list, dict[str, str]]:
    """Run these benchmarks and print each figure. Returns the figures, and the reason for each failed benchmark.

    given: the options of those that take some.
    """
    figures, failed = [], {}
    for name in names:
        try:
            module = importlib.import_module(f"benchmarks.{'step' if name in IN_STEP else name}")
            for figure in getattr(module, name)(**given.get(name, {})):
                say(figure.line())
                figures.append(figure)
        except Problem as problem:
            failed[name] = str(problem)
            say(f"{name}: could not run: {problem}")
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
            traceback.print_exc()
    return figures, failed


def machine() -> dict[str, str]:
    """The machine and the versions that the figures depend on, as text."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "diffusers", "transformers")}
    version_file = comfyui.located() / "comfyui_version.py"
    match = re.search(r'"([\d.]+)"', version_file.read_text()) if version_file.is_file() else None
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
        "python": platform.python_version(),
        "comfyui": match[1] if match else "unknown",
        **versions,
    }


if __name__ == "__main__":
    sys.exit(guard(main))
