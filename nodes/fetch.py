"""Fetch a model that Load Video Model offers: with progress on the node, and cancelled with the graph."""

from __future__ import annotations

from comfy_api.latest import io

from ..models.bridge.job import progress
from ..models.library import download
from ..models.library.published import Here, Published, gigabytes, offered
from .notice import show, show_only

LOOK_SECONDS = 0.5


def obtained(node: type[io.ComfyNode], choice: str) -> str:
    """The choice of Load Video Model's list; for an offer that of the model, which is fetched first if it is not here.

    Raises ValueError if downloads are not allowed, RuntimeError if this one failed.
    """
    entry = offered(choice)
    if entry is None:
        return choice
    if needed := Here().missing(entry):
        _fetch(node, entry, needed)
    found = Here().choice(entry)
    if found is None:
        raise RuntimeError(f"{entry.name} was fetched, but ComfyUI does not list it. Press R and choose its file.")
    return found


def _fetch(node: type[io.ComfyNode], entry: Published, needed: list[Published]) -> None:
    from ..api import settings  # not when ComfyUI starts

    settings.check_downloads()
    before = download.current(entry.id)
    shared = before is not None and before.progress.state == download.RUNNING  # the studio's: not this graph's to stop
    running = download.start(entry, needed)
    report = progress(max(1, running.progress.total))
    try:
        while not running.wait(LOOK_SECONDS):
            now = running.progress
            report(now.done)
            show_only(node, f"fetching {entry.name}:\n{told(now)}")
    except BaseException:
        if not shared:
            running.cancel()
        raise
    if running.progress.state != download.DONE:
        raise RuntimeError(running.progress.error or f"The download of {entry.name} was cancelled.")
    show(node, f"fetched {entry.name}")


def told(now: download.Progress) -> str:
    """ "3.1 GB of 6.3 GB, 45 MB/s, 1:10 left"."""
    text = f"{gigabytes(now.done)} of {gigabytes(now.total)}"
    if now.speed:
        text += f", {gigabytes(now.speed)}/s"
    if now.left is not None:
        minutes, seconds = divmod(round(now.left), 60)
        text += f", {minutes}:{seconds:02} left"
    return text
