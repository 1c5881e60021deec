"""Published models in /v1/models: which are here, what the others take to fetch, and how far a download is."""

from __future__ import annotations

import asyncio
from typing import Any

from ..models.bridge.machine import machine
from ..models.library import download
from ..models.library.fit import Memory
from ..models.library.published import Here, Published, catalogue, models
from . import settings
from .errors import ApiError, without_paths

Json = dict[str, Any]


def listed() -> list[Json]:
    """The models that could be fetched, best to start with first. Reads ComfyUI's folders: not on the event loop."""
    here = Here()
    return [offer(entry, here) for entry in models() if not here.has(entry)]


def offer(entry: Published, here: Here) -> Json:
    """A model that is not here, as /v1/models lists it."""
    head = {"id": entry.id, "object": "model", "created": 0, "owned_by": "atelier", "installed": False}
    about = {"local_model": None, "name": entry.name, "family": entry.family, "problem": None}
    return head | about | details(entry, here)


def details(entry: Published, here: Here) -> Json:
    """What the catalogue knows of a model, what is missing of it here, and its last download."""
    fetched = _download(entry)
    if fetched and fetched["state"] == "done" and here.missing(entry):
        here = Here()  # the last file came after that look at the folders
    missing = here.missing(entry)
    return {
        "published": {
            "id": entry.id,
            "name": entry.name,
            "about": entry.about,
            "bytes": entry.bytes,
            "licence": dict(entry.licence),
            "page": entry.page,
            "gated": entry.gated,
            "memory": memory(entry.memory),
            "missing": [{"id": part.id, "name": part.name, "bytes": part.bytes} for part in missing],
        },
        "download": fetched,
    }


def memory(needed: Memory | None) -> Json | None:
    """What a model takes at its authors' size in bytes, and whether that fits this machine."""
    if needed is None:
        return None
    here = machine()
    device = {"name": here.device, "bytes": here.device_bytes, "main_bytes": here.main_bytes}
    return {"network": needed.network, "step": needed.step, "verdict": needed.verdict(here), "device": device}


def published_as(choice: str, here: Here) -> Published | None:
    """The entry of the catalogue that a choice of Load Video Model is; None for another model."""
    return next((entry for entry in models() if here.choice(entry) == choice), None)


def _download(entry: Published) -> Json | None:
    running = download.current(entry.id)
    if running is None:
        return None
    now = running.progress
    return {
        "state": now.state,
        "bytes": now.done,
        "total": now.total,
        "bytes_per_second": round(now.speed),
        "seconds_left": None if now.left is None else round(now.left, 1),
        "error": {"code": now.code, "message": without_paths(now.error)} if now.error else None,
    }


def find(id: str) -> Published:
    """The model of the catalogue with this id. Raises ApiError 404."""
    entry = catalogue().get(id)
    if entry is None or entry not in models():
        raise ApiError(404, "model_not_found", f"'{id[:100]}' is not a published model's id; see /v1/models.", "id")
    return entry


async def start(id: str) -> Json:
    """Fetch a model and what it needs, unless it is here. Returns its entry. Raises ApiError 403, 404."""
    settings.check_downloads()
    entry = find(id)

    def begin() -> Json:
        here = Here()
        if missing := here.missing(entry):
            download.start(entry, missing)
        return offer(entry, here) | {"installed": here.has(entry)}

    return await asyncio.to_thread(begin)


async def cancel(id: str) -> Json:
    """Stop a model's download; what has arrived is kept for the next one. Raises ApiError 403, 404."""
    settings.check_downloads()
    entry = find(id)
    running = download.current(entry.id)
    if running is None:
        raise ApiError(404, "not_found", f"{entry.name} is not being downloaded.", "id")

    def stop() -> Json:
        running.cancel()
        running.wait(2)
        here = Here()
        return offer(entry, here) | {"installed": here.has(entry)}

    return await asyncio.to_thread(stop)


async def remove(id: str) -> Json:
    """Delete a model's files, not the parts that other models use, too. Raises ApiError 403, 404."""
    settings.check_downloads()
    entry = find(id)
    running = download.current(entry.id)

    def delete() -> int:
        if running is not None:
            running.cancel()
            running.wait(10)
        return download.remove(entry)

    if not await asyncio.to_thread(delete) and running is None:
        raise ApiError(404, "not_found", f"{entry.name} is not here.", "id")
    return {"id": entry.id, "object": "model", "deleted": True}
