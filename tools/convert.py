"""Converts a graph that was made for a dormant pack, from a JSON file, a picture or a clip. See docs/old_graphs.md."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import comfyui
import pack
from console import Problem, guard, say


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="run.py convert",
        description="Open a graph that was made for CogVideoXWrapper, MochiWrapper or PyramidFlowWrapper with Atelier, "
        "or make a graph of a diffusers script.",
    )
    options.add_argument(
        "old",
        metavar="OLD",
        help="a graph (.json), a PNG, WebP or MP4 with its graph inside, or a diffusers script (.py)",
    )
    options.add_argument("new", metavar="NEW", nargs="?", help="default: OLD.atelier.json, beside OLD")
    options.add_argument("--loaders", action="store_true", help="of a graph of ComfyUI's own nodes: swap the loaders")
    options.add_argument("--guides", action="store_true", help="with --loaders: and the nodes that place pictures")
    return options


def main() -> int:
    options = parser().parse_args()
    old = Path(options.old)
    new = Path(options.new) if options.new else old.with_name(f"{old.stem}.atelier.json")
    if new.exists():
        raise Problem(f"{new} exists already. Name another file, or delete it.")
    try:
        content = old.read_bytes()
    except OSError as error:
        raise Problem(f"{old} cannot be read: {error.strerror}.") from None
    conversion = _converted(content, old.name, loaders=options.loaders, guides=options.guides)
    _write(new, conversion.graph)
    _tell(conversion, new)
    return 0


def _converted(content: bytes, name: str, **asked: bool) -> Any:
    """The conversion, with the models that ComfyUI's folders have. Raises Problem if there is no graph."""
    from demo import BASE

    pack.prepare_comfyui(comfyui.named() or BASE)
    pack.load()
    from atelier import old_graphs
    from atelier.api.calls.old_graph import installed

    try:
        if old_graphs.is_script(name):
            return old_graphs.from_script(content, installed())
        return old_graphs.convert(old_graphs.graph_in(content), installed(), **asked)
    except old_graphs.UnreadableGraph as error:
        raise Problem(f"{name}: {error}") from None


def _write(new: Path, graph: Any) -> None:
    try:
        with new.open("x", encoding="utf-8") as file:
            json.dump(graph, file, indent=1)
    except OSError as error:
        raise Problem(f"{new} cannot be written: {error.strerror}.") from None


def _tell(conversion: Any, new: Path) -> None:
    if not conversion.changed:
        say("No node of a dormant pack is in this graph. It is written as it was.")
        if conversion.offer:
            say(f"It runs on ComfyUI's own nodes. With --loaders, Load Video Model loads {conversion.offer} in it.")
    elif conversion.swapped:
        say("Load Video Model loads the model now.")
    else:
        say(f"Made for {' and '.join(conversion.made_for)}. " + ("Lost:" if conversion.lost else "Nothing is lost."))
    for line in conversion.lost:
        say(f"  - {line}")
    for line in conversion.remarks:
        say(f"  * {line}")
    say(f"Written: {new}")


if __name__ == "__main__":
    sys.exit(guard(main))
