"""Fetches the newest release of ComfyUI's front end from the package registry into .comfyui.

``--front-end-root`` makes a ComfyUI serve it instead of its own. Standard library only.
"""

import sys
import tempfile
from pathlib import Path

from comfyui import HOME, unpack
from console import say

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
        wheel, python = f"{PACKAGE}=={NEWEST}", Path(sys.executable)
        unpacked = unpack(python, wheel, NEWEST_SHA256, FOLDER_IN_WHEEL, Path(scratch), "Check the network.")
        try:
            unpacked.rename(target)
        except OSError:
            if not target.is_dir():  # else another process has just unpacked it
                raise
    return target
