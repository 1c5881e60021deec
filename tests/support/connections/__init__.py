"""A custom node for tests: writes every address that ComfyUI's process connects to, or asks the name of, into a file.

Python reports these as audit events, so no library can pass by. The file is connections.txt in the base directory.
"""

import sys
from pathlib import Path

import folder_paths

NODE_CLASS_MAPPINGS: dict = {}
_FILE = (Path(folder_paths.base_path) / "connections.txt").open("a", buffering=1)


def _note(event: str, arguments: tuple) -> None:
    if event == "socket.connect":
        address = arguments[1]
        _FILE.write(f"{address[0] if isinstance(address, tuple) else address}\n")
    elif event == "socket.getaddrinfo" and arguments[0]:
        _FILE.write(f"{arguments[0]}\n")


sys.addaudithook(_note)
