#!/usr/bin/env python3
"""Atelier's one task runner: python run.py demo | models | serve | convert | test | ... (run.py --help lists all).

It makes what it needs on first use (.venv, a pinned ComfyUI), says what it does, and takes up where it was interrupted.
Standard library only; the work itself is done by the scripts in tools/, inside the environment.
"""

import sys

if sys.version_info < (3, 10):
    sys.exit("Error: this is Python %d.%d; Atelier needs 3.11 or newer. Try: python3.11 run.py" % sys.version_info[:2])

import argparse
import os
import signal
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tools"))  # not the root, whose folder `nodes` would hide ComfyUI's module
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

import convert
import demo
import environment
import library
import serve
import worker
from console import Problem, guard

MOST_WORKERS = 4
"""Processes that share the whole suite. Each has a ComfyUI of its own, which takes about 2 GB of memory."""
USAGE = """usage: python run.py COMMAND [options]

  demo ["prompt"]   turn a prompt into a video, in a real ComfyUI with this pack (demo --help: model, seed, folder)
  models            models by name: what is here, what can be had; models get NAME fetches one (models --help)
  serve             the same ComfyUI kept up, for working in the browser (serve --help: port, address, farm)
  worker            lend this machine's graphics cards to a farm that 'serve --farm' has started (worker --help)
  convert OLD       open a graph that was made for CogVideoX-, Mochi- or PyramidFlowWrapper (convert --help)
  test              the tests; further arguments go to pytest, --slow adds the slow ones, --farm those of a farm
  bench             the benchmarks; --json FILE also writes the figures
  lint              ruff: rules and layout
  shots             the editing nodes' figures, into docs/shots.md (shots --help)
  studio            Sora's editor done in the studio's page, measured, into docs/studio.md (studio --help)
  media             what happens to the files that people bring, into docs/media.md
  pictures          the pictures of the help pages and templates (pictures --help)
  pocket            train the small models that ship with the pack (pocket --help)

COMFYUI_PATH     your ComfyUI folder instead of the pinned release
COMFYUI_PYTHON   your Python with torch instead of .venv; an active virtual environment with torch is taken by itself
"""


def main() -> int:
    command, arguments = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    if command in ("", "help", "-h", "--help"):
        print(USAGE, end="")
        return 0 if command else 2
    if command not in COMMANDS:
        raise Problem(f"there is no command '{command}'. Known: {', '.join(COMMANDS)} (python run.py --help).")
    return COMMANDS[command](arguments)


def run_demo(arguments: list[str]) -> int:
    return _run_with_options(demo.parser(), "demo.py", arguments)


def run_models(arguments: list[str]) -> int:
    return _run_with_options(library.parser(), "library.py", arguments)


def run_serve(arguments: list[str]) -> int:
    farm = serve.parser().parse_args(arguments).farm
    return _run_in_environment("serve.py", arguments, *([environment.FARM_LOCK] if farm else []))


def run_worker(arguments: list[str]) -> int:
    worker.parser().parse_args(arguments)
    return _run_in_environment("worker.py", arguments, environment.FARM_LOCK)


def run_convert(arguments: list[str]) -> int:
    return _run_with_options(convert.parser(), "convert.py", arguments)


def run_tests(arguments: list[str]) -> int:
    chosen = [] if "--slow" in arguments else ["-m", "not slow"]
    if "--slow" in arguments:
        os.environ.setdefault("ATELIER_FARM_JOBS", "200")  # the long run of the farm's kill test
    locks = [
        environment.RUNTIME_LOCK,
        environment.TEST_LOCK,
        *([environment.FARM_LOCK, environment.FARM_TEST_LOCK] if "--farm" in arguments else []),
    ]
    if not any(Path(argument.partition("::")[0]).exists() for argument in arguments):  # the whole suite
        chosen += ["-n", str(max(1, min(MOST_WORKERS, os.cpu_count() or 1))), "--dist", "loadfile"]
    arguments = [_path_from_here(argument) for argument in arguments if argument not in ("--slow", "--farm")]
    python = environment.prepare(*locks)
    _use_comfyui(python)
    os.chdir(ROOT)  # pytest finds its settings and the tests from here
    return _become(python, "run_pytest.py", *chosen, *arguments)


def run_bench(arguments: list[str]) -> int:
    with_ray = "farm" in arguments and "--simulate" not in arguments
    locks = [environment.FARM_TEST_LOCK] if "sizes" in arguments else []
    return _run_in_environment("bench.py", arguments, *locks, *([environment.FARM_LOCK] if with_ray else []))


def run_shots(arguments: list[str]) -> int:
    return _run_in_environment("shots_table.py", arguments)


def run_studio(arguments: list[str]) -> int:
    return _run_in_environment("studio_table.py", arguments, environment.TEST_LOCK)


def run_media(arguments: list[str]) -> int:
    return _run_in_environment("media_table.py", arguments)


def run_pictures(arguments: list[str]) -> int:
    return _run_in_environment("pictures.py", arguments)


def run_pocket(arguments: list[str]) -> int:
    return _run_in_environment("train_pocket.py", arguments)


def run_lint(arguments: list[str]) -> int:
    if arguments:
        raise Problem(f"lint takes no options, got: {' '.join(arguments)}")
    python = environment.prepare(environment.TEST_LOCK)
    checks = [["check"], ["format", "--check"]]
    codes = [subprocess.run([str(python), "-m", "ruff", *check, str(ROOT)], cwd=ROOT).returncode for check in checks]
    return max(codes)


COMMANDS = {
    "demo": run_demo,
    "models": run_models,
    "serve": run_serve,
    "worker": run_worker,
    "convert": run_convert,
    "test": run_tests,
    "bench": run_bench,
    "shots": run_shots,
    "studio": run_studio,
    "media": run_media,
    "pictures": run_pictures,
    "lint": run_lint,
    "pocket": run_pocket,
}


def _run_with_options(options: argparse.ArgumentParser, script: str, arguments: list[str]) -> int:
    """Check the options before anything is installed, then run the script, which reads them again."""
    options.parse_args(arguments)
    return _run_in_environment(script, arguments)


def _run_in_environment(script: str, arguments: list[str], *locks: Path) -> int:
    """Run a script with the runtime environment, and what is in `locks` on top."""
    if not (ROOT / "tools" / script).is_file():
        raise Problem(f"tools/{script} is missing; this copy of the repository is not complete.")
    python = environment.prepare(environment.RUNTIME_LOCK, *locks)
    _use_comfyui(python)
    return _become(python, script, *arguments)


def _use_comfyui(python: Path) -> None:
    os.environ["ATELIER_COMFYUI"] = str(environment.prepare_comfyui(python))


def _become(python: Path, script: str, *arguments: str) -> int:
    """Run a script of tools/ in this process's place, so that signals and the exit code are its own."""
    command = [str(python), str(ROOT / "tools" / script), *arguments]
    if os.name == "posix":
        os.execv(command[0], command)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows: the script gets Ctrl-C too, and ends in its own time
    return subprocess.run(command).returncode


def _path_from_here(argument: str) -> str:
    """A test file named relative to the folder the person is in, made absolute (``tests/test_x.py::test_y`` too)."""
    path, separator, rest = argument.partition("::")
    return str(Path(path).resolve()) + separator + rest if path and Path(path).exists() else argument


if __name__ == "__main__":
    sys.exit(guard(main))
