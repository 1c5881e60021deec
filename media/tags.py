"""Reads the text that ComfyUI and its nodes write into pictures and clips: the graph that made them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

EXIF_TAGS = (0x0110, 0x010F, 0x010E, 0x9286)
"""Model, Make, ImageDescription, UserComment: where ComfyUI writes into WebP, and others into JPEG."""


def read(content: bytes) -> dict[str, str]:
    """The text tags of a picture or a clip, by name in lower case. {} if there are none, or it is neither."""
    return _picture(content) if _is_picture(content) else _clip(io.BytesIO(content))


def of_clip(path: Path) -> dict[str, str]:
    """`read` of a clip in a file, of which only the header is read."""
    return _clip(str(path))


def _is_picture(content: bytes) -> bool:
    return content[:8] == b"\x89PNG\r\n\x1a\n" or content[:3] == b"\xff\xd8\xff" or content[8:12] == b"WEBP"


def _picture(content: bytes) -> dict[str, str]:
    from PIL import Image

    tags: dict[str, str] = {}
    try:
        with Image.open(io.BytesIO(content)) as picture:  # reads the header; the pixels stay packed
            for name, text in picture.info.items():
                if isinstance(name, str) and isinstance(text, str):
                    tags[name.lower()] = text
            exif = picture.getexif()
            for text in map(exif.get, EXIF_TAGS):
                name, colon, value = text.partition(":") if isinstance(text, str) else ("", "", "")
                if colon:
                    tags.setdefault(name.strip().lower(), value)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return tags
    return tags


def _clip(source: str | io.BytesIO) -> dict[str, str]:
    import av

    try:
        with av.open(source) as container:
            tags = {str(name).lower(): str(text) for name, text in container.metadata.items()}
    except (av.FFmpegError, ValueError, OSError):
        return {}
    return {**_nested(tags.get("comment")), **tags}


def _nested(comment: str | None) -> dict[str, str]:
    """VideoHelperSuite writes one tag, a JSON object whose entries are JSON again."""
    try:
        entries: Any = json.loads(comment or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(entries, dict):
        return {}
    return {str(name): entry if isinstance(entry, str) else json.dumps(entry) for name, entry in entries.items()}
