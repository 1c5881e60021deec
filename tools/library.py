"""Published models by name: what is here, what can be fetched, what fits this machine; get and remove them.

run.py reads the options from here with a bare Python, so imports that need the environment are inside functions.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import comfyui
import pack
from console import Problem, Progress, guard, say

if TYPE_CHECKING:
    from atelier.models.library.published import Here, Published

BASE = comfyui.ROOT / ".comfyui" / "base"
VERDICTS = {"fits": "fits", "offloaded": "fits partly: slower", "too large": "too large", "": ""}


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="run.py models", description="Published models: list, get, remove.")
    options.add_argument("action", nargs="?", choices=("list", "get", "remove"), default="list")
    options.add_argument("names", nargs="*", metavar="NAME", help="for example ltx-2b-0.9.8-distilled")
    options.add_argument("--yes", action="store_true", help="do not ask before fetching or removing")
    options.add_argument(
        "--base", type=Path, metavar="DIR", default=BASE, help="the folder that has 'models' (default: run.py's own)"
    )
    return options


def load_library(base: Path) -> None:
    """Make `atelier.models.library` importable, with the model folders of `base`, and of extra_model_paths.yaml."""
    pack.prepare_comfyui(base)
    pack.load()
    extra = comfyui.located() / "extra_model_paths.yaml"
    if extra.is_file():
        from utils.extra_config import load_extra_path_config

        load_extra_path_config(str(extra))


def show_list() -> None:
    from atelier.models.library import published

    here, models = published.Here(), published.models()
    own = [choice for choice in here.choices if choice not in {here.choice(entry) for entry in models}]
    say("Here:")
    for entry in models:
        if choice := here.choice(entry):
            lacking = ", ".join(part.id for part in here.missing_parts(entry))
            say(f"  {entry.id:32} {choice}{f'  (needs: {lacking})' if lacking else ''}")
    for choice in own:
        say(f"  {'':32} {choice}")
    say("\nTo download with 'python run.py models get NAME':")
    this = machine()
    for entry in models:
        if not here.has(entry):
            verdict = VERDICTS[entry.memory.verdict(this) if entry.memory else ""]
            say(f"  {entry.id:32} {published.gigabytes(entry.bytes):>8}  {verdict:20} {entry.about}")
    say("\nParts, which come with the models that need them:")
    for entry in published.catalogue().values():
        if entry.kind != published.MODEL and not here.has(entry):
            say(f"  {entry.id:32} {published.gigabytes(entry.bytes):>8}  {'':20} {entry.about}")
    held = f"{this.device}, {this.device_bytes / 1e9:.0f} GB; " if this.device != "cpu" else "no GPU; "
    say(f"\n'fits' is for this machine ({held}{this.main_bytes / 1e9:.0f} GB of main memory), at the authors' size.")


def machine():
    """This machine's device and memory. ComfyUI in this process is told to use the CPU, so torch is asked."""
    import psutil
    import torch
    from atelier.models.library.fit import Machine

    main = psutil.virtual_memory().total
    if not torch.cuda.is_available():
        return Machine("cpu", main, main)
    facts = torch.cuda.get_device_properties(0)
    return Machine(facts.name, facts.total_memory, main)


def find(name: str) -> "Published":
    from atelier.models.library import published

    entry = published.find(name)
    if entry is None:
        near = [one.id for one in published.models() if name.lower() in f"{one.id} {one.name}".lower()]
        known = f"Did you mean: {', '.join(near[:6])}?" if near else "See: python run.py models"
        raise Problem(f"There is no published model '{name}'. {known}")
    return entry


def get(entry: "Published", yes: bool) -> "Here":
    """Fetch a model and what it needs, after asking. Raises Problem. Returns what is here then."""
    from atelier.models.library import download, published

    here = published.Here()
    needed = here.missing(entry)
    if not needed:
        say(f"{entry.name} is here: {here.choice(entry) or entry.id}")
        return here
    for part in needed:
        folder = part.folder or part.files[0].folder
        say(f"  {part.name}: {published.gigabytes(part.bytes)} from {part.page} into models/{folder}")
        say(f"    licence: {part.licence['name']} ({part.licence['url']})")
    size = published.gigabytes(sum(part.bytes for part in needed))
    _ask(f"Fetch {size}?", yes, f"{size} would be fetched")
    running, progress = download.start(entry, needed), Progress()
    try:
        while not running.wait(0.5):
            now = running.progress
            pace = f", {published.gigabytes(now.speed)}/s" if now.speed else ""
            left = f", {_clock(now.left)} left" if now.left is not None else ""
            done, total = published.gigabytes(now.done), published.gigabytes(now.total)
            label = f"{done} of {total}{pace}{left}" if progress.live else f"fetching {now.file}"
            progress.show(label, int(100 * now.done / max(1, now.total)), 100)
    except BaseException:
        running.cancel()
        running.wait(5)
        progress.close()
        say("What has arrived is kept: the same command continues there.")
        raise
    progress.close()
    if running.progress.state != download.DONE:
        raise Problem(running.progress.error)
    say(f"{entry.name} is here: {published.Here().choice(entry) or entry.id}")
    return published.Here()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def _ask(question: str, yes: bool, otherwise: str) -> None:
    """Raises Problem if the person does not agree, or cannot be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Problem(f"{otherwise}; nobody can be asked here. Add --yes to agree.")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise Problem("Nothing was done.")


def remove(entry: "Published", yes: bool) -> None:
    from atelier.models.library import download, published

    paths = published.own_paths(entry)
    if not paths:
        raise Problem(f"{entry.name} is not here.")
    for path in paths:
        say(f"  {path}")
    _ask("Delete?", yes, "These files would be deleted")
    download.remove(entry)
    say(f"{entry.name} is removed. What other models need, too, was kept.")


def choice_for(name: str, base: Path, yes: bool) -> str:
    """The loader's name of a model: `name` itself, or that of the published model it means, fetched if need be."""
    load_library(base)
    from atelier.models.library import published
    from atelier.models.library.folders import as_listed

    entry = published.find(name)
    if entry is None or (as_listed(name, published.Here().choices) and not published.Here().missing_parts(entry)):
        return name
    return get(entry, yes).choice(entry)


def main() -> int:
    options = parser().parse_args()
    if (options.action == "list") == bool(options.names):
        raise Problem("Write: models, models get NAME, or models remove NAME.")
    from comfy_server import prepare_base

    if options.base == BASE:
        prepare_base(BASE)
    elif not (options.base / "models").is_dir():
        raise Problem(f"{options.base} has no folder 'models'. Name ComfyUI's folder, or its base directory.")
    load_library(options.base.resolve())
    if options.action == "list":
        show_list()
    for entry in [find(name) for name in options.names]:
        get(entry, options.yes) if options.action == "get" else remove(entry, options.yes)
    return 0


if __name__ == "__main__":
    sys.exit(guard(main))
