"""The graph inside files whose writers in FFmpeg take no tags: PNG, animated WebP, GIF, as ComfyUI reads it there."""

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
"""Bytes of a PNG file in front of its first chunk after IHDR."""


def into(path: Path, container: str, tags: Tags) -> None:
    """Put the tags into a finished file of a container that FFmpeg writes no tags into; nothing is done for others."""
    if tags and container in _WRITERS:
        _WRITERS[container](path, tags)


def in_png(data: bytes, tags: Tags) -> bytes:
    """A PNG file with a text chunk for each tag (PNG specification, 11.3.3), in front of the picture."""
    chunks = b"".join(_png_chunk(b"tEXt", key.encode("latin-1") + b"\0" + _latin(text)) for key, text in tags.items())
    return data[:PNG_HEADER] + chunks + data[PNG_HEADER:]


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _latin(text: str) -> bytes:
    """JSON text escaped to what a tEXt chunk may hold."""
    return text.encode("latin-1", "backslashreplace")


def _into_webp(path: Path, tags: Tags) -> None:
    """An EXIF chunk at the end (WebP container specification), a text field for each tag, as ComfyUI writes them."""
    from PIL import Image

    fields = Image.Exif()
    # Fields from Model (0x0110) down; the prompt comes first, as in ComfyUI's own files.
    ordered = sorted(tags.items(), key=lambda tag: tag[0] != "prompt")
    for number, (key, text) in zip(range(0x0110, 0, -1), ordered, strict=False):
        fields[number] = f"{key}:{text}"
    exif = fields.tobytes().removeprefix(b"Exif\0\0")
    with path.open("r+b") as file:
        head = bytearray(file.read(30))
        if head[12:16] != b"VP8X":
            return
        head[20] |= 0x08  # "there is EXIF"
        file.seek(0, 2)
        file.write(b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2))
        head[4:8] = struct.pack("<I", file.tell() - 8)
        file.seek(0)
        file.write(head)


def _into_gif(path: Path, tags: Tags) -> None:
    """A comment (GIF89a, section 24) in front of the pictures: the tags as one JSON object."""
    text = json.dumps(dict(tags)).encode("ascii")
    blocks = (text[n : n + 255] for n in range(0, len(text), 255))
    comment = b"\x21\xfe" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
    longer = path.with_name(f"{path.stem}.comment.part")
    try:
        with path.open("rb") as file, longer.open("wb") as made:
            head = file.read(13)
            colours = 3 * 2 ** ((head[10] & 7) + 1) if head[10] & 0x80 else 0
            made.write(head + file.read(colours) + comment)
            shutil.copyfileobj(file, made)
        os.replace(longer, path)
    finally:
        longer.unlink(missing_ok=True)


_WRITERS: dict[str, Callable[[Path, Tags], None]] = {"webp": _into_webp, "gif": _into_gif}
