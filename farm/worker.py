"""What runs on a worker's machine: an actor that owns a headless ComfyUI and follows one graph at a time through it.

The head sends this module by value, so it imports the standard library only, and aiohttp where it is used. `run.py
worker` says in the environment how to start ComfyUI (COMMAND), where the pack is (ROOT) and its folders are (BASE).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import platform
import shutil
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]

COMMAND, ROOT, BASE = "ATELIER_FARM_COMMAND", "ATELIER_FARM_ROOT", "ATELIER_FARM_BASE"
PRODUCT = ("nodes", "api", "farm", "old_graphs", "editing", "prompts", "models", "media", "workflows")
"""The folders whose code makes a clip what it is."""
PATIENCE = 120.0
"""Seconds for an answer of ComfyUI, which may be loading a model."""
QUIET = 2.0
"""Seconds without a message from ComfyUI after which its history is asked."""
NEWS = 1.0
"""Seconds that `look` waits for news."""
SHOWN = 10.0
"""Seconds for ComfyUI to encode what it has of a clip."""
TOGETHER = 0.05
"""Seconds in which news is collected before it is told."""
DROPPED = {"outputs": {}, "status": {"status_str": "error", "messages": [["execution_interrupted", {}]]}}
"""The record of a job that was removed from ComfyUI's queue before it began."""
ROOM = 64_000_000
"""Bytes of free disk without which a worker takes no job."""
OURS = "AtelierLoadVideoModel"
"""A node that every ComfyUI with this pack has."""


def pack_version(root: Path) -> str:
    """The pack's version and a digest of its code: two machines with the same text make the same clips."""
    digest = hashlib.sha256()
    for folder in PRODUCT:
        for file in sorted((root / folder).rglob("*")):
            if file.suffix in (".py", ".json") and file.is_file():
                digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    lines = (root / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    version = next((line.split('"')[1] for line in lines if line.startswith("version")), "unknown")
    return f"{version} ({digest.hexdigest()[:10]})"


class ComfyLost(Exception):
    """ComfyUI does not answer any more, or does not start."""


@dataclass
class Held:
    """A job on this worker, until the head forgets it."""

    version: int = 0
    steps: tuple[float, float, int, int] = (0, 0, 0, 0)
    preview: bytes | None = None
    record: Json | None = None
    files: dict[str, int] = field(default_factory=dict)
    lost: str = ""
    ended: bool = False
    cancelled: bool = False
    brought: list[Path] = field(default_factory=list)
    task: asyncio.Task | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(self, name, value)
        self.version += 1
        self.news.set()


class Worker:
    """The actor. The head calls its methods; all but `ready` answer at once, or within NEWS or SHOWN seconds."""

    def __init__(self, name: str) -> None:
        self._index = name.rpartition("-")[2]
        self._base = Path(os.environ[BASE]) / f"worker-{self._index}"
        self._process: subprocess.Popen | None = None
        self._url, self._comfyui = "", 0
        self._jobs: dict[str, Held] = {}
        self._starting = asyncio.Lock()
        self._head, self._seen, self._pack = "", 0.0, ""
        self._has_models = False

    # Its machine

    def _unfit(self) -> str:
        """Why this machine cannot make anything now, or "". It looks at the disk, which may hang: not in the loop."""
        try:
            self._base.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._base).free
        except OSError as error:
            return f"its folder cannot be used: {error.strerror}"
        if free < ROOM:
            return f"its disk is full: {free // 1_000_000} MB are free, it needs {ROOM // 1_000_000}"
        try:
            models = [file for kind in os.scandir(self._base.parent.parent / "models") for file in _inside(kind)]
        except OSError as error:
            return f"its models folder cannot be read: {error.strerror}. Is it mounted?"
        if self._has_models and not models:
            return "its models folder has become empty. Is it mounted? If that is meant, start the worker again"
        self._has_models = bool(models)
        return ""

    # Its ComfyUI

    async def ready(self, head: str, pack: str) -> Json:
        """Start ComfyUI if it does not run, and return what this worker is, or {"lost": why, "host": its name}.

        head: the caller's name. A worker belongs to one head at a time. pack: the head's `pack_version`.
        """
        now = asyncio.get_running_loop().time()
        if self._head not in ("", head) and now - self._seen < 30:
            why = "another head uses this worker: a farm has one head, and a store one farm"
        else:
            self._head, self._seen = head, now
            why = await asyncio.to_thread(self._unfit) or await self._started(pack)
        try:
            return {"lost": why, "host": platform.node()} if why else await self._about()
        except ComfyLost as error:
            await asyncio.to_thread(self._stop)
            return {"lost": str(error), "host": platform.node()}

    async def _started(self, pack: str) -> str:
        """Start ComfyUI if it does not run. Returns why it is of no use, or ""."""
        async with self._starting:
            try:
                runs = self._process is not None and self._process.poll() is None
                if not runs:
                    self._pack = await asyncio.to_thread(pack_version, Path(os.environ[ROOT]))
                if self._pack != pack:
                    return f"it has Atelier {self._pack}, the head has {pack}: update the older, then restart it"
                if not runs:
                    await asyncio.to_thread(self._start)
                if OURS not in await self._get(f"/object_info/{OURS}"):
                    return f"its ComfyUI has no Atelier nodes: see {self._base / 'comfyui.log'}"
            except (ComfyLost, OSError, ValueError) as error:
                await asyncio.to_thread(self._stop)
                return str(error)
        return ""

    def _start(self) -> None:
        """Start ComfyUI and wait for its first answer. Raises ComfyLost."""
        self._stop()
        for held in self._jobs.values():
            if not held.ended:
                held.tell(lost="its ComfyUI ended", ended=True)
        for folder in () if self._jobs else ("input", "output"):  # what jobs left that were lost
            shutil.rmtree(self._base / folder / "atelier", ignore_errors=True)
        command = [*json.loads(os.environ[COMMAND]), self._index]
        # Its standard input is a pipe of this process: when this ends, however it ends, that sees the end of it.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self._process.stdout.readline()
        try:
            told = json.loads(line)
            self._url, self._comfyui = told["url"], told["pid"]
        except (ValueError, KeyError):
            raise ComfyLost(line.strip()[-800:] or "its ComfyUI did not start") from None

    def _stop(self) -> None:
        """End ComfyUI for certain, so that no half-dead one keeps the graphics card or answers for the next."""
        if self._process is not None:
            self._process.stdin.close()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
        self._process, self._comfyui = None, 0

    async def _about(self) -> Json:
        stats = await self._get("/system_stats")
        device = (stats.get("devices") or [{}])[0]
        return {
            "jobs": [job_id for job_id in self._jobs],
            "gpu": device.get("name", "cpu").partition(" : ")[0],  # without the name of torch's allocator
            "memory": device.get("vram_total"),
            "free": device.get("vram_free"),
            "comfyui": stats["system"].get("comfyui_version"),
            "python": platform.python_version(),
            "host": platform.node(),
            "actor": os.getpid(),
            "process": self._comfyui,
            "url": self._url,
        }

    async def _get(self, path: str) -> Json:
        import aiohttp

        try:
            limit = aiohttp.ClientTimeout(total=PATIENCE)
            async with aiohttp.ClientSession(timeout=limit) as session, session.get(f"{self._url}{path}") as answer:
                return await answer.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ComfyLost(f"its ComfyUI does not answer: {type(error).__name__}") from None

    # Jobs

    def _path(self, name: str) -> Path:
        """The file for a name like "atelier/x.png [output]". Raises ValueError for one outside the folders."""
        relative, _, kind = name.rpartition(" [")
        root = (self._base / kind.rstrip("]")).resolve()
        path = (root / relative).resolve()
        if kind not in ("input]", "output]", "temp]") or not path.is_relative_to(root):
            raise ValueError(f"'{name}' is not in ComfyUI's folders")
        return path

    async def put(self, job_id: str, name: str, offset: int, content: bytes) -> str:
        """Write a part of a file that a job reads. Returns why it could not, or ""."""
        held = self._jobs.setdefault(job_id, Held())
        path = self._path(name)

        def write() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("r+b" if offset else "wb") as file:
                file.seek(offset)
                file.write(content)

        try:
            await asyncio.to_thread(write)
        except OSError as error:
            return f"its disk refused a file of the job: {error.strerror}"
        held.brought += [] if path in held.brought else [path]
        return ""

    async def begin(self, job_id: str, prompt: Json, extra: Json) -> Json:
        """Give a graph to ComfyUI. {} if it took it, else {"refused": its answer}, {"lost": why} or, if there was no
        ComfyUI to give it to, {"idle": why}."""
        import aiohttp

        if self._process is None or self._process.poll() is not None:
            return {"idle": "its ComfyUI had ended before"}
        if unfit := await asyncio.to_thread(self._unfit):  # it was fit when it became free, which may be long ago
            return {"idle": unfit}
        held = self._jobs.setdefault(job_id, Held())
        session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE))
        try:
            socket = await session.ws_connect(f"{self._url}/ws?clientId={job_id}", max_msg_size=0)
            more = {"extra_pnginfo": extra, "preview_method": "auto"}
            body = {"prompt": prompt, "prompt_id": job_id, "client_id": job_id, "extra_data": more}
            async with session.post(f"{self._url}/prompt", json=body) as answer:
                text = await answer.text()
                if answer.status == 400:
                    await session.close()
                    await self.forget(job_id)
                    return {"refused": json.loads(text)}
                answer.raise_for_status()
        except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
            await session.close()
            await asyncio.to_thread(self._stop)
            return {"lost": f"its ComfyUI did not take the graph: {type(error).__name__}"}
        held.task = asyncio.create_task(self._follow(job_id, held, session, socket))
        return {}

    async def look(self, job_id: str, version: int) -> Json | None:
        """The state of a job as soon as it is newer than `version`, or after NEWS seconds. None if it is not here."""
        self._seen = asyncio.get_running_loop().time()
        held = self._jobs.get(job_id)
        if held is None:
            return None
        held.news.clear()
        if held.version <= version and not held.ended:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(held.news.wait(), NEWS)
                if not held.ended:
                    await asyncio.sleep(TOGETHER)
        names = ("version", "steps", "preview", "record", "files", "lost")
        return {name: getattr(held, name) for name in names}

    async def fetch(self, name: str, offset: int, size: int) -> tuple[bytes, str]:
        """A part of a file that a job saved, and its SHA-256."""
        path = self._path(name)

        def read() -> bytes:
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(size)

        content = await asyncio.to_thread(read)
        return content, hashlib.sha256(content).hexdigest()

    async def so_far(self, job_id: str, seen: list[int]) -> Json | None:
        """The part of a running job's clip that is there: version, seconds, decoded, content. None if there is none.

        seen: the versions that the head's client has. They come without content.
        """
        import aiohttp

        held = self._jobs.get(job_id)
        if held is None or held.ended:
            return None
        address = f"{self._url}/atelier/running/{job_id}/so_far"
        tags = {"If-None-Match": ", ".join(f'"{version}"' for version in seen)} if seen else {}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            limit = aiohttp.ClientTimeout(total=SHOWN)
            async with aiohttp.ClientSession(timeout=limit) as session, session.get(address, headers=tags) as answer:
                if answer.status in (200, 304):
                    about = {name: json.loads(answer.headers[f"X-{name.title()}"]) for name in ("seconds", "decoded")}
                    content = await answer.read() if answer.status == 200 else None
                    return {"version": int(answer.headers["ETag"].strip('"')), **about, "content": content}
        return None

    async def cancel(self, job_id: str) -> None:
        """Interrupt a job. It ends with a record, as on one machine."""
        held = self._jobs.get(job_id)
        if held is None or held.ended or held.cancelled:
            return
        held.cancelled = True
        await self._interrupt(job_id)

    async def _interrupt(self, job_id: str) -> None:
        await self._post("/queue", {"delete": [job_id]})
        await self._post("/interrupt", {"prompt_id": job_id})

    async def _post(self, path: str, body: Json) -> None:
        """Tell ComfyUI something. If it does not answer, `_follow` or `ready` notices that."""
        import aiohttp

        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=NEWS)) as session:
                await session.post(f"{self._url}{path}", json=body)

    async def forget(self, job_id: str) -> None:
        """Remove a job and its files. One that runs is cancelled."""
        held = self._jobs.pop(job_id, None)
        if held is None:
            return
        if held.task is not None and not held.ended:
            await self._interrupt(job_id)
            held.task.cancel()
        paths = [*held.brought, *(self._path(name) for name in held.files)]
        await asyncio.to_thread(_remove, paths)
        await self._post("/history", {"delete": [job_id]})

    async def end(self) -> None:
        """Stop ComfyUI, before this worker is removed."""
        await asyncio.to_thread(self._stop)

    async def _follow(self, job_id: str, held: Held, session: Any, socket: Any) -> None:
        """Note what ComfyUI tells of a job, until it has ended or ComfyUI is lost."""
        import aiohttp

        try:
            while held.record is None:
                if await self._note(job_id, held, socket):
                    queued = await self._queued(job_id)  # before the history, which it enters when it leaves the queue
                    async with session.get(f"{self._url}/history/{job_id}") as answer:
                        record = (await answer.json()).get(job_id)
                    if record is None and not queued:
                        record = DROPPED
                    if record is not None and record["status"]["status_str"] == "error" and not held.cancelled:
                        if unfit := await asyncio.to_thread(self._unfit):  # then it is not the graph's fault
                            held.tell(lost=f"{unfit} ({_message(record)})", ended=True)
                            return
                    if record is not None:
                        kept = {"outputs": record["outputs"], "status": record["status"]}
                        held.tell(record=kept, files=self._saved(kept), ended=True)
        except FileNotFoundError:  # of an earlier job with the same graph: ComfyUI does nothing twice
            await self._post("/free", {"free_memory": True})
            held.tell(lost="its ComfyUI named a file that is gone", ended=True)
        except (aiohttp.ClientError, TimeoutError, ComfyLost, OSError) as error:
            await asyncio.to_thread(self._stop)  # before `ready` answers: a dead ComfyUI must not swallow jobs
            held.tell(lost=f"its ComfyUI ended while it worked ({type(error).__name__})", ended=True)
        except Exception as error:  # ours: a job that nobody follows would never end
            held.tell(lost=f"its actor could not follow the job ({type(error).__name__})", ended=True)
        finally:
            await session.close()

    async def _note(self, job_id: str, held: Held, socket: Any) -> bool:
        """Read a message. Returns whether the job may have ended. Raises ComfyLost."""
        import aiohttp

        try:
            message = await socket.receive(timeout=QUIET)
        except (asyncio.TimeoutError, TimeoutError):
            return True
        if message.type is aiohttp.WSMsgType.BINARY:
            if struct.unpack(">I", message.data[:4])[0] == 1:  # a preview, behind the number of its format
                held.tell(preview=bytes(message.data[8:]))
            return False
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise ComfyLost("its websocket was closed")
        content = json.loads(message.data)
        data = content.get("data") or {}
        if data.get("prompt_id") != job_id:
            return False
        if content["type"] == "progress_state":
            held.tell(steps=_steps(data["nodes"]))
        return content["type"].startswith("execution_") or data.get("node", "") is None

    async def _queued(self, job_id: str) -> bool:
        queue = await self._get("/queue")
        return any(item[1] == job_id for items in queue.values() for item in items)

    def _saved(self, record: Json) -> dict[str, int]:
        """The files that a graph saved: name with its folder's kind -> bytes. Raises OSError if one is gone."""
        lists = (
            items for output in record["outputs"].values() if isinstance(output, dict) for items in output.values()
        )
        found = {}
        for item in (item for items in lists if isinstance(items, list) for item in items):
            if isinstance(item, dict) and item.get("type") == "output" and isinstance(item.get("filename"), str):
                name = "/".join(filter(None, (str(item.get("subfolder") or ""), item["filename"])))
                found[f"{name} [output]"] = self._path(f"{name} [output]").stat().st_size
        return found


def _steps(nodes: Json) -> tuple[float, float, int, int]:
    """(done, all, step, steps) over the nodes that count steps; the last two of the running one."""
    counting = [node for node in nodes.values() if node["max"] > 1]
    now = next((node for node in counting if node["state"] == "running"), {"value": 0, "max": 0})
    done, whole = (sum(node[key] for node in counting) for key in ("value", "max"))
    return done, whole, int(now["value"]), int(now["max"])


def _inside(kind: os.DirEntry) -> list[os.DirEntry]:
    """What is in one folder of the models, e.g. checkpoints."""
    return list(os.scandir(kind)) if kind.is_dir() else []


def _message(record: Json) -> str:
    """What a failed node said, for a record of ComfyUI."""
    told = dict(record["status"].get("messages") or []).get("execution_error") or {}
    return str(told.get("exception_message") or "no reason given").strip()[:200]


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a folder that is not empty stays
            path.parent.rmdir()
