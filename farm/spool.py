"""Jobs on disk until they have ended, for a head that restarts: one JSON file each, in a private folder."""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path

from .waiting import Job


class Spool:
    """The folder of waiting and running jobs. A file's name begins with its number in the queue. It is thread-safe."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._folder, self._files, self._next = folder, {}, 1
        self._lock = threading.Lock()

    def add(self, job: Job) -> None:
        """Write a new job, behind all others. Raises OSError."""
        if job.kept:
            with self._lock:
                self._files[job.id] = self._folder / f"{self._next:012d}-{job.id}.json"
                self._next += 1
            try:
                self.save(job)
            except OSError:
                self.remove(job.id)
                raise

    def save(self, job: Job) -> None:
        """Write a job as it is now, whole or not at all, unless it was removed. Raises OSError."""
        with self._lock:
            if job.id in self._files:
                self._write(job)

    def _write(self, job: Job) -> None:
        names = ("id", "prompt", "extra", "model", "files", "worker", "lost", "record")
        unfinished = self._files[job.id].with_suffix(".part")
        try:
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump({name: getattr(job, name) for name in names} | {"tried": sorted(job.tried)}, file)
            unfinished.replace(self._files[job.id])
        finally:
            unfinished.unlink(missing_ok=True)

    def remove(self, job_id: str) -> None:
        with self._lock:
            if file := self._files.pop(job_id, None):
                file.unlink(missing_ok=True)

    def load(self) -> list[Job]:
        """The jobs on disk in their order. A file that cannot be read is left out, with a line in the log."""
        jobs = []
        for file in sorted(self._folder.glob("*.json")):
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
                job = Job(**content | {"files": tuple(content["files"]), "tried": set(content["tried"])})
                self._next = int(file.name.partition("-")[0]) + 1
            except (OSError, ValueError, TypeError, KeyError) as error:
                logging.warning("Atelier: the farm's job %s cannot be read: %s", file.name, type(error).__name__)
                continue
            self._files[job.id] = file
            jobs.append(job)
        return jobs
