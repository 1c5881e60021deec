"""Writes the graph into PNG, animated WebP and GIF, for which FFmpeg writes no tags, where ComfyUI reads it."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

Tags = Mapping[str, str]

PNG_HEADER = 8 + 25
"""Length of a PNG's signature and IHDR chunk in bytes."""


def into(path: Path, container: str, tags: Tags) -> None:
    """Write the tags into a finished WebP or GIF. Other containers already have them from FFmpeg."""
    if tags and container in _WRITERS:
        _WRITERS[container](path, tags)


def in_png(data: bytes, tags: Tags) -> bytes:
    """A PNG file with a text chunk for each tag before the picture (PNG specification, 11.3.3)."""
    chunks = b"".join(_png_chunk(b"tEXt", key.encode("latin-1") + b"\0" + _latin(text)) for key, text in tags.items())
    return data[:PNG_HEADER] + chunks + data[PNG_HEADER:]


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _latin(text: str) -> bytes:
    """JSON text as Latin-1, which is all that a tEXt chunk may hold; other characters become escapes."""
    return text.encode("latin-1", "backslashreplace")


def _into_webp(path: Path, tags: Tags) -> None:
    """Append an EXIF chunk (WebP container specification) with a text field for each tag, as ComfyUI writes them."""
    from PIL import Image

    fields = Image.Exif()
    # ComfyUI numbers the fields from Model (0x0110) down, the prompt first.
    ordered = sorted(tags.items(), key=lambda tag: tag[0] != "prompt")
    for number, (key, text) in zip(range(0x0110, 0, -1), ordered, strict=False):
        fields[number] = f"{key}:{text}"
    exif = fields.tobytes().removeprefix(b"Exif\0\0")
    with path.open("r+b") as file:
        head = bytearray(file.read(30))
        if head[12:16] != b"VP8X":
            return
        head[20] |= 0x08  # the EXIF flag
        file.seek(0, 2)
        file.write(b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2))
        head[4:8] = struct.pack("<I", file.tell() - 8)
        file.seek(0)
        file.write(head)


def _into_gif(path: Path, tags: Tags) -> None:
    """Insert the tags as one JSON object, in a comment before the pictures (GIF89a, section 24)."""
    text = json.dumps(dict(tags)).encode("ascii")
    blocks = (text[n : n + 255] for n in range(0, len(text), 255))
    comment = b"\x21\xfe" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
    longer = path.with_name(f"{path.stem}.comment.part")
    try:
        with path.open("rb") as file, longer.open("wb") as commented:
            head = file.read(13)
            colours = 3 * 2 ** ((head[10] & 7) + 1) if head[10] & 0x80 else 0
            commented.write(head + file.read(colours) + comment)
            shutil.copyfileobj(file, commented)
        os.replace(longer, path)
    finally:
        longer.unlink(missing_ok=True)


_WRITERS: dict[str, Callable[[Path, Tags], None]] = {"webp": _into_webp, "gif": _into_gif}
