"""Jobs from the queue to their end: what ComfyUI reports is written down, and the made video put in its place.

Several ComfyUIs may work on one store. Each looks after the jobs it has handed to its own queue, stops those that
anyone wants stopped, and clears up after the ones that have died.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from pathlib import Path
from typing import Any

import folder_paths

from ...media import MediaError
from ...media.probe import Facts
from .. import errors, files, settings
from ..errors import ApiError
from ..graphs import comfy_queue
from ..request import fields
from ..store import ACTIVE, GONE, Row, Store
from . import credentials
from .processes import Processes

Json = dict[str, Any]

NOT_BEGUN: Json = {"progress": 0, "step": None, "steps": None}
LOOK_EVERY = 0.2
"""Seconds between two looks at ComfyUI's queue while there are jobs in it."""
LOOK_AROUND_EVERY = 1.0
"""Seconds between two looks at what the others that share the store have done, or left undone, while there are
requests."""
IN_HISTORY = 100
"""Of so many jobs that have ended ComfyUI's history keeps the graph, some 70 kB each; each video has its own in it."""
SUFFIXES = (".mp4", ".webm", ".mov", ".mkv")
"""Of files that count as a made video."""


def prompt_id(job_id: str) -> str:
    """video_<32 hex digits> -> the canonical UUID that ComfyUI wants."""
    return str(uuid.UUID(job_id.removeprefix("video_")))


class Runner:
    """Watches the jobs of this process. All methods belong to the server's event loop."""

    def __init__(self, store: Store, processes: Processes) -> None:
        self._store, self._processes = store, processes
        self._progress: dict[str, Json] = {}
        self._handed: dict[str, None] = {}
        """Jobs that are in ComfyUI's queue or running, as far as is known; a set that keeps its order."""
        self._ended: dict[str, None] = {}
        """Jobs that are in ComfyUI's history, the oldest first."""
        self._watch: asyncio.Task | None = None
        self._order = asyncio.Lock()
        self._strange: set[str] = set()
        """Those of them that the log has a complaint about."""
        self._released: set[str] = set()
        """Folders whose claims are still in the store because it was locked."""
        self._next_look_around = 0.0
        self._trouble = ""

    @property
    def process(self) -> str:
        """This ComfyUI among those on the same store."""
        return self._processes.own

    async def recover(self) -> None:
        """At the start: what processes that are gone have left half done is ended or cleared away."""
        await self._bury_the_dead()
        for row in await self._store.half_deleted():
            await self._erase(row["id"])
        if not self._store.new:  # a store that knows nothing yet does not know what is garbage
            found = await asyncio.to_thread(files.only_uploads)  # before the store is asked: claims come before folders
            known = await self._store.folders()
            for folder in found:
                if folder.name not in known:
                    await asyncio.to_thread(files.remove, folder)

    async def queue(self, rows: list[Row], prompts: list[Any], extras: list[Any]) -> None:
        """Write down jobs and hand them to ComfyUI, in that order. Raises ApiError, and then none of them exists."""
        async with self._order:  # so that the list has the order of the queue
            try:
                await self._store.add(rows, settings.current())
                for row, prompt, extra in zip(rows, prompts, extras, strict=True):
                    await comfy_queue.submit(prompt_id(row["id"]), prompt, extra)
            except BaseException:
                for row in rows:
                    comfy_queue.withdraw(prompt_id(row["id"]))
                    self._handed[row["id"]] = None  # until it is forgotten: if the store is locked, a look does it
                for row in rows:
                    await self._store.forget(row["id"])
                    self._handed.pop(row["id"], None)
                raise
            else:
                self._handed |= dict.fromkeys(row["id"] for row in rows)
            finally:
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
        """Stop a job; one that runs ends at its next step. A job of another ComfyUI is stopped by that one."""
        if row["status"] in ACTIVE:
            await self._store.change(row["id"], stopping=True)
            if row["process"] == self.process:
                await self._stop(row)

    async def delete(self, row: Row) -> None:
        """Remove a job and its files; one that runs is stopped first and disappears when it has stopped."""
        await self._store.change(row["id"], deleted=True)
        await self.cancel(row)
        await self._erase_if_deleted(row["id"])

    def watch(self) -> None:
        """Make sure that somebody looks while there are jobs."""
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look_until_done())

    async def clean(self) -> None:
        """Delete what has expired, and clear up after processes that have died."""
        for row in await self._store.expired():
            await self._store.change(row["id"], deleted=True)
            await self._erase(row["id"])
        while self._released:
            folder = next(iter(self._released))
            await self._store.release(folder)
            self._released.discard(folder)
        if time.monotonic() >= self._next_look_around:
            self._next_look_around = time.monotonic() + LOOK_AROUND_EVERY
            await self._bury_the_dead()
            await self._forget_what_others_deleted()

    async def release(self, folder: str) -> None:
        """Give up a claim on a folder; where the store is locked, with one of the next requests."""
        self._released.add(folder)
        try:
            await self._store.release(folder)
            self._released.discard(folder)
        except ApiError as error:
            logging.warning("Atelier: %s", error)

    async def _bury_the_dead(self) -> None:
        for process in await self._store.processes():
            if self._processes.alive(process):
                continue
            for row in await self._store.active(process):
                await self._end_without_comfyui(row, GONE, "ComfyUI stopped before this video was made.")
            for folder in await self._store.claimed(process):
                await asyncio.to_thread(files.remove, files.folder_of(folder))
                await self._store.release(folder)

    async def _forget_what_others_deleted(self) -> None:
        ended = list(self._ended)
        known = await self._store.known(ended)
        for job_id in ended:
            if job_id not in known:
                self._forget(job_id)

    def _forget(self, job_id: str) -> None:
        """Take a job out of ComfyUI's history."""
        self._ended.pop(job_id, None)
        comfy_queue.forget(prompt_id(job_id))

    async def _look_until_done(self) -> None:
        await asyncio.sleep(LOOK_EVERY)  # first the answer to whoever queued the job
        while self._handed:
            try:
                await self._look()
                self._trouble = ""
            except Exception as error:  # the store cannot be used now, or api.json: the next look may be luckier
                if str(error) != self._trouble:
                    logging.exception("Atelier: a look at ComfyUI's queue failed")
                self._trouble = str(error)
            await asyncio.sleep(LOOK_EVERY)

    async def _look(self) -> None:
        for row in await self._store.stopping(self.process):
            await self._stop(row)
        handed = list(self._handed)
        now = comfy_queue.snapshot()  # first the queue, then the history: what leaves the one is already in the other
        waiting = set(now.waiting)
        for job_id in handed:
            identity = prompt_id(job_id)
            if identity not in waiting:
                await self._follow(job_id, identity in now.running)

    async def _follow(self, job_id: str, runs: bool) -> None:
        """See how far a job is, or how it has ended. What goes wrong with its outputs is its own affair."""
        row = await self._store.row(job_id)
        try:
            if row is None:
                await self._abandon(job_id, runs)
            elif runs:
                await self._note_progress(row)
            elif row["status"] in ACTIVE or (row["error"] or {}).get("code") == GONE:
                await self._finish(row, comfy_queue.outcome(prompt_id(job_id)))
            else:
                self._let_go(job_id)
        except (ApiError, settings.SettingsError):  # not the job's fault: it is looked at again
            raise
        except Exception:
            if job_id not in self._strange:
                logging.exception("Atelier: what ComfyUI says of %s cannot be used", job_id)
            self._strange.add(job_id)
            if not runs:
                await self._fail(row, "unusable_output", "The graph's outputs cannot be read; ComfyUI's log says more.")
                await self._erase_if_deleted(job_id)

    async def _abandon(self, job_id: str, runs: bool) -> None:
        """A job that the store no longer knows: whoever took this process for dead has deleted it."""
        if runs:
            comfy_queue.withdraw(prompt_id(job_id))
        else:
            await self._erase(job_id)
            self._let_go(job_id)

    def _let_go(self, job_id: str) -> None:
        """Nothing has to be known of a job any more but what the store says."""
        if job_id in self._handed:
            self._ended[job_id] = None
            while len(self._ended) > IN_HISTORY:
                self._forget(next(iter(self._ended)))
        self._handed.pop(job_id, None)
        self._progress.pop(job_id, None)
        self._strange.discard(job_id)

    async def _stop(self, row: Row) -> None:
        if comfy_queue.withdraw(prompt_id(row["id"])):
            await self._fail(row, "cancelled", "The job was cancelled before it began.")
            await self._erase_if_deleted(row["id"])

    async def _note_progress(self, row: Row) -> None:
        if row["status"] != "in_progress":
            await self._store.begin(row["id"])
        identity = prompt_id(row["id"])
        comfy_queue.watch_previews(identity)
        now, before = comfy_queue.steps(identity), self._progress.get(row["id"], NOT_BEGUN)
        percent = min(99, int(100 * now.done / now.all)) if now.all else 0
        counted = {"step": now.at, "steps": now.of} if now.of else {"step": None, "steps": None}
        self._progress[row["id"]] = {"progress": max(percent, before["progress"]), **counted}

    async def _finish(self, row: Row, record: Any) -> None:
        if record is None:
            await self._end_without_comfyui(row, "cancelled", "The job was taken out of ComfyUI's queue.")
            return
        events = {event: data for event, data in (record.get("status") or {}).get("messages") or []}
        if "execution_interrupted" in events:
            await self._fail(row, "cancelled", "The job was cancelled while it ran.")
        elif "execution_error" in events:
            await self._fail(row, *errors.node_failed(events["execution_error"]))
        elif (made := _made_video(record.get("outputs") or {})) is None:
            await self._fail(row, "no_video", "The graph ended without saving a video.")
        else:
            await self._complete(row, made)
        await self._erase_if_deleted(row["id"])

    async def _end_without_comfyui(self, row: Row, code: str, message: str) -> None:
        """ComfyUI knows nothing of the job: keep the video if it was saved whole, else say why there is none."""
        saved = sorted(files.job_folder(row["id"]).glob("video*.mp4"))
        if saved:
            await self._complete(row, saved[-1], code, message)
        else:
            await self._fail(row, code, message)
        await self._erase_if_deleted(row["id"])

    async def _complete(self, row: Row, video: Path, code: str = "no_video", message: str | None = None) -> None:
        folder, days = files.job_folder(row["id"]), settings.current().expire_days
        try:
            if video.parent != folder:  # a graph of the artist's own saves where it likes, and may share a cached file
                video = await asyncio.to_thread(files.copied, video, folder, files.MADE)
            clip = await asyncio.to_thread(files.facts, video)
            warnings = [*row["warnings"], *await self._signed(video, row)]
        except OSError as error:
            full = errors.disk_full(error)
            reason = full.message if full else f"The video cannot be read: {errors.words(error)}."
            await self._fail(row, full.code if full else code, message or reason)
            return
        except MediaError as error:
            await self._fail(row, code, message or f"The saved video cannot be used: {error}")
            return
        now = time.time()
        made = {
            "expires_at": now + days * 86400 if days else None,
            "file": video.name,
            "settings": row["settings"] | _as_made(row["settings"], clip),
            "warnings": warnings,
        }
        await self._end(row, "completed", None, **made)

    async def _signed(self, video: Path, row: Row) -> list[str]:
        """Sign a video where the owner wants that; warnings where it did not work."""
        owner = settings.current().content_credentials
        return await asyncio.to_thread(credentials.sign, video, row, owner) if owner else []

    async def _fail(self, row: Row, code: str, message: str) -> None:
        await self._end(row, "failed", {"code": code, "message": message})

    async def _end(self, row: Row, status: str, error: Json | None, **values: Any) -> None:
        """Note the end of a job in the store, and stop looking at it."""
        size = await asyncio.to_thread(files.size_of, files.job_folder(row["id"]))
        values |= {"status": status, "completed_at": time.time(), "error": error, "bytes": size}
        await self._store.end(row["id"], row["process"] == self.process, **values)
        self._let_go(row["id"])

    async def _erase(self, job_id: str) -> None:
        """Remove what there is of a job. Where a file cannot be removed now, the next start tries again."""
        self._forget(job_id)
        if await asyncio.to_thread(files.remove, files.job_folder(job_id)):
            await self._store.forget(job_id)

    async def _erase_if_deleted(self, job_id: str) -> None:
        """A deleted job goes as soon as ComfyUI has nothing to do with it any more."""
        row = await self._store.row(job_id)
        if row is not None and row["deleted"] and row["status"] not in ACTIVE:
            await self._erase(job_id)


def _as_made(asked: Any, clip: Facts) -> Any:
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
    """The last video file among a graph's outputs, which core reports as pictures. What does not name one is passed
    over: nodes of other packs may say there what they like."""
    found = None
    for output in outputs.values():
        for items in output.values() if isinstance(output, dict) else ():
            for item in items if isinstance(items, (list, tuple)) else ():
                found = _file_of(item) or found
    return found


def _file_of(item: Any) -> Path | None:
    """The video file that an output names, in one of ComfyUI's folders."""
    if not isinstance(item, dict) or not str(item.get("filename", "")).lower().endswith(SUFFIXES):
        return None
    root = folder_paths.get_directory_by_type(str(item.get("type") or "output"))
    if root is None:
        return None
    file = (Path(root) / str(item.get("subfolder") or "") / item["filename"]).resolve()
    return file if file.is_relative_to(Path(root).resolve()) else None
