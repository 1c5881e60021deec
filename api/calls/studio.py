"""The studio's page: serves the files of the folder studio/, and the few of web/ that it shares, as they are.

The page is a client of the API alone.
"""

from __future__ import annotations

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


async def show(request: web.Request) -> web.StreamResponse:
    """Serve the page, or one of its files."""
    name = request.match_info.get("file")
    if name == "":  # the page's relative addresses need an address without a slash at the end
        raise web.HTTPMovedPermanently("../atelier")
    file = _files().get(name or "index.html")
    if file is None:
        raise web.HTTPNotFound
    headers = {
        "Content-Type": KINDS[file.suffix],
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }
    # Sent here, because ComfyUI's --disable-api-nodes replaces the policy of an unsent response with a weaker one.
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    await response.write_eof(file.read_bytes())
    return response
