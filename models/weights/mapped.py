"""Memory-map parts of a file of any size. They are read from disk when they are used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

WINDOW = 2**31
"""Bytes per mapping, unless one part is larger. Linux refuses a writable mapping that is larger than memory and swap
together: in 23 GB, a file of 28.6 GB cannot be mapped whole. Each mapping uses a file descriptor, so windows are large
and few."""


class Mapped:
    """Byte ranges of a file, by name, mapped copy-on-write: the file never changes, and unused pages take no memory."""

    def __init__(self, path: Path, ranges: dict[str, tuple[int, int]]) -> None:
        self.path, self.ranges = path, ranges
        self._window_of: dict[str, int] = {}
        self._windows: list[tuple[int, int]] = []
        self._arrays: dict[int, np.ndarray] = {}
        for name, (begin, end) in sorted(ranges.items(), key=lambda item: item[1]):
            if not self._windows or max(end, self._windows[-1][1]) - self._windows[-1][0] > WINDOW:
                self._windows.append((begin, end))
            start, last = self._windows[-1]
            self._windows[-1] = start, max(last, end)
            self._window_of[name] = len(self._windows) - 1

    def bytes_of(self, name: str) -> int:
        begin, end = self.ranges[name]
        return end - begin

    def content(self, name: str) -> torch.Tensor:
        """The bytes of a range, uint8 [count]."""
        begin, end = self.ranges[name]
        if begin == end:
            return torch.empty(0, dtype=torch.uint8)
        number = self._window_of[name]
        start, last = self._windows[number]
        if number not in self._arrays:
            self._arrays[number] = np.memmap(self.path, np.uint8, "c", start, (last - start,))
        return torch.from_numpy(self._arrays[number][begin - start : end - start])


class Described:
    """A tensor's shape and dtype from a header, with the interface of a safetensors slice."""

    def __init__(self, shape: list[int], dtype: str) -> None:
        self._shape, self._dtype = [int(side) for side in shape], dtype

    def get_shape(self) -> list[int]:
        return self._shape

    def get_dtype(self) -> str:
        return self._dtype
