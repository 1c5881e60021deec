"""From a request to jobs: which saved graph it runs, with which values, and what is told about it."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import comfy_queue, files, graphs, references, settings, wire
from .body import Body
from .errors import ApiError, bad, missing
from .references import Given
from .runner import PROCESS, Runner
from .settings import LocalModel
from .store import Row, Store

Json = dict[str, Any]

SHOWN = ("seed", "fps", "num_frames", "num_inference_steps", "guidance_scale", "negative_prompt", "style", "strength")
"""What is told about a job beside OpenAI's own keys."""

LOADER = "AtelierLoadVideoModel"
CONTEXT_FRAMES = 9
"""Frames of a clip that its extension begins with."""
MAX_SEED = 2**31
"""Below this our own seeds are drawn: every program can hold them."""


def new_id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"


@dataclass(frozen=True)
class Media:
    """The pictures and the clip of a request."""

    image: Given | None = None
    last_frame: Given | None = None
    video: Given | None = None

    def in_folder(self, folder: Path) -> Media:
        """The same, copied for another job."""
        given = {name: getattr(self, name) for name in ("image", "last_frame", "video")}
        return Media(**{n: g and replace(g, path=files.copied(g.path, folder)) for n, g in given.items()})

    def values(self) -> Json:
        return {n: files.for_graph(g.path) for n in ("image", "last_frame", "video") if (g := getattr(self, n))}


async def start(operation: str, shot: wire.Shot, body: Body, ids: list[str], store: Store, runner: Runner) -> list[Row]:
    """Queue one job per id; their files belong under the folder of the first. Raises ApiError."""
    local = await local_model(shot.model)
    _refuse_if_full(store)
    media = await _media(operation, shot, body, files.job_folder(ids[0]), store)
    if operation == "generate" and media.video is not None:
        operation = "edit"
    graph = await graphs.load(operation)
    clip = await asyncio.to_thread(files.probe, media.video.path) if media.video else None
    values, warnings = _values(operation, shot, local, clip)
    warnings += _unheard(shot, media, graph)
    seed = secrets.randbelow(MAX_SEED) if shot.seed is None else shot.seed
    rows, prompts, extras = [], [], []
    for number, job_id in enumerate(ids):
        own = media if number == 0 else await asyncio.to_thread(media.in_folder, files.job_folder(job_id))
        values |= {"seed": (seed + number) % 2**64, "output": f"atelier/videos/{job_id}/video", **own.values()}
        row = _row(job_id, operation, shot, local, media, values, clip, warnings)
        if len(ids) > 1:
            row["settings"]["variations"] = ids
        rows.append(row)
        prompt, workflow = graph.filled(values)
        about = {"id": job_id, "operation": operation, "prompt": shot.prompt, **row["settings"]}
        prompts.append(prompt)
        extras.append({"workflow": workflow, "atelier": about})
    await runner.queue(rows, prompts, extras)
    return rows


async def model_names() -> list[str]:
    """What a request can name: the owner's and OpenAI's names, then whatever Load Video Model has in its list."""
    return [*settings.current().names(), *await _loader_choices()]


async def local_model(name: str) -> LocalModel:
    """The model that a request's name stands for. Raises ApiError 404."""
    local = settings.current().local(name)
    if local is None and name in await _loader_choices():
        local = next((m for m in settings.BUILT_IN.values() if m.model == name), LocalModel(model=name))
    if local is None:
        raise ApiError(404, "model_not_found", f"The model '{name[:100]}' does not exist; see /v1/models.", "model")
    return local


async def _loader_choices() -> list[str]:
    return await comfy_queue.choices(LOADER, "model")


def _refuse_if_full(store: Store) -> None:
    limits = settings.current()
    if limits.quota_gb is not None and store.bytes_kept() >= limits.quota_gb * 1e9:
        raise ApiError(403, "quota_exceeded", f"The videos take {limits.quota_gb:g} GB or more: delete some first.")
    if len(store.active()) >= limits.max_waiting:
        raise ApiError(429, "queue_full", f"{limits.max_waiting} jobs are waiting already.")


async def _media(operation: str, shot: wire.Shot, body: Body, folder: Path, store: Store) -> Media:
    async def given(name: str, value: Any) -> Given | None:
        return await references.resolve(name, value, body, folder, store)

    first, last = await given("input_reference", shot.input_reference), await given("last_frame", shot.last_frame)
    if last is not None and last.kind != files.IMAGE:
        raise bad("'last_frame' must be a picture.", "last_frame")
    if first is None and shot.characters:
        first = await _character(shot.characters[0], body, folder, store)
    if first is not None and first.kind == files.VIDEO:
        return Media(None, last, first)
    video = None
    if operation != "generate":
        video = await given("video", shot.video)
        if video is None:
            raise bad("'video' is missing: a file, or {\"id\": ...}.", "video", "missing_required_parameter")
        if video.kind != files.VIDEO:
            raise bad("'video' must be a clip, this is a picture.", "video")
    return Media(first, last, video)


async def _character(value: str | Json, body: Body, folder: Path, store: Store) -> Given:
    identity = value.get("id") if isinstance(value, dict) else value
    if not isinstance(identity, str) or store.character(identity) is None:
        raise missing("character", str(identity)[:100])
    return await references.resolve("characters", identity, body, folder, store)


def _values(operation: str, shot: wire.Shot, local: LocalModel, clip: files.Clip | None) -> tuple[Json, list[str]]:
    """What the graph is given, and what had to be made smaller for the model."""
    values = {name: getattr(shot, name) for name in graphs.FIELDS & set(wire.Shot.model_fields)}
    values |= {"model": local.model, "image": None, "last_frame": None, "video": None}
    if shot.size:
        values["width"], values["height"] = wire.sides(shot.size)
    if clip is not None:
        values |= {"fps": values["fps"] or clip.fps, "source_frames": clip.frames}
        values |= {"width": values["width"] or clip.width, "height": values["height"] or clip.height}
    if operation == "edit":
        values["num_frames"] = min(clip.frames, values["num_frames"] or clip.frames)
    if operation == "extend":
        if not shot.seconds and not shot.num_frames:
            raise bad("'seconds' is missing: how much is to be added.", "seconds", "missing_required_parameter")
        added = shot.num_frames or max(1, round(shot.seconds * values["fps"]))
        context = min(CONTEXT_FRAMES, clip.frames)
        values |= {"context_frames": context, "context_start": clip.frames - context, "num_frames": context + added}
    if operation == "generate" and not values["num_frames"] and not values["seconds"]:
        values["seconds"] = local.seconds
    if not values["width"] and not values["height"] and local.size:
        values["width"], values["height"] = wire.sides(local.size)
    return values, _limit(values, local)


def _limit(values: Json, local: LocalModel) -> list[str]:
    """Bring size and length down to what the model is asked for at most; says what was changed."""
    warnings = []
    width, height = values["width"], values["height"]
    if width and height and local.max_pixels and width * height > local.max_pixels:
        scale = math.sqrt(local.max_pixels / (width * height))
        values["width"], values["height"] = (max(8, round(side * scale / 8) * 8) for side in (width, height))
        warnings.append(f"size {width}x{height} is too large for {local.model}: {values['width']}x{values['height']}.")
    for name, most in (("seconds", local.max_seconds), ("num_frames", local.max_frames)):
        if most and values[name] and values[name] > most:
            warnings.append(f"{name} {values[name]:g} is too long for {local.model}: {most:g}.")
            values[name] = most
    return warnings


def _unheard(shot: wire.Shot, media: Media, graph: graphs.Graph) -> list[str]:
    """What the client said and nobody listens to."""
    heard = graph.fields()
    if {"width", "height"} & heard:
        heard |= {"size"}
    if "num_frames" in heard or "seconds" in heard:
        heard |= {"num_frames", "seconds"}
    said = shot.model_fields_set - {"n", "characters", "input_reference", "model", *shot.unknown()}
    said |= {name for name in ("image", "last_frame") if getattr(media, name)}
    return [
        *(f"'{name}' is not known here." for name in shot.unknown()),
        *(f"'{name}' is not used by the graph {graph.file.stem}." for name in sorted(said - heard)),
        *(["Only the first character is used." for _ in (shot.characters or [])[1:]]),
    ]


def _row(
    job_id: str,
    operation: str,
    shot: wire.Shot,
    local: LocalModel,
    media: Media,
    values: Json,
    clip: files.Clip | None,
    warnings: list[str],
) -> Row:
    width, height = values["width"], values["height"]
    seconds = values["seconds"] or (values["num_frames"] / values["fps"] if _both(values) else None)
    if operation == "extend":
        seconds = clip.seconds + (values["num_frames"] - values["context_frames"]) / values["fps"]
    return {
        "id": job_id,
        "operation": operation,
        "status": "queued",
        "created_at": time.time(),
        "model": shot.model,
        "prompt": shot.prompt,
        "source": media.video.source if media.video else None,
        "settings": {
            "size": f"{width}x{height}" if width and height else wire.AUTO,
            "seconds": _seconds_text(seconds, exactly=operation == "generate") if seconds else wire.AUTO,
            "local_model": local.model,
            **{name: values[name] for name in SHOWN},
        },
        "warnings": warnings,
        "process": PROCESS,
        "bytes": 0,
        "deleted": False,
    }


def _seconds_text(value: float, exactly: bool) -> str:
    """Seconds the way OpenAI writes them: a string, a whole number unless the client said otherwise."""
    return f"{value:g}" if exactly else str(max(1, round(value)))


def _both(values: Json) -> bool:
    return bool(values["num_frames"] and values["fps"])
