"""Prepares the Python environment: an active one with torch if there is one, else ``.venv``.

``.venv`` is filled from the lock files beside this module. Each finished step writes a stamp with the lock's hash, so a
second call does nothing and an interrupted one continues. Standard library only.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import comfyui
from console import Problem, Progress, say

ROOT = comfyui.ROOT
TOOLS = ROOT / "tools"
VENV = ROOT / ".venv"
RUNTIME_LOCK = TOOLS / "requirements.lock"
TEST_LOCK = TOOLS / "requirements-dev.lock"
FARM_LOCK = TOOLS / "requirements-farm.lock"
FARM_TEST_LOCK = TOOLS / "requirements-farm-tests.lock"
PACK_REQUIREMENTS = ROOT / "requirements.txt"

OLDEST, NEWEST = (3, 11), (3, 14)
"""The Python versions that all packages in the lock support."""
ROOM_NEEDED = 7e9 if sys.platform == "linux" else 3e9
"""Bytes of disk for a full ``.venv`` (on Linux, torch includes the CUDA libraries)."""


@dataclass(frozen=True)
class Environment:
    """An interpreter. own: whether run.py made its environment. why: the reason for choosing it."""

    python: Path
    own: bool
    why: str


def choose() -> Environment:
    """COMFYUI_PYTHON, else an active virtual environment that has torch, else ``.venv``."""
    named = os.environ.get("COMFYUI_PYTHON")
    if named:
        found = shutil.which(named)
        if found is None:
            raise Problem(f"COMFYUI_PYTHON is {named}, which is not a program. Set it to a Python interpreter.")
        return Environment(Path(found), own=False, why="COMFYUI_PYTHON")
    for prefix in filter(None, (os.environ.get("VIRTUAL_ENV"), sys.prefix if sys.prefix != sys.base_prefix else None)):
        python = _python_in(Path(prefix))
        if Path(prefix).resolve() != VENV.resolve() and _has_torch(python):
            return Environment(python, own=False, why="the active environment")
    return Environment(_python_in(VENV), own=True, why=".venv")


def prepare(*locks: Path) -> Path:
    """Install what the chosen environment lacks of ``locks``. Returns its interpreter."""
    chosen = choose()
    if chosen.own:
        for lock in locks:
            _install_lock(lock)
    else:
        say(f"Using {chosen.why}: {chosen.python}")
        _complete_foreign(chosen, locks)
    return chosen.python


def prepare_comfyui(python: Path) -> Path:
    """The folder of the ComfyUI to run. Installs its missing requirements if ``python`` is that of ``.venv``."""
    named = comfyui.named()
    if named is None:
        folder = comfyui.fetch(python)
        if python == _python_in(VENV):  # the lock was made for this release
            return folder
    else:
        folder = named
    absent = _missing(python, [folder / "requirements.txt"])["absent"]
    if absent and python == _python_in(VENV):
        say(f"The ComfyUI at {folder} needs more than the pinned one: installing {', '.join(absent)}")
        _pip(python, [*absent, "-c", str(RUNTIME_LOCK)], total=len(absent))
    elif absent:
        raise Problem(
            f"{python} lacks requirements of the ComfyUI at {folder}: {', '.join(absent)}. Install them with '{python} "
            f"-m pip install -r {folder / 'requirements.txt'}', or leave that environment: run.py then makes .venv."
        )
    return folder


def read_lock(lock: Path) -> dict[str, str]:
    """Package name -> exact version, from a lock file."""
    pins = {}
    for line in lock.read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].split(";")[0].strip()
        if not line:
            continue
        name, exact, version = line.partition("==")
        if not exact:
            raise Problem(f"{lock.name}: '{line}' is not an exact pin (name==version).")
        pins[name.strip()] = version.strip()
    return pins


def _python_in(prefix: Path) -> Path:
    return prefix / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _has_torch(python: Path) -> bool:
    check = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    return python.exists() and subprocess.run([str(python), "-I", "-c", check], capture_output=True).returncode == 0


def _install_lock(lock: Path) -> None:
    """Install a lock file into ``.venv`` unless its stamp shows that it is installed."""
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = VENV / f".installed-{lock.name}"
    python = _python_in(VENV)
    if python.exists() and stamp.is_file() and stamp.read_text() == digest:
        return
    pins = read_lock(lock)
    if "torch" in pins:
        _check_room()
    _make_venv(python)
    say(f"Installing {len(pins)} packages ({lock.name}) into {VENV} ...")
    _pip(python, ["-r", str(lock)], total=len(pins))
    stamp.write_text(digest)


def _make_venv(python: Path) -> None:
    if python.exists() and subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return
    here = sys.version_info[:2]
    if not OLDEST <= here <= NEWEST:
        raise Problem(
            f"This is Python {here[0]}.{here[1]}; the pinned packages need {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}."
            f"{NEWEST[1]}. Start run.py with one of them, or set COMFYUI_PYTHON to an environment that has torch."
        )
    say(f"Making {VENV} with Python {here[0]}.{here[1]} ...")
    result = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True)
    if result.returncode:
        if "ensurepip" in result.stdout + result.stderr:
            raise Problem("This Python cannot make environments. On Debian and Ubuntu: apt install python3-venv.")
        last = (result.stderr.strip() or result.stdout.strip() or "no reason given").splitlines()[-1]
        raise Problem(f"No environment could be made at {VENV}: {last}")


def _check_room() -> None:
    free = shutil.disk_usage(ROOT).free
    present = sum(file.stat().st_size for file in VENV.rglob("*") if file.is_file()) if VENV.exists() else 0
    if free + present < ROOM_NEEDED:
        raise Problem(
            f"The environment needs about {ROOM_NEEDED / 1e9:.0f} GB at {ROOT}, but {free / 1e9:.1f} GB are free. "
            "Make room, or set COMFYUI_PYTHON to an environment that has torch already."
        )


def _complete_foreign(chosen: Environment, locks: tuple[Path, ...]) -> None:
    """Install the few light packages that a person's environment lacks. Torch and all present packages stay."""
    files = [PACK_REQUIREMENTS if lock == RUNTIME_LOCK else lock for lock in locks]
    state = _missing(chosen.python, files)
    if state["torch"] is None and RUNTIME_LOCK in locks:
        raise Problem(
            f"{chosen.python} ({chosen.why}) has no torch. Install ComfyUI's requirements there, or unset it."
        )
    needed = PACK_REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    for line, found in state["too_old"]:
        if line in needed:
            raise Problem(f"{chosen.python} has {found}, this pack needs {line}: run 'pip install \"{line}\"' there.")
    if state["absent"]:
        say(f"Installing missing packages into it: {', '.join(state['absent'])}")
        with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as keep:
            keep.write(f"torch=={state['torch']}\n" if state["torch"] else "")
        try:
            _pip(chosen.python, [*state["absent"], "-c", keep.name], total=len(state["absent"]))
        finally:
            os.unlink(keep.name)


def _missing(python: Path, files: list[Path]) -> dict:
    command = [str(python), str(TOOLS / "missing.py"), *map(str, files)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        last = (result.stderr.strip() or "no reason given").splitlines()[-1]
        raise Problem(f"{python} cannot say which packages it has: {last}")
    return json.loads(result.stdout)


def _pip(python: Path, arguments: list[str], total: int) -> None:
    """Run ``pip install`` with a progress bar, and one line for a failure. The full output goes to a log."""
    log = VENV / "install.log" if python == _python_in(VENV) else Path(tempfile.gettempdir()) / "atelier-install.log"
    command = [str(python), "-m", "pip", "install", "--progress-bar", "off", "--disable-pip-version-check", *arguments]
    progress, collected = Progress(), 0
    with log.open("w") as record:
        pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        try:
            for line in pip.stdout:
                record.write(line)
                words = line.split()
                collected += words[:1] == ["Collecting"]
                if words[:1] in (["Collecting"], ["Downloading"]):
                    label = _in_short(words) if progress.live else "collecting"
                    progress.show(label, min(collected, total), total)
                elif line.startswith("Installing collected packages"):
                    progress.show("unpacking (this takes a while)")
            code = pip.wait()
        finally:
            progress.close()
            if pip.poll() is None:
                pip.terminate()
                pip.wait()
    if code:
        raise Problem(_why_pip_failed(log))


def _in_short(words: list[str]) -> str:
    """``Downloading https://../torch-2.11.0-cp311-..whl (530.7 MB)`` -> ``downloading torch-2.11.0 (530.7 MB)``."""
    verb, what, *size = words
    if verb == "Collecting":
        return f"collecting {what}"
    return " ".join(["downloading", "-".join(what.rsplit("/", 1)[-1].split("-")[:2]), *size])


def _why_pip_failed(log: Path) -> str:
    text = log.read_text(errors="replace")
    if "No space left on device" in text:
        return f"The disk is full. Make room (about {ROOM_NEEDED / 1e9:.0f} GB) and run the same command again."
    offline = ("NewConnectionError", "Failed to establish", "name resolution", "ProxyError", "(from versions: none)")
    if any(sign in text for sign in offline):
        return f"The package registry cannot be reached. Check the network and run the same command again (log: {log})."
    errors = [line.removeprefix("ERROR: ") for line in text.splitlines() if line.startswith("ERROR: ")]
    return f"pip could not install the packages: {errors[-1] if errors else 'it gave no reason'} (log: {log})"
