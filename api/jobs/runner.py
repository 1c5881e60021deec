"""Watches jobs from ComfyUI's queue to their end: records status and progress, and puts the video into its folder.

Several ComfyUIs may share one store. Each watches the jobs in its own queue, stops those that a client cancelled
through any of them, and cleans up after processes that have died.
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
from .. import archive, files, settings
from ..errors import ApiError, disk_full, node_failed, summary
from ..graphs.queue import Queue, events
from ..request import fields
from ..store import ACTIVE, GONE, Row, Store
from . import credentials
from .mover import Mover
from .processes import Processes

Json = dict[str, Any]

NOT_BEGUN: Json = {"progress": 0, "step": None, "steps": None}
LOOK_EVERY = 0.2
"""Seconds between two looks at ComfyUI's queue while there are jobs in it."""
LOOK_AROUND_EVERY = 1.0
"""Seconds between two checks for dead processes and for jobs deleted by others. Only requests cause a check."""
IN_HISTORY = 100
"""Ended jobs that stay in ComfyUI's history, at about 70 kB each. A video has its graph in its own file too."""
SUFFIXES = (".mp4", ".webm", ".mov", ".mkv")
"""Suffixes of video files among a graph's outputs."""


def prompt_id(job_id: str) -> str:
    """ComfyUI's id of a job: video_<32 hex digits> as a canonical UUID."""
    return str(uuid.UUID(job_id.removeprefix("video_")))


class Runner:
    """Watches the jobs of this process. Call its methods in the server's event loop only."""

    def __init__(self, store: Store, processes: Processes, queue: Queue) -> None:
        self._store, self._processes, self._queue = store, processes, queue
        self.mover = Mover(store)
        self._progress: dict[str, Json] = {}
        self._handed: dict[str, None] = {}
        """Ids of jobs that are queued or running in this ComfyUI, in order. The values are unused."""
        self._ended: dict[str, None] = {}
        """Ids of jobs in ComfyUI's history, oldest first. The values are unused."""
        self._watch: asyncio.Task | None = None
        self._order = asyncio.Lock()
        self._logged: set[str] = set()
        """Ids of jobs with unusable outputs that the log already mentions."""
        self._released: set[str] = set()
        """Folders whose claims could not be removed yet, because the store was locked."""
        self._next_look_around = 0.0
        self._trouble = ""

    @property
    def process(self) -> str:
        """The store's id of this ComfyUI process."""
        return self._processes.own

    async def recover(self) -> None:
        """At the start, take over or end the jobs of dead processes, remove what they left, and start the queue."""
        await self._clean_up_after_the_dead()
        for row in await self._store.half_deleted():
            await self._erase(row["id"])
        if not self._store.new:  # a new store, made after the old one was moved away, does not know any folder
            folders = await asyncio.to_thread(files.only_uploads)  # before the store: a claim is older than its folder
            known = await self._store.folders()
            for folder in folders:
                if folder.name not in known:
                    await asyncio.to_thread(files.remove, folder)
        await self._queue.start()

    async def queue(self, rows: list[Row], prompts: list[Any], extras: list[Any]) -> None:
        """Add jobs to the store, then submit them to ComfyUI: all or none. Raises ApiError."""
        async with self._order:  # so that the list of videos has the order of the queue
            try:
                await self._store.add(rows, settings.current())
                for row, prompt, extra in zip(rows, prompts, extras, strict=True):
                    await self._queue.submit(prompt_id(row["id"]), prompt, extra)
            except BaseException:
                for row in rows:
                    self._queue.withdraw(prompt_id(row["id"]))
                    self._handed[row["id"]] = None  # if the store is locked now, `_look` removes the job later
                for row in rows:
                    await self._store.forget(row["id"])
                    self._handed.pop(row["id"], None)
                raise
            else:
                self._handed |= dict.fromkeys(row["id"] for row in rows)
            finally:
                self.watch()

    def live(self, rows: list[Row]) -> list[Json]:
        """The current progress (percent), step, steps and queue_position of each job."""
        waiting: tuple[str, ...] = ()
        if any(row["status"] == "queued" for row in rows):
            waiting = self._queue.snapshot().waiting
        places = {identity: place for place, identity in enumerate(waiting, start=1)}
        return [
            {
                **self._progress.get(row["id"], NOT_BEGUN),
                "queue_position": places.get(prompt_id(row["id"])) if row["status"] == "queued" else None,
            }
            for row in rows
        ]

    async def cancel(self, row: Row) -> None:
        """Stop a job. A running one ends after its current step; another process's job is stopped by that process."""
        if row["status"] in ACTIVE:
            await self._store.change(row["id"], stopping=True)
            if row["process"] == self.process:
                await self._stop(row)

    async def delete(self, row: Row) -> None:
        """Remove a job and its files. A running job is stopped first, and removed when it has stopped."""
        await self._store.change(row["id"], deleted=True)
        await self.cancel(row)
        await self._erase_if_deleted(row["id"])

    def watch(self) -> None:
        """Start the watching task if it does not run."""
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look_until_done())

    async def clean(self) -> None:
        """Delete expired videos, and clean up after dead processes. Runs before each request."""
        for row in await self._store.expired():
            await self._store.change(row["id"], deleted=True)
            await self._erase(row["id"])
        while self._released:
            folder = next(iter(self._released))
            await self._store.release(folder)
            self._released.discard(folder)
        if time.monotonic() >= self._next_look_around:
            self._next_look_around = time.monotonic() + LOOK_AROUND_EVERY
            await self._clean_up_after_the_dead()
            await self._forget_what_others_deleted()

    async def release(self, folder: str) -> None:
        """Remove the claim on a folder. If the store is locked, `clean` tries again."""
        self._released.add(folder)
        try:
            await self._store.release(folder)
            self._released.discard(folder)
        except ApiError as error:
            logging.warning("Atelier: %s", error)

    async def _clean_up_after_the_dead(self) -> None:
        """End the jobs of processes that have died, and remove the folders that they were filling."""
        for process in await self._store.processes():
            if self._processes.alive(process):
                continue
            for row in await self._store.active(process):
                await self._inherit(row)
            for folder in await self._store.claimed(process):
                await asyncio.to_thread(files.remove, files.folder_of(folder))
                await self._store.release(folder)

    async def _inherit(self, row: Row) -> None:
        """Watch a job of a dead process if the queue has it still and its video is not here yet, else end it."""
        identity = prompt_id(row["id"])
        if not _videos_in(files.job_folder(row["id"])) and await self._queue.recover(identity):
            await self._store.change(row["id"], process=self.process)
            self._handed[row["id"]] = None
            if row["status"] == "in_progress":
                self._progress[row["id"]] = NOT_BEGUN
            self.watch()
        else:
            await self._end_without_comfyui(row, GONE, "ComfyUI stopped before this video was made.")

    async def _forget_what_others_deleted(self) -> None:
        """Remove jobs from ComfyUI's history that were deleted through another process."""
        ended = list(self._ended)
        known = await self._store.known(ended)
        for job_id in ended:
            if job_id not in known:
                self._forget(job_id)

    def _forget(self, job_id: str) -> None:
        """Remove a job from ComfyUI's history."""
        self._ended.pop(job_id, None)
        self._queue.forget(prompt_id(job_id))

    async def _look_until_done(self) -> None:
        await asyncio.sleep(LOOK_EVERY)  # answer the request that queued the job first
        while self._handed:
            try:
                await self._look()
                self._trouble = ""
            except Exception as error:  # the store or api.json is unusable now; try again
                if str(error) != self._trouble:
                    logging.exception("Atelier: the status of jobs cannot be updated; trying again")
                self._trouble = str(error)
            await asyncio.sleep(LOOK_EVERY)

    async def _look(self) -> None:
        for row in await self._store.stopping(self.process):
            await self._stop(row)
        handed = list(self._handed)
        now = self._queue.snapshot()  # before the history: a job that leaves the queue is in the history already
        waiting = set(now.waiting)
        for job_id in handed:
            identity = prompt_id(job_id)
            if identity not in waiting:
                await self._follow(job_id, identity in now.running)
            elif job_id in self._progress:
                await self._wait_again(job_id)

    async def _follow(self, job_id: str, runs: bool) -> None:
        """Record a job's progress or its end. Unusable outputs fail this job alone."""
        row = await self._store.row(job_id)
        try:
            if row is None:
                await self._abandon(job_id, runs)
            elif runs:
                await self._note_progress(row)
            elif row["status"] in ACTIVE or (row["error"] or {}).get("code") == GONE:
                await self._finish(row, self._queue.outcome(prompt_id(job_id)))
            else:
                self._let_go(job_id)
        except (ApiError, settings.SettingsError):  # not the job's fault: `_look` tries again
            raise
        except Exception:
            if job_id not in self._logged:
                logging.exception("Atelier: ComfyUI's record of %s cannot be used", job_id)
            self._logged.add(job_id)
            if not runs:
                await self._fail(row, "unusable_output", "The graph's outputs cannot be read. See ComfyUI's log.")
                await self._erase_if_deleted(job_id)

    async def _abandon(self, job_id: str, runs: bool) -> None:
        """End a job that is not in the store: a process that took this one for dead has deleted it."""
        if runs:
            self._queue.withdraw(prompt_id(job_id))
        else:
            await self._erase(job_id)
            self._let_go(job_id)

    def _let_go(self, job_id: str) -> None:
        """Stop watching a job, and keep the newest IN_HISTORY ended jobs in ComfyUI's history."""
        if job_id in self._handed:
            self._ended[job_id] = None
            while len(self._ended) > IN_HISTORY:
                self._forget(next(iter(self._ended)))
        self._handed.pop(job_id, None)
        self._progress.pop(job_id, None)
        self._logged.discard(job_id)

    async def _stop(self, row: Row) -> None:
        if self._queue.withdraw(prompt_id(row["id"])):
            await self._fail(row, "cancelled", "The job was cancelled before it began.")
            await self._erase_if_deleted(row["id"])

    async def _wait_again(self, job_id: str) -> None:
        """Record that a job that had begun waits again: the farm has lost its worker."""
        if row := await self._store.row(job_id):
            await self._store.wait_again(job_id, [*row["warnings"], *self._untold_losses(row)])
        self._progress.pop(job_id, None)

    def _untold_losses(self, row: Row) -> list[str]:
        """A warning of each lost attempt at a job that has not been told yet."""
        losses = enumerate(self._queue.losses(prompt_id(row["id"])), start=1)
        texts = [f"Attempt {number} was lost, and the video is begun again. {reason}" for number, reason in losses]
        return [text for text in texts if text not in row["warnings"]]

    async def _tell_losses(self, row: Row) -> None:
        """Warn of each lost attempt at a job, once. After one, its progress begins at 0 again."""
        if new := self._untold_losses(row):
            await self._store.change(row["id"], warnings=[*row["warnings"], *new])
            self._progress.pop(row["id"], None)

    async def _note_progress(self, row: Row) -> None:
        await self._tell_losses(row)
        if row["status"] != "in_progress":
            await self._store.begin(row["id"])
        identity = prompt_id(row["id"])
        now, before = self._queue.steps(identity), self._progress.get(row["id"], NOT_BEGUN)
        percent = min(99, now.percent)
        counted = {"step": now.at, "steps": now.of} if now.of else {"step": None, "steps": None}
        self._progress[row["id"]] = {"progress": max(percent, before["progress"]), **counted}

    async def _finish(self, row: Row, record: Any) -> None:
        if record is None:
            await self._end_without_comfyui(row, "cancelled", "The job was removed from ComfyUI's queue.")
            return
        told = events(record)
        if "execution_interrupted" in told:
            await self._fail(row, "cancelled", "The job was cancelled while it ran.")
        elif "execution_error" in told:
            await self._fail(row, *node_failed(told["execution_error"]))
        elif (video := _saved_video(record.get("outputs") or {})) is None:
            await self._fail(row, "no_video", "The graph ended without saving a video. It needs a node Save Video.")
        else:
            await self._complete(row, video)
        await self._erase_if_deleted(row["id"])

    async def _end_without_comfyui(self, row: Row, code: str, message: str) -> None:
        """End a job that ComfyUI has no record of: completed if its video was saved whole, else failed."""
        if saved := _videos_in(files.job_folder(row["id"])):
            await self._complete(row, saved[-1], code, message)
        else:
            await self._fail(row, code, message)
        await self._erase_if_deleted(row["id"])

    async def _complete(self, row: Row, video: Path, code: str = "no_video", message: str | None = None) -> None:
        folder, days = files.job_folder(row["id"]), settings.current().expire_days
        try:
            if video.parent != folder:  # an artist's graph saves anywhere, and ComfyUI may reuse a cached file
                video = await asyncio.to_thread(files.copied, video, folder, files.VIDEO_NAME)
            clip = await asyncio.to_thread(files.facts, video)
            warnings = [*row["warnings"], *await self._signed(video, row)]
        except OSError as error:
            full = disk_full(error)
            reason = full.message if full else f"The video cannot be read: {summary(error)}."
            await self._fail(row, full.code if full else code, message or reason)
            return
        except MediaError as error:
            await self._fail(row, code, message or f"The saved video cannot be used: {summary(error)}")
            return
        now = time.time()
        columns = {
            "expires_at": now + days * 86400 if days else None,
            "file": video.name,
            "settings": row["settings"] | measured(row["settings"], clip),
            "warnings": warnings,
        }
        await self._end(row, "completed", None, **columns)

    async def _signed(self, video: Path, row: Row) -> list[str]:
        """Sign a video if the owner has a certificate. Returns warnings."""
        owner = settings.current().content_credentials
        return await asyncio.to_thread(credentials.sign, video, row, owner) if owner else []

    async def _fail(self, row: Row, code: str, message: str) -> None:
        await self._end(row, "failed", {"code": code, "message": message})

    async def _end(self, row: Row, status: str, error: Json | None, **values: Any) -> None:
        """Record the end of a job in the store, and stop watching it."""
        size = await asyncio.to_thread(files.size_of, files.job_folder(row["id"]))
        values |= {"status": status, "completed_at": time.time(), "error": error, "bytes": size}
        await self._store.end(row["id"], row["process"] == self.process, **values)
        self._queue.settle(prompt_id(row["id"]))
        self._let_go(row["id"])
        if status == "completed" and archive.current() is not None:
            self.mover.look_after(row["id"])

    async def _erase(self, job_id: str) -> None:
        """Remove a job from the history, the disk and the store. `recover` tries again if a file cannot be removed."""
        self._forget(job_id)
        if await asyncio.to_thread(files.remove, files.job_folder(job_id)):
            if archive.current() is None:
                await self._store.forget(job_id)
            else:
                self.mover.look_after(job_id)

    async def _erase_if_deleted(self, job_id: str) -> None:
        """Remove a job that is marked as deleted and has ended."""
        row = await self._store.row(job_id)
        if row is not None and row["deleted"] and row["status"] not in ACTIVE:
            await self._erase(job_id)


def measured(requested: Json, clip: Facts) -> Json:
    """Size and length of the video file. `seconds` keeps the requested value if it is less than 0.5 s off."""
    near = requested["seconds"] != fields.AUTO and abs(float(requested["seconds"]) - clip.seconds) < 0.5
    seconds = requested["seconds"] if near else str(max(1, round(clip.seconds)))
    return {
        "size": f"{clip.width}x{clip.height}",
        "seconds": seconds,
        "duration": round(clip.seconds, 3),
        "fps": round(clip.fps, 3),
        "num_frames": clip.frames,
    }


def _videos_in(folder: Path) -> list[Path]:
    """The finished videos of a job's folder, in the order of their numbers."""
    return sorted(path for path in folder.glob(f"{files.VIDEO_NAME}*") if path.suffix.lower() in SUFFIXES)


def _saved_video(outputs: Json) -> Path | None:
    """The last video file among a graph's outputs, which core lists as images. Everything else is ignored: nodes of
    other packs may put any value there."""
    video = None
    for output in outputs.values():
        for items in output.values() if isinstance(output, dict) else ():
            for item in items if isinstance(items, (list, tuple)) else ():
                video = _file_of(item) or video
    return video


def _file_of(item: Any) -> Path | None:
    """The video file that an output names, if it is in one of ComfyUI's folders."""
    if not isinstance(item, dict) or not str(item.get("filename", "")).lower().endswith(SUFFIXES):
        return None
    root = folder_paths.get_directory_by_type(str(item.get("type") or "output"))
    if root is None:
        return None
    file = (Path(root) / str(item.get("subfolder") or "") / item["filename"]).resolve()
    return file if file.is_relative_to(Path(root).resolve()) else None
