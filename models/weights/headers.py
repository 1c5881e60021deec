"""Check the headers of model files before a library reads them: their counts must agree with the file's size.

Libraries trust the header of a downloaded file: a GGUF file of a hundred bytes that announces 2^40 entries takes all
memory. This module reads only headers, and refuses headers larger than any published one.
"""

from __future__ import annotations

import json
import stat
import struct
from pathlib import Path
from typing import Any, BinaryIO

from .errors import CheckpointError

MB = 2**20
MAX_JSON = 16 * MB
"""Largest config.json or index of weights, in bytes; the largest published index has about 3 MB."""
MAX_HEADER = 32 * MB
"""Largest safetensors header, in bytes; 4,000 tensors take about 0.5 MB, trainers' metadata up to a few MB more."""
MAX_TENSORS = 50_000
MAX_ENTRIES = 2_000_000
"""Most entries of all lists of a GGUF file. Gemma 3's vocabulary of 262,000 words has three lists, and its merges."""
MAX_DIMENSIONS, MAX_DEPTH = 8, 2
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""GGUF number type -> bytes."""
STRING, ARRAY = 8, 9


def check(path: Path) -> bytes:
    """The first 24 bytes of a model file. Raises CheckpointError if it is not a file or its header is impossible."""
    size = size_of(path)
    with path.open("rb") as file:
        head = file.read(24)
        if head[:4] == b"GGUF":
            _check_gguf(path, file, size)
        elif head[8:9] == b"{":
            _check_safetensors(path, file, head, size)
    return head


def size_of(path: Path) -> int:
    """Size of a regular file in bytes. Raises CheckpointError for a pipe or a device, which would block when opened."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{path.name} is not a file that can be read, but a pipe, a device or a folder.")
    return status.st_size


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file beside weights. Raises CheckpointError if it is damaged, or over MAX_JSON bytes."""
    check_json(path)
    try:
        return parsed_json(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not text in UTF-8 ({error.reason}). Download it again.") from error


def check_json(path: Path) -> None:
    """Raises CheckpointError for a JSON file over MAX_JSON bytes, which is more than any published one has."""
    if (size := size_of(path)) > MAX_JSON:
        raise CheckpointError(
            f"{path} has {size / MB:.0f} MB; up to {MAX_JSON // MB} MB are read as JSON. Download it again."
        )


def parsed_json(text: str, where: str) -> dict[str, Any]:
    """The JSON object in a file's text or metadata. `where` names it in errors. Raises CheckpointError."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where} is not valid JSON ({error}). Download it again.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{where} is not a JSON object: {text[:20]!r}. Download it again.")
    return value


def _check_safetensors(path: Path, file: BinaryIO, head: bytes, size: int) -> None:
    length = int.from_bytes(head[:8], "little")
    if length > size - 8:
        raise CheckpointError(
            f"{path.name} ({size / MB:.1f} MB) is a damaged or incomplete safetensors file: its header alone should "
            f"have {length} bytes. Download it again."
        )
    if length > MAX_HEADER:
        raise CheckpointError(
            f"{path.name} has a header of {length / MB:.0f} MB; up to {MAX_HEADER // MB} MB are read. It is damaged, "
            "or not a model for this pack."
        )
    file.seek(8)
    if (count := file.read(length).count(b'"data_offsets"')) > MAX_TENSORS:
        raise CheckpointError(f"{path.name} has {count} tensors; up to {MAX_TENSORS} are read.")


def _check_gguf(path: Path, file: BinaryIO, size: int) -> None:
    try:
        _Gguf(file, size).walk()
    except (ValueError, struct.error) as error:
        raise CheckpointError(
            f"{path.name} ({size / MB:.1f} MB) is a damaged or incomplete GGUF file ({error}). Download it again."
        ) from error


class _Gguf:
    """A walk through a GGUF header that reads only lengths and counts. Raises ValueError, struct.error."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.at, self.entries = file, size, 4, 0
        self.order = "<"

    def walk(self) -> None:
        self.file.seek(self.at)
        if self._take("I") & 0xFFFF == 0:  # a small version number in big-endian byte order
            self.order = ">"
        tensors, fields = self._take("Q"), self._take("Q")
        if tensors > MAX_TENSORS:
            raise ValueError(f"it announces {tensors} tensors")
        self._fits(fields, 13)
        for _ in range(fields):
            self._string()
            self._value(self._take("I"))
        self._fits(tensors, 24)
        for _ in range(tensors):
            self._string()
            dimensions = self._take("I")
            if dimensions > MAX_DIMENSIONS:
                raise ValueError(f"it announces a tensor of {dimensions} dimensions")
            self._skip(dimensions, 8)
            self._skip(1, 12)  # type and offset

    def _value(self, kind: int, depth: int = 0) -> None:
        if kind == STRING:
            self._string()
        elif kind == ARRAY:
            self._array(depth)
        else:
            self._skip(1, self._number(kind))

    def _array(self, depth: int) -> None:
        kind, count = self._take("I"), self._take("Q")
        self._fits(count, {STRING: 8, ARRAY: 12}.get(kind) or self._number(kind))
        if kind not in (STRING, ARRAY):
            self._skip(count, SIZES[kind])
        elif depth >= MAX_DEPTH:
            raise ValueError("its lists are nested too deeply")
        else:
            for _ in range(count):
                self._value(kind, depth + 1)

    def _number(self, kind: int) -> int:
        if kind not in SIZES:
            raise ValueError(f"it has values of the unknown kind {kind}")
        return SIZES[kind]

    def _string(self) -> None:
        self._skip(self._take("Q"), 1)

    def _take(self, kind: str) -> int:
        content = self.file.read(struct.calcsize(f"<{kind}"))
        self.at += len(content)
        return struct.unpack(f"{self.order}{kind}", content)[0]

    def _skip(self, count: int, each: int) -> None:
        if self.at + count * each > self.size:
            raise ValueError("it ends within its header")
        self.at += count * each
        self.file.seek(count * each, 1)

    def _fits(self, count: int, each: int) -> None:
        """Check that `count` entries of at least `each` bytes fit into the file and into MAX_ENTRIES."""
        self.entries += count
        if self.at + count * each > self.size or self.entries > MAX_ENTRIES:
            raise ValueError(f"it announces {count} entries in {self.size} bytes")
