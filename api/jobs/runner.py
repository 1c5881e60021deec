"""Jobs from the queue to their end: what ComfyUI reports is written down, and the made video put in its place."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from pathlib import Path
from typing import Any

import folder_paths
import psutil

from .. import files, settings
from ..errors import ApiError
from ..graphs import comfy_queue
from ..request import fields
from ..store import ACTIVE, Row, Store
from . import credentials

Json = dict[str, Any]

NOT_BEGUN: Json = {"progress": 0, "step": None, "steps": None}
LOOK_EVERY = 0.2
"""Seconds between two looks at ComfyUI's queue while there are jobs in it."""

PROCESS = f"{os.getpid()}:{psutil.Process().create_time():.2f}"
"""This process, told apart from a later one with the same number."""


def prompt_id(job_id: str) -> str:
    """video_<32 hex digits> -> the canonical UUID that ComfyUI wants."""
    return str(uuid.UUID(job_id.removeprefix("video_")))


class Runner:
    """Watches the jobs of this process. All methods belong to the server's event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._progress: dict[str, Json] = {}
        self._watch: asyncio.Task | None = None
        self._order = asyncio.Lock()
        self._handing: set[str] = set()

    async def recover(self) -> None:
        """At the start: jobs whose process is gone have either left a whole video or have failed."""
        for row in self._store.active():
            if row["process"] != PROCESS and not _alive(row["process"]):
                await self._end_without_comfyui(row, "server_restarted", "ComfyUI stopped before this video was made.")

    async def queue(self, rows: list[Row], prompts: list[Any], extras: list[Any]) -> None:
        """Write down jobs and hand them to ComfyUI, in that order. Raises ApiError, and then none of them exists."""
        async with self._order:  # so that the list has the order of the queue
            handed = []
            self._handing = {row["id"] for row in rows}
            try:
                self._store.add(rows)
                for row, prompt, extra in zip(rows, prompts, extras, strict=True):
                    await comfy_queue.submit(prompt_id(row["id"]), prompt, extra)
                    handed.append(row["id"])
            except BaseException:
                for job_id in handed:
                    comfy_queue.withdraw(prompt_id(job_id))
                for row in rows:
                    self._store.forget(row["id"])
                raise
            finally:
                self._handing = set()
        self.watch()

    def live(self, rows: list[Row]) -> list[Json]:
        """What changes by the second, of jobs as they stand now: progress in percent, step, place in the queue."""
        waiting: tuple[str, ...] = ()
        if any(row["status"] == "queued" for row in rows):
            waiting = comfy_queue.snapshot().waiting
        places = {identity: place for place, identity in enumerate(waiting, start=1)}
        return [
            {
                **self._progress.get(row["id"], NOT_BEGUN),
                "queue_position": places.get(prompt_id(row["id"])) if row["status"] == "queued" else None,
            }
            for row in rows
        ]

    async def cancel(self, row: Row) -> None:
        """Stop a job; one that runs ends at its next step."""
        if row["status"] in ACTIVE and comfy_queue.withdraw(prompt_id(row["id"])):
            self._fail(row, "cancelled", "The job was cancelled before it began.")

    async def delete(self, row: Row) -> None:
        """Remove a job and its files; one that runs is stopped first and disappears when it has stopped."""
        self._store.change(row["id"], deleted=True)
        await self.cancel(row)
        await self._erase_if_deleted(row["id"])

    def watch(self) -> None:
        """Make sure that somebody looks while there are jobs."""
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look_until_done())

    async def clean(self) -> None:
        """Delete what has expired."""
        for row in self._store.expired():
            await self._erase(row["id"])

    async def _look_until_done(self) -> None:
        await asyncio.sleep(LOOK_EVERY)  # first the answer to whoever queued the job
        while rows := [row for row in self._store.active() if row["process"] == PROCESS]:
            try:
                await self._look(rows)
            except Exception:
                logging.exception("Atelier: a look at ComfyUI's queue failed")
            await asyncio.sleep(LOOK_EVERY)

    async def _look(self, rows: list[Row]) -> None:
        now = comfy_queue.snapshot()  # first the queue, then the history: what leaves the one is already in the other
        for row in [row for row in rows if row["id"] not in self._handing]:
            identity = prompt_id(row["id"])
            if identity in now.running:
                self._note_progress(row, identity)
            elif identity not in now.waiting:
                await self._finish(row, comfy_queue.outcome(identity))

    def _note_progress(self, row: Row, identity: str) -> None:
        if row["status"] == "queued":
            self._store.change(row["id"], status="in_progress", started_at=time.time())
        comfy_queue.watch_previews(identity)
        now, before = comfy_queue.steps(identity), self._progress.get(row["id"], NOT_BEGUN)
        percent = min(99, int(100 * now.done / now.all)) if now.all else 0
        counted = {"step": now.at, "steps": now.of} if now.of else {"step": None, "steps": None}
        self._progress[row["id"]] = {"progress": max(percent, before["progress"]), **counted}

    async def _finish(self, row: Row, record: Any) -> None:
        if record is None:
            await self._end_without_comfyui(row, "cancelled", "The job was taken out of ComfyUI's queue.")
            return
        events = {event: data for event, data in (record.get("status") or {}).get("messages", [])}
        if "execution_interrupted" in events:
            self._fail(row, "cancelled", "The job was cancelled while it ran.")
        elif "execution_error" in events:
            error = events["execution_error"]
            self._fail(
                row, "generation_failed", f"{error.get('node_type')}: {error.get('exception_message', '').strip()}"
            )
        elif (made := _made_video(record["outputs"])) is None:
            self._fail(row, "no_video", "The graph ended without saving a video.")
        else:
            await self._complete(row, made)
        await self._erase_if_deleted(row["id"])

    async def _end_without_comfyui(self, row: Row, code: str, message: str) -> None:
        """ComfyUI knows nothing of the job: keep the video if it was saved whole, else say why there is none."""
        saved = sorted(files.job_folder(row["id"]).glob("video*.mp4"))
        if saved:
            await self._complete(row, saved[-1], code, message)
        else:
            self._fail(row, code, message)
        await self._erase_if_deleted(row["id"])

    async def _complete(self, row: Row, video: Path, code: str = "no_video", message: str | None = None) -> None:
        folder = files.job_folder(row["id"])
        try:
            if video.parent != folder:  # a graph of the artist's own saves where it likes, and may share a cached file
                video = await asyncio.to_thread(files.copied, video, folder)
            clip = await asyncio.to_thread(files.probe, video)
            warnings = [*row["warnings"], *await self._signed(video, row)]
            size = await asyncio.to_thread(files.size_of, folder)
        except (ApiError, OSError) as error:
            self._fail(row, code, message or f"The saved video cannot be used: {error}")
            return
        days = settings.current().expire_days
        now = time.time()
        self._store.change(
            row["id"],
            status="completed",
            completed_at=now,
            expires_at=now + days * 86400 if days else None,
            file=video.name,
            bytes=size,
            settings=row["settings"] | _as_made(row["settings"], clip),
            warnings=warnings,
        )
        self._progress.pop(row["id"], None)

    async def _signed(self, video: Path, row: Row) -> list[str]:
        """Sign a video where the owner wants that; warnings where it did not work."""
        owner = settings.current().content_credentials
        return await asyncio.to_thread(credentials.sign, video, row, owner) if owner else []

    def _fail(self, row: Row, code: str, message: str) -> None:
        self._progress.pop(row["id"], None)
        error, kept = {"code": code, "message": message}, files.size_of(files.job_folder(row["id"]))
        self._store.change(row["id"], status="failed", completed_at=time.time(), error=error, bytes=kept)

    async def _erase(self, job_id: str) -> None:
        await asyncio.to_thread(files.remove, files.job_folder(job_id))
        self._store.forget(job_id)

    async def _erase_if_deleted(self, job_id: str) -> None:
        """A deleted job goes as soon as ComfyUI has nothing to do with it any more."""
        row = self._store.job(job_id, deleted=True)
        if row is not None and row["status"] not in ACTIVE:
            await self._erase(job_id)


def _as_made(asked: Any, clip: files.Clip) -> Any:
    """Size and length as they are in the file. `seconds` stays as it was asked for if that is about right."""
    near = asked["seconds"] != fields.AUTO and abs(float(asked["seconds"]) - clip.seconds) < 0.5
    seconds = asked["seconds"] if near else str(max(1, round(clip.seconds)))
    return {
        "size": f"{clip.width}x{clip.height}",
        "seconds": seconds,
        "duration": round(clip.seconds, 3),
        "fps": round(clip.fps, 3),
        "num_frames": clip.frames,
    }


def _made_video(outputs: Any) -> Path | None:
    """The last video file among a graph's outputs, which core reports as pictures."""
    found = None
    for output in outputs.values():
        for items in output.values():
            for item in items if isinstance(items, (list, tuple)) else ():
                if isinstance(item, dict) and str(item.get("filename", "")).endswith((".mp4", ".webm", ".mov", ".mkv")):
                    root = folder_paths.get_directory_by_type(item.get("type", "output"))
                    found = Path(root) / item.get("subfolder", "") / item["filename"]
    return found


def _alive(process: str) -> bool:
    number, _, born = process.partition(":")
    try:
        return f"{psutil.Process(int(number)).create_time():.2f}" == born
    except (psutil.Error, ValueError):
        return False
