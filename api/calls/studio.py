"""The studio: the files of one page, given out as they lie in the folder studio/. All it does goes through the API."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

FOLDER = Path(__file__).parents[2] / "studio"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "font", "connect")),
        *(f"{kind}-src 'self' blob:" for kind in ("img", "media")),  # blob: pictures being sent, files behind a key
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    )
)
"""The page's Content-Security-Policy: nothing from anywhere else, no script or style inside the page."""


def _files() -> dict[str, Path]:
    """The page's files by name. What a client asks for is looked up among them and never becomes a path."""
    return {file.relative_to(FOLDER).as_posix(): file for file in FOLDER.rglob("*") if file.suffix in KINDS}


async def show(request: web.Request) -> web.StreamResponse:
    """The page, or a file that it is made of."""
    name = request.match_info.get("file")
    if name == "":  # the page's addresses are relative to its own, which ends without a slash
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
    # Sent here, before ComfyUI's --disable-api-nodes can put its own, weaker policy in the place of ours.
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    await response.write_eof(file.read_bytes())
    return response
