"""Takes a screenshot of a saved graph after a run: python tools/screenshot.py text_to_video picture.png

It starts a ComfyUI with this pack, runs the graph in its editor and pauses the video.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import comfyui
import editor
import front_end
from comfy_server import running
from console import Problem, guard, say


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description="Run a saved graph in ComfyUI's editor and take a picture of it.")
    options.add_argument("graph", help="a name in workflows/, e.g. text_to_video")
    options.add_argument("picture", type=Path, help="the PNG to write")
    options.add_argument("--newest", action="store_true", help=f"use the front end {front_end.NEWEST}")
    options.add_argument("--nodes-2", action="store_true", help="draw the nodes as Nodes 2.0")
    options.add_argument("--at", type=float, default=1.0, metavar="SECONDS", help="time in the video (default: 1)")
    options.add_argument("--as-opened", action="store_true", help="keep the zoom that the graph is saved with")
    return options


def main() -> int:
    options = parser().parse_args()
    if not (comfyui.ROOT / "workflows" / f"{options.graph}.json").is_file():
        raise Problem(f"There is no workflows/{options.graph}.json.")
    served = ("--front-end-root", str(front_end.fetch())) if options.newest else ()
    with tempfile.TemporaryDirectory(prefix="atelier-picture-") as base:
        with running(Path(base), "comfyui", options=served) as server:
            settings = {"Comfy.VueNodes.Enabled": options.nodes_2}
            with editor.chromium() as browser, editor.opened(browser, server.url, settings) as view:
                take(view, options)
    say(f"Picture: {options.picture}")
    return 0


def take(view: editor.Editor, options: argparse.Namespace) -> None:
    view.open_template(options.graph)
    ended = view.run()
    if ended["kind"] != "execution_success":
        raise Problem(f"The graph did not run: {ended.get('exception_message', ended['kind'])}")
    view.play()
    view.hold(options.at)
    if not options.as_opened:
        view.fit()
    view.screenshot(options.picture)


if __name__ == "__main__":
    sys.exit(guard(main))
