"""The studio's page: serves the files of the folder studio/, and the few of web/ that it shares.

The page is a client of the API alone.
"""

from __future__ import annotations

import functools
import gzip
from pathlib import Path

from aiohttp import web

PACK = Path(__file__).parents[2]
FOLDER = PACK / "studio"
SHARED = {"storyboard": PACK / "web" / "storyboard"}
"""Folders of web/ whose files the page uses, too: the time line of the Storyboard node."""
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
COMPRESSED = {".woff2"}
"""Files that are compressed as they are."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "font", "connect")),
        *(f"{kind}-src 'self' blob:" for kind in ("img", "media")),  # blob: uploads, and files that need the key
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    )
)
"""The page's Content-Security-Policy: no resource of another server, no inline script or style."""


def _files() -> dict[str, Path]:
    """The page's files by name. A requested name is looked up here and never becomes a path."""
    own = {file.relative_to(FOLDER).as_posix(): file for file in FOLDER.rglob("*")}
    shared = {f"{name}/{file.name}": file for name, folder in SHARED.items() for file in folder.iterdir()}
    return {name: file for name, file in (own | shared).items() if file.suffix in KINDS}


@functools.lru_cache(maxsize=256)
def _compressed(file: Path, version: str) -> bytes:
    """A file's content as gzip, compressed once for each version of the file."""
    return gzip.compress(file.read_bytes(), mtime=0)


async def show(request: web.Request) -> web.StreamResponse:
    """Serve the page, or one of its files: compressed for clients that accept gzip, without content if unchanged."""
    name = request.match_info.get("file")
    if name == "":  # the page's relative addresses need an address without a slash at the end
        raise web.HTTPMovedPermanently("../atelier")
    file = _files().get(name or "index.html")
    if file is None:
        raise web.HTTPNotFound
    state = file.stat()
    version = f"{state.st_mtime_ns:x}-{state.st_size:x}"
    headers = {
        "Content-Type": KINDS[file.suffix],
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-cache",
        "ETag": f'W/"{version}"',
        "Vary": "Accept-Encoding",
    }
    if any(tag.value == version for tag in request.if_none_match or ()):
        return await _sent(request, 304, headers, b"")
    if file.suffix in COMPRESSED or "gzip" not in request.headers.get("Accept-Encoding", ""):
        return await _sent(request, 200, headers, file.read_bytes())
    return await _sent(request, 200, headers | {"Content-Encoding": "gzip"}, _compressed(file, version))


async def _sent(request: web.Request, status: int, headers: dict[str, str], content: bytes) -> web.StreamResponse:
    """An answer that is sent already: ComfyUI's --disable-api-nodes replaces the policy of others with a weaker one."""
    response = web.StreamResponse(status=status, headers=headers)
    if status != 304:
        response.content_length = len(content)
    await response.prepare(request)
    await response.write_eof(content)
    return response
