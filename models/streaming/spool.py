"""Keep tensors in a temporary file, for when they may not fit into memory."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch


class Spool:
    """A list of tensors in a temporary file. Iterating reads them in order, into main memory, as often as needed.

    folder: where to create the file; None: the system's temporary folder. Leaving the `with` block deletes it.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder or tempfile.gettempdir()
        self.file = tempfile.TemporaryFile(dir=self.folder)
        self.entries: list[tuple[torch.Size, torch.dtype]] = []
        self.bytes = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: Any) -> None:
        with suppress(OSError):  # a full disk, already reported by `add`
            self.file.close()

    def add(self, tensor: torch.Tensor) -> None:
        """Append a tensor. Raises OSError with advice if the disk is full."""
        try:
            self.file.seek(self.bytes)
            self.file.write(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
            self.file.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OSError(
                errno.ENOSPC,
                f"The disk of {self.folder} is full: the VAE stores the tiles of a clip there, "
                f"{self.bytes / 1e9:.1f} GB so far. Make room, or choose a smaller picture or a shorter clip",
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
