"""A Hugging Face Hub on loopback, for the real huggingface_hub: its protocol, and its bad days.

Large files are "LFS": the hub answers with a redirect to a CDN (the same server under another host name), with the size
and the SHA-256 in X-Linked-Size and X-Linked-Etag. Small ones come from the hub itself, with git's SHA-1 as ETag.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LFS_SUFFIXES = (".safetensors", ".gguf", ".bin")


@dataclass
class Fault:
    """What goes wrong with the next request for bytes: after how many of them the line breaks, or a status.

    `after` counts the bytes of this answer's body. `truncated` ends the answer as if it were complete.
    """

    after: int | None = None
    status: int | None = None
    retry_after: str | None = None
    truncated: bool = False


@dataclass
class Hub:
    """files: (repository, path) -> content. Tests change the other fields while the hub runs."""

    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    token: str = "hf_right"
    faults: deque[Fault] = field(default_factory=deque)
    busy: deque[Fault] = field(default_factory=deque)
    """Faults of requests to the hub itself, before any bytes."""
    lies: dict[str, bytes] = field(default_factory=dict)
    """Path -> other content that the CDN sends for it."""
    ignores_ranges: bool = False
    block: int = 1 << 20
    pause: float = 0.0
    """Bytes that are sent at once, and the seconds of rest after them."""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def add(self, repository: str, path: str, content: bytes) -> bytes:
        self.files[repository, path] = content
        return content

    def downloads(self) -> list[str]:
        """The paths of all requests for bytes."""
        return [path for method, path, _ in self.requests if method == "GET" and "/api/" not in path]

    def sent_to_cdn(self, header: str) -> set[str]:
        return {headers.get(header, "") for _, path, headers in self.requests if path.startswith("/cdn/")}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        address = urlsplit(self.path)
        path = unquote(address.path)
        self.hub.requests.append((self.command, path, {k.title(): v for k, v in self.headers.items()}))
        if self.hub.busy and not path.startswith("/cdn/"):
            fault = self.hub.busy.popleft()
            return self._refuse(fault.status, "Busy", {"Retry-After": fault.retry_after} if fault.retry_after else {})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/[^/]+)?", path):
            return self._information(match[1])
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._resolve(match[1], match[3])
        if match := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
            content = self.hub.files[match[1], match[2]]
            return self._bytes(self.hub.lies.get(match[2], content), {"ETag": f'"{sha256(content)}"'})
        return self._refuse(404, "RepoNotFound")

    def _may(self, repository: str) -> bool:
        """Whether the request may have a repository; answers it if not."""
        if not any(known == repository for known, _ in self.hub.files):
            self._refuse(404, "RepoNotFound")
            return False
        token = self.headers.get("Authorization", "")
        if repository in self.hub.gated and token != f"Bearer {self.hub.token}":
            self._refuse(403 if token else 401, "GatedRepo")
            return False
        return True

    def _information(self, repository: str) -> None:
        if not self._may(repository):
            return
        siblings = []
        for (known, path), content in self.hub.files.items():
            if known == repository:
                one = {"rfilename": path, "size": len(content), "blobId": git_sha1(content)}
                if path.endswith(LFS_SUFFIXES):
                    one["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 135}
                siblings.append(one)
        body = json.dumps({"id": repository, "modelId": repository, "sha": COMMIT, "siblings": siblings}).encode()
        self._bytes(body, {"Content-Type": "application/json"}, plain=True)

    def _resolve(self, repository: str, path: str) -> None:
        if not self._may(repository):
            return
        content = self.hub.files.get((repository, path))
        if content is None:
            return self._refuse(404, "EntryNotFound")
        if not path.endswith(LFS_SUFFIXES):
            return self._bytes(content, {"ETag": f'"{git_sha1(content)}"', "X-Repo-Commit": COMMIT})
        self.send_response(302)
        for name, value in {
            "X-Repo-Commit": COMMIT,
            "X-Linked-Size": str(len(content)),
            "X-Linked-Etag": f'"{sha256(content)}"',
            "Location": self.hub.url.replace("127.0.0.1", "localhost") + f"/cdn/{repository}/{path}",
            "Content-Length": "0",
        }.items():
            self.send_header(name, value)
        self.end_headers()

    def _bytes(self, content: bytes, headers: dict[str, str], plain: bool = False) -> None:
        """Send content, or the part that Range asks for, unless a fault is due."""
        fault = Fault() if plain or self.command == "HEAD" or not self.hub.faults else self.hub.faults.popleft()
        if fault.status:
            return self._refuse(
                fault.status, "Fault", {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
            )
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(match[1]) if match and not self.hub.ignores_ranges else 0
        if begin >= len(content) and begin:
            return self._refuse(416, "Range")
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        body = content[begin:]
        if fault.truncated:
            body = body[: fault.after]
        for name, value in ({"Content-Length": str(len(body)), "Accept-Ranges": "bytes"} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self._send(body, None if fault.truncated else fault.after)

    def _send(self, body: bytes, breaks_after: int | None) -> None:
        end = len(body) if breaks_after is None else min(breaks_after, len(body))
        for at in range(0, end, step := self.hub.block):
            try:
                self.wfile.write(body[at : min(at + step, end)])
                self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):
                return
            time.sleep(self.hub.pause)
        if breaks_after is not None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"X-Error-Code": code, "X-Error-Message": code, "Content-Length": "0"}.items():
            self.send_header(name, value)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
