"""Imports: POST /v1/videos/imports puts a finished clip among the videos, with the settings that its own tags name."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import BaseModel, Field

from ...media import tags
from ...models.timeline import storyboard
from .. import archive, files, settings
from ..errors import bad
from ..jobs import claims, runner, start
from ..request import body, fields, references
from ..state import Api
from ..store import Row

Json = dict[str, Any]

OPERATION = "import"
"""The operation of a clip without settings of ours."""
TEXTS = {
    **{"prompt": 32_000, "local_model": 300, "operation": 40, "style": 300, "negative_prompt": 32_000, "id": 80},
    "storyboard": storyboard.MAX_TEXT,
}
"""Texts that are taken from a clip's tags, and the most letters of each."""
DONE = {"progress": 100, "queue_position": None, "step": None, "steps": None}
"""The state of a finished job, as the runner says it."""
NUMBERS = ("seed", "num_inference_steps", "guidance_scale", "strength")


class Sent(BaseModel):
    """The request of POST /v1/videos/imports."""

    video: fields.Reference = Field(None, description="the clip")
    prompt: str | None = Field(None, max_length=32_000, description="its name, if its tags have no prompt")


async def take_in(api: Api, request: web.Request) -> web.Response:
    identity = start.new_id(files.JOB)
    folder = files.job_folder(identity)
    async with claims.received(request, identity, api.store, api.runner) as sent:
        wanted = await body.off_the_loop(fields.parsed, Sent, sent.fields)
        clip = await references.resolve("video", wanted.video, sent, folder, api.store)
        if clip is None:
            raise bad("'video' is missing. Send a clip.", "video", "missing_required_parameter")
        if clip.kind != files.VIDEO:
            raise bad(f"'video' must be a clip, not {start.KIND_NAMES[clip.kind]}.", "video")
        said = await asyncio.to_thread(_said, clip.path)
        if there := await _already(api, said, clip.path):
            await asyncio.to_thread(files.remove, folder)
            await api.runner.release(identity)
            return web.json_response(fields.video(there, DONE))
        video = clip.path.rename(folder / f"{files.VIDEO_NAME}_00001_{clip.path.suffix}")
        row = await asyncio.to_thread(_row, identity, video, said, wanted.prompt)
        row |= {"process": api.runner.process, "bytes": await asyncio.to_thread(files.size_of, folder)}
        await api.store.add([row], settings.current())
        if archive.current() is not None:
            api.runner.mover.look_after(identity)
    return web.json_response(fields.video(row, DONE))


async def _already(api: Api, said: Json, clip: Path) -> Row | None:
    """The video that this file is a copy of, if it is still here."""
    row = await api.store.job(said["id"]) if "id" in said else None
    if row is None or row["status"] != "completed":
        return None
    return row if await _size(row) == clip.stat().st_size else None


async def _size(row: Row) -> int | None:
    """Bytes of a finished video, wherever it is; None if its file is gone."""
    file, place = files.job_folder(row["id"]) / row["file"], archive.current()
    if file.is_file():
        return file.stat().st_size
    stored = await asyncio.to_thread(place.about, row["id"], row["file"]) if place else None
    return stored.size if stored else None


def _row(identity: str, video: Path, said: Json, name: str | None) -> Row:
    """The finished job of a clip. Raises MediaError."""
    facts = files.facts(video)
    now, days = time.time(), settings.current().expire_days
    measured = runner.measured({"seconds": fields.AUTO}, facts)
    shown = {key: said.get(key) for key in ("local_model", "style", "negative_prompt", "storyboard", *NUMBERS)}
    return {
        "id": identity,
        "operation": operation if re.fullmatch(r"[a-z]+", operation := said.get("operation", "")) else OPERATION,
        "status": "completed",
        "created_at": now,
        "started_at": None,
        "completed_at": now,
        "expires_at": now + days * 86400 if days else None,
        "error": None,
        "model": said.get("local_model") or fields.MODEL,
        "prompt": said.get("prompt") or name or OPERATION,
        "source": None,
        "settings": measured | {"local_model": OPERATION} | {k: v for k, v in shown.items() if v is not None},
        "warnings": [],
        "file": video.name,
        "deleted": False,
    }


def _said(video: Path) -> Json:
    """What a clip that the API has made says about itself in its tags: only texts and numbers that we know, else {}."""
    said: Json = {}
    with contextlib.suppress(ValueError, OSError, RecursionError):
        about = json.loads(tags.of_clip(video).get("atelier", "null"))
        if isinstance(about, dict):
            said |= {k: v for k, most in TEXTS.items() if isinstance(v := about.get(k), str) and 0 < len(v) <= most}
            said |= {k: v for k in NUMBERS if isinstance(v := about.get(k), (int, float)) and 0 <= v < 2**64}
            json.dumps(said).encode()
    return said
