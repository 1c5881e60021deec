"""A small client of ComfyUI's HTTP and websocket API: queues a graph, follows it, and fetches its outputs.

All calls block. The websocket is read only while a job is waited for.
"""

import asyncio
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
from console import Problem

Json = dict[str, Any]
Event = tuple[str, Json]
"""(type, data) of a websocket message, e.g. ``("progress", {"value": 3, "max": 20, "node": "4", ...})``."""


class GraphRejected(Problem):
    """ComfyUI did not accept the graph. ``node_errors`` holds its message for each node."""

    def __init__(self, message: str, node_errors: Json) -> None:
        super().__init__(message)
        self.node_errors = node_errors


class JobFailed(Problem):
    """A node raised an error. ``details`` is ComfyUI's record of it (node_type, exception_message, traceback)."""

    def __init__(self, message: str, details: Json) -> None:
        super().__init__(message)
        self.details = details


class JobInterrupted(Problem):
    """The job was stopped on request."""


class Client:
    """One user of one ComfyUI server."""

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self.id = uuid.uuid4().hex
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._loop = asyncio.new_event_loop()
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the websocket."""
        if self._session is not None:
            self._loop.run_until_complete(self._session.close())
            self._session = self._socket = None
        if not self._loop.is_closed():
            self._loop.close()

    # Server information

    def system_stats(self) -> Json:
        return self.get("/system_stats")

    def object_info(self, node_types: Iterable[str] | None = None) -> Json:
        """Schemas of these node types (None: of all). Types that the server does not know are missing."""
        if node_types is None:
            return self.get("/object_info")
        schemas: Json = {}
        for name in sorted(node_types):
            schemas |= self.get("/object_info/" + urllib.parse.quote(name, safe=""))
        return schemas

    # Jobs

    def queue(self, prompt: Json, workflow: Json | None = None) -> str:
        """Queue an API prompt and return its id; ``workflow`` is saved in the result's metadata, as the editor does."""
        self._connect()
        body: Json = {"prompt": prompt, "client_id": self.id}
        if workflow is not None:
            body["extra_data"] = {"extra_pnginfo": {"workflow": workflow}}
        try:
            return self.post("/prompt", body)["prompt_id"]
        except urllib.error.HTTPError as error:
            if error.code != 400:
                raise Problem(f"ComfyUI answered {error.code} {error.reason}; its log says more.") from None
            answer = json.load(error)
            raise GraphRejected(_rejection(answer, prompt), answer.get("node_errors") or {}) from None

    def wait(self, prompt_id: str, on_event: Callable[[str, Json], None] | None = None, timeout: float = 3600) -> Json:
        """Follow a job to its end and return the outputs: ``{node id: {"images": [...], ...}}``.

        ``on_event`` gets the job's websocket messages as they arrive. The history tells whether the job has ended, so a
        missed message does no harm.
        """
        deadline = time.monotonic() + timeout
        while (record := self.history(prompt_id)) is None:
            if time.monotonic() > deadline:
                raise Problem(f"The job did not end within {timeout:.0f} s.")
            for kind, data in self._events(seconds=1.0):
                if data.get("prompt_id") != prompt_id:
                    continue
                if on_event is not None:
                    on_event(kind, data)
                if kind == "executing" and data.get("node") is None:
                    break
        return _outputs(record)

    def run(self, prompt: Json, on_event: Callable[[str, Json], None] | None = None, timeout: float = 3600) -> Json:
        """Queue, wait and return the outputs."""
        return self.wait(self.queue(prompt), on_event, timeout)

    def history(self, prompt_id: str) -> Json | None:
        """The finished job's record, or None while it waits or runs."""
        return self.get(f"/history/{prompt_id}").get(prompt_id)

    def interrupt(self) -> None:
        """Stop the job that is running."""
        self.post("/interrupt", {})

    # Files

    def upload(self, path: Path) -> str:
        """Put a file into the server's input folder. Returns the name for a load node."""
        boundary = uuid.uuid4().hex
        head = (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="image"; filename="{path.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        answer = json.loads(self._request("/upload/image", body, f"multipart/form-data; boundary={boundary}"))
        return "/".join(part for part in (answer.get("subfolder"), answer["name"]) if part)

    def view(self, item: Json) -> bytes:
        """The bytes of one output (``{"filename", "subfolder", "type"}``)."""
        query = {
            "filename": item["filename"],
            "subfolder": item.get("subfolder", ""),
            "type": item.get("type", "output"),
        }
        return self._request("/view?" + urllib.parse.urlencode(query))

    # Plain requests

    def get(self, path: str) -> Any:
        return json.loads(self._request(path))

    def post(self, path: str, body: Any) -> Any:
        answer = self._request(path, json.dumps(body).encode(), "application/json")
        return json.loads(answer) if answer else None

    def content(self, path: str) -> bytes:
        """What an address answers, as it is."""
        return self._request(path)

    def _request(self, path: str, body: bytes | None = None, kind: str | None = None) -> bytes:
        request = urllib.request.Request(self.url + path, data=body, headers={"Content-Type": kind} if kind else {})
        try:
            with self._opener.open(request, timeout=self.timeout) as answer:
                return answer.read()
        except urllib.error.HTTPError:
            raise
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            raise Problem(f"ComfyUI at {self.url} does not answer ({error}). It may have run out of memory.") from None

    # The websocket

    def _connect(self) -> None:
        if self._socket is None or self._socket.closed:
            self._loop.run_until_complete(self._open_socket())

    async def _open_socket(self) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        address = self.url.replace("http", "ws", 1) + f"/ws?clientId={self.id}"
        self._socket = await self._session.ws_connect(address, max_msg_size=0)

    def _events(self, seconds: float) -> Iterator[Event]:
        """Messages as they arrive, until there was none for ``seconds``. Previews (binary) are skipped."""
        self._connect()
        while True:
            try:
                message = self._loop.run_until_complete(self._socket.receive(timeout=seconds))
            except asyncio.TimeoutError:
                return
            if message.type is aiohttp.WSMsgType.TEXT:
                content = json.loads(message.data)
                yield content["type"], content.get("data") or {}
            elif message.type is not aiohttp.WSMsgType.BINARY:  # closed: the caller reads the history, then reconnects
                time.sleep(0.2)
                return


def _rejection(answer: Json, prompt: Json) -> str:
    """The errors of ``POST /prompt``, one per line."""
    lines = []
    for node_id, report in (answer.get("node_errors") or {}).items():
        title = prompt.get(node_id, {}).get("_meta", {}).get("title", report.get("class_type", node_id))
        lines += [f"  {title}: {error['message']}: {error['details']}" for error in report["errors"]]
    reason = answer.get("error", {}).get("message", "no reason given")
    return "\n".join([f"ComfyUI did not accept the graph: {reason}", *lines])


def _outputs(record: Json) -> Json:
    """The outputs of a finished job, or its failure as an exception."""
    messages = dict(record["status"]["messages"])
    if "execution_error" in messages:
        details = messages["execution_error"]
        text = details.get("exception_message", "").strip() or details.get("exception_type", "an error without a text")
        node = record["prompt"][2].get(details.get("node_id"), {})
        title = node.get("_meta", {}).get("title") or details.get("node_type", "A node")
        raise JobFailed(f"{title} failed: {text}", details)
    if "execution_interrupted" in messages:
        raise JobInterrupted("The job was interrupted.")
    return record["outputs"]
