"""Headers of model files, looked at before a library reads them: their counts are checked against the file's size.

A header is a stranger's word for how much there is to read. The libraries believe it: a GGUF file of a hundred bytes
that announces 2^40 entries takes all memory. Nothing here reads more than a header, and no header may be larger than
any that was ever published.
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
"""Bytes of a config.json or an index of weights; the largest published index has about 3 MB."""
MAX_HEADER = 32 * MB
"""Bytes of a safetensors header; 4,000 tensors take about 0.5 MB, notes of trainers up to a few more."""
MAX_TENSORS = 50_000
MAX_ENTRIES = 2_000_000
"""Entries of all lists of a GGUF file together: Gemma 3's vocabulary of 262,000 words has three, and its merges."""
MAX_DIMENSIONS, MAX_DEPTH = 8, 2
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of GGUF's kinds of numbers."""
STRING, ARRAY = 8, 9


def check(path: Path) -> bytes:
    """The first 24 bytes of a model file. Raises CheckpointError where it is no file, or its header cannot be true."""
    size = size_of(path)
    with path.open("rb") as file:
        head = file.read(24)
        if head[:4] == b"GGUF":
            _check_gguf(path, file, size)
        elif head[8:9] == b"{":
            _check_safetensors(path, file, head, size)
    return head


def size_of(path: Path) -> int:
    """Bytes of a file that is one: opening a pipe or a device would wait for ever. Raises CheckpointError."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise CheckpointError(f"{path.name} is not a file that can be read, but a pipe, a device or a folder.")
    return found.st_size


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file beside weights. Raises CheckpointError where it is damaged, or larger than any is."""
    check_json(path)
    try:
        return parsed_json(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not text in UTF-8 ({error.reason}). Download it again.") from error


def check_json(path: Path) -> None:
    """Raises CheckpointError where a JSON file is larger than any that is published beside weights."""
    if (size := size_of(path)) > MAX_JSON:
        raise CheckpointError(
            f"{path} has {size / MB:.0f} MB; up to {MAX_JSON // MB} MB are read as JSON. Download it again."
        )


def parsed_json(text: str, where: str) -> dict[str, Any]:
    """The object in a file's text or metadata. Raises CheckpointError."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where} is not valid JSON ({error}). Download it again.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{where} holds no JSON object: {text[:20]!r}. Download it again.")
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
            "or no model for this pack."
        )
    file.seek(8)
    if (count := file.read(length).count(b'"data_offsets"')) > MAX_TENSORS:
        raise CheckpointError(f"{path.name} has {count} tensors; no model has more than {MAX_TENSORS}.")


def _check_gguf(path: Path, file: BinaryIO, size: int) -> None:
    try:
        _Gguf(file, size).walk()
    except (ValueError, struct.error) as error:
        raise CheckpointError(
            f"{path.name} ({size / MB:.1f} MB) is a damaged or incomplete GGUF file ({error}). Download it again."
        ) from error


class _Gguf:
    """One walk through a GGUF header, which looks at lengths and counts only. Raises ValueError, struct.error."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.at, self.entries = file, size, 4, 0
        self.order = "<"

    def walk(self) -> None:
        self.file.seek(self.at)
        if self._take("I") & 0xFFFF == 0:  # a small version with its bytes the other way round
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
            self._skip(1, 12)  # kind and place

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
        """So many entries, each of so many bytes at least, must be there, and not more than a reader can take in."""
        self.entries += count
        if self.at + count * each > self.size or self.entries > MAX_ENTRIES:
            raise ValueError(f"it announces {count} entries in {self.size} bytes")
