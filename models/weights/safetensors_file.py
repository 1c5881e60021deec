"""Safetensors files: the header is read as text, the tensors are memory-mapped in parts.

The library's own `safe_open` maps the whole file first, which fails if the file is larger than memory and swap.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch

from . import headers
from .errors import CheckpointError
from .gguf import Blocks, readable
from .mapped import Described, Mapped
from .quantised import Quantised

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


_BLOCKS = re.compile(r"\.(Q\d\w*)_qweight$")
"""The name of a weight that is stored as GGUF blocks, in repackaged safetensors files of Mochi and CogVideoX."""


class SafetensorsFile:
    """A safetensors file with the interface of the library's `safe_open`.

    `module.Q8_0_qweight`, rows of GGUF blocks as bytes, appears as the weight `module.weight`. Raises CheckpointError
    if the header does not match the file, or names blocks of an unsupported type.
    """

    def __init__(self, path: Path) -> None:
        size = headers.size_of(path)
        with path.open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            header = headers.parsed_json(file.read(start - 8).decode("utf-8", "replace"), f"The header of {path.name}")
        metadata = header.pop("__metadata__", None)
        self.path, self._tensors = path, header
        self._metadata = metadata if isinstance(metadata, dict) else {}
        ranges = {name: _range(path, name, entry, size - start) for name, entry in header.items()}
        self._mapped = Mapped(path, {name: (start + begin, start + end) for name, (begin, end) in ranges.items()})
        self._blocks = {_BLOCKS.sub(".weight", name): name for name in header if _BLOCKS.search(name)}
        if self._blocks:
            readable(path, {_BLOCKS.search(name)[1] for name in self._blocks.values()})
        for name in self._blocks.values():
            if header[name]["dtype"] not in ("U8", "I8") or len(header[name]["shape"]) != 2:
                raise CheckpointError(f"{path.name} is damaged: its {name} has no rows of bytes. Download it again.")

    def __enter__(self) -> SafetensorsFile:
        return self

    def __exit__(self, *_: Any) -> None:
        """Closes nothing: the bytes of a tensor are memory-mapped and stay mapped as long as it is used."""

    def keys(self) -> list[str]:
        return [_BLOCKS.sub(".weight", name) for name in self._tensors]

    def metadata(self) -> dict[str, str]:
        return {name: text for name, text in self._metadata.items() if isinstance(text, str)}

    def stored_bytes(self, key: str) -> int:
        return self._mapped.bytes_of(self._blocks.get(key, key))

    def get_slice(self, key: str) -> Described:
        entry = self._tensors[self._blocks.get(key, key)]
        if key not in self._blocks:
            return Described(entry["shape"], entry["dtype"])
        kind = _BLOCKS.search(self._blocks[key])[1]
        return Described([*entry["shape"][:-1], Blocks(kind).columns(entry["shape"][-1])], kind)

    def get_tensor(self, key: str) -> torch.Tensor:
        """The weight: plain, or a Quantised matrix."""
        if key in self._blocks:
            name = self._blocks[key]
            rows = self._mapped.content(name).reshape(self._tensors[name]["shape"])
            return Quantised.of(rows, Blocks(_BLOCKS.search(name)[1]))
        dtype = self._tensors[key]["dtype"]
        if dtype not in DTYPES:
            raise CheckpointError(
                f"{self.path.name} stores {key} as {dtype}, which cannot be read here. Download the model in 16 bits, "
                "as fp8, or as a .gguf file."
            )
        return self._mapped.content(key).view(DTYPES[dtype]).reshape(self._tensors[key]["shape"])


def _range(path: Path, name: str, entry: Any, length: int) -> tuple[int, int]:
    """(begin, end) of a tensor in bytes, within `length` bytes of weights. Raises CheckpointError."""
    try:
        shape, dtype, (begin, end) = entry["shape"], entry["dtype"], entry["data_offsets"]
        count = math.prod(shape) * DTYPES[dtype].itemsize if dtype in DTYPES else end - begin
        valid = all(type(number) is int and number >= 0 for number in (*shape, begin, end)) and end - begin == count
    except (KeyError, TypeError, ValueError):
        valid = False
    if not valid:
        raise CheckpointError(
            f"{path.name} is a damaged safetensors file: its header's entry for '{name[:80]}' is invalid. Download "
            "it again."
        )
    if end > length:
        raise CheckpointError(
            f"{path.name} ({path.stat().st_size / 1e6:.1f} MB) is a damaged or incomplete safetensors file: its "
            f"'{name[:80]}' should end {(end - length) / 1e6:.1f} MB after the end of the file. Download it again."
        )
    return begin, end
