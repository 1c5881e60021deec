"""The demo: runs a prompt in a real ComfyUI with this pack, and saves the video and its contact sheet.

run.py reads the options from here with a bare Python, so imports that need the environment are inside functions.
"""

import argparse
import copy
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import library
import pack
from comfyui import ROOT
from console import Problem, Progress, guard, say

if TYPE_CHECKING:
    from client import Client
    from comfy_server import ComfyServer

WORKFLOW = ROOT / "workflows" / "text_to_video.json"
BASE = ROOT / ".comfyui" / "base"
SHOWN, COLUMNS, WIDTH = 12, 4, 192
"""Frames of the contact sheet, frames in a row, width of a frame in pixels."""
SHORT_NAMES = {
    "pocket": "pocket (built in)",
    "pocket-pyramid": "pocket pyramid (built in)",
    "pocket-mochi": "pocket mochi (built in)",
    "pocket-sound": "pocket sound (built in)",
    "pocket-cogvideox": "pocket cogvideox (built in)",
}


@dataclass(frozen=True)
class Result:
    """The demo's files."""

    video: Path
    sheet: Path


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="run.py demo", description="Turn a prompt into a video.")
    options.add_argument("prompt", nargs="?", help="what to show (default: the saved graph's own prompt)")
    options.add_argument("--negative", metavar="TEXT", help="what not to show")
    options.add_argument(
        "--model",
        help="a published model by name (python run.py models), fetched if you agree, or a model as the loader node "
        "lists it (default: pocket; pocket-cogvideox, -mochi, -pyramid and -sound also ship with the pack)",
    )
    options.add_argument("--yes", action="store_true", help="fetch the model without asking")
    options.add_argument("--seed", type=int, metavar="N", help="another seed gives another video")
    options.add_argument(
        "--out", type=Path, metavar="DIR", default=ROOT / "output" / "demo", help="where to put the result"
    )
    return options


def choices_from(options: argparse.Namespace) -> list[tuple[str, str, Any]]:
    """(node type, input, value) of every option on the command line."""
    model = SHORT_NAMES.get(options.model, options.model)
    choices = [
        ("AtelierLoadVideoModel", "model", model),
        ("AtelierEncodeVideoPrompt", "prompt", options.prompt),
        ("AtelierEncodeVideoPrompt", "negative_prompt", options.negative),
        ("AtelierSampleVideo", "seed", options.seed),
    ]
    return [choice for choice in choices if choice[2] is not None]


def make_video(client: "Client", workflow: dict, choices: list[tuple[str, str, Any]], out: Path) -> Result:
    """Run a saved graph with some widgets changed. Saves its first video and a contact sheet in ``out``."""
    from saved_graph import GraphError, node_types, set_widget, to_api

    try:
        info = client.object_info(node_types(workflow))
        workflow = copy.deepcopy(workflow)
        for choice in choices:
            set_widget(workflow, info, *choice)
        prompt = to_api(workflow, info)
    except GraphError as error:
        raise Problem(str(error)) from None
    progress = Progress()
    try:
        outputs = client.wait(client.queue(prompt, workflow), on_event=_follow(prompt, progress))
    finally:
        progress.close()
    videos = [item for output in outputs.values() for item in output.get("images", []) if _is_video(item)]
    if not videos:
        raise Problem("The graph ended without a video. It needs a Save Video node.")
    video = _free_name(out, _slug(prompt), Path(videos[0]["filename"]).suffix)
    video.parent.mkdir(parents=True, exist_ok=True)
    video.write_bytes(client.view(videos[0]))
    return Result(video, _contact_sheet(video))


def _contact_sheet(video: Path) -> Path:
    pack.load_media()
    from atelier_media import sheet

    target = video.with_suffix(".png")
    sheet.of_file(video, SHOWN, COLUMNS, WIDTH, times=True, enlarge=True).save(target)
    return target


def _follow(prompt: dict, progress: Progress) -> Callable[[str, dict], None]:
    """A callback that turns ComfyUI's messages into the progress bar."""

    def on_event(kind: str, data: dict) -> None:
        node = prompt.get(str(data.get("node")))
        if node is None:
            return
        title = node["_meta"]["title"]
        if kind == "progress":
            progress.show(title, int(data["value"]), int(data["max"]))
        elif kind == "executing":
            progress.show(title)

    return on_event


def _is_video(item: dict) -> bool:
    return Path(item.get("filename", "")).suffix in (".mp4", ".webm", ".mkv", ".mov")


def _slug(prompt: dict) -> str:
    """A file name from the prompt."""
    texts = [
        node["inputs"].get("prompt") for node in prompt.values() if node["class_type"] == "AtelierEncodeVideoPrompt"
    ]
    words = re.findall(r"[a-z0-9]+", texts[0].lower()) if texts and isinstance(texts[0], str) else []
    return "-".join(words)[:60].strip("-") or "video"


def _free_name(folder: Path, stem: str, suffix: str) -> Path:
    """``stem.suffix`` in ``folder``, with a number if it exists, so that no earlier result is overwritten."""
    number, path = 1, folder / f"{stem}{suffix}"
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}{suffix}"
    return path


def explain(problem: Problem, server: "ComfyServer") -> Problem:
    """A problem with its cause from ComfyUI's log: the pack did not load, or the process ended."""
    if server.process.poll() is not None:
        code = server.process.returncode
        return Problem(
            f"ComfyUI ended while working (exit code {code}). The end of {server.log}:\n{server.last_lines()}"
        )
    lines = server.log.read_text(errors="replace").splitlines()
    reasons = [line.strip() for line in lines if "Cannot import" in line or "comfy_entrypoint" in line]
    return Problem(f"{problem}\n{reasons[-1]}") if reasons else problem


def main() -> int:
    from client import Client
    from comfy_server import prepare_base, running

    options = parser().parse_args()
    if not WORKFLOW.is_file():
        raise Problem(f"{WORKFLOW} is missing; this copy of the repository is not complete.")
    workflow = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    if options.model and options.model not in SHORT_NAMES:
        prepare_base(BASE)
        options.model = library.choice_for(options.model, BASE, options.yes)
    started = time.monotonic()
    say("Starting ComfyUI ...")
    with running(BASE, "demo") as server, Client(server.url) as client:
        device = client.system_stats()["devices"][0]["type"]
        say(f"ComfyUI is up after {time.monotonic() - started:.1f} s ({device}). Making the video ...")
        try:
            result = make_video(client, workflow, choices_from(options), options.out)
        except Problem as problem:
            raise explain(problem, server) from None
    say(f"Done in {time.monotonic() - started:.1f} s.")
    say(f"Video:         {result.video}")
    say(f"Contact sheet: {result.sheet}")
    return 0


if __name__ == "__main__":
    sys.exit(guard(main))
