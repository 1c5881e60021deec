"""Tensors that wait in a temporary file, because there may be more of them than fit into memory."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch


class Spool:
    """Tensors in the order in which they were added, to be read as often as wanted, in main memory.

    folder: where the file is made (None: the system's folder for temporary files); it is gone when the block is left.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder or tempfile.gettempdir()
        self.file = tempfile.TemporaryFile(dir=self.folder)
        self.entries: list[tuple[torch.Size, torch.dtype]] = []
        self.bytes = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: Any) -> None:
        with suppress(OSError):  # of a full disk, told before
            self.file.close()

    def add(self, tensor: torch.Tensor) -> None:
        """Raises OSError when the disk is full, with what to do."""
        try:
            self.file.seek(self.bytes)
            self.file.write(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
            self.file.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OSError(
                errno.ENOSPC,
                f"The disk of {self.folder} is full: a clip that goes through the VAE in tiles waits there, "
                f"{self.bytes / 1e9:.1f} GB so far. Make room, or take a smaller picture or a shorter clip",
            ) from error
        self.entries.append((tensor.shape, tensor.dtype))
        self.bytes += tensor.nbytes

    def __iter__(self) -> Iterator[torch.Tensor]:
        position = 0
        for shape, dtype in self.entries:
            tensor = torch.empty(shape, dtype=dtype)
            if tensor.numel():
                self.file.seek(position)
                self.file.readinto(tensor.flatten().view(torch.uint8).numpy())
            position += tensor.nbytes
            yield tensor
