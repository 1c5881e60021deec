"""Liveness of the ComfyUI processes that share a job store, by file locks: the system releases them when one dies.

Each process draws a random number and locks the byte at that offset of one file until it ends. All processes run on
one machine, because SQLite's WAL journal requires it, so each sees the others' locks.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

NUMBERS = 2**31 - 2
"""Windows can lock bytes below 2^31; this one is that of a farm's head. A process's number is random, so a new process
does not get that of a dead one."""


class Processes:
    """The lock of this process, and the check of the others'. Raises OSError if the file system has no locks."""

    def __init__(self, file: Path) -> None:
        # POSIX releases all locks of a process on a file when it closes any descriptor of it. So one stays open.
        self._file = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        number = secrets.randbelow(NUMBERS)
        while not _lock(self._file, number):
            number = secrets.randbelow(NUMBERS)
        self.own = str(number)

    def alive(self, process: str) -> bool:
        """Whether the process with this number in the store still runs."""
        if process == self.own:
            return True
        if not process.isdecimal() or int(process) > NUMBERS:  # written by an older Atelier, which used a time stamp
            return False
        if not _lock(self._file, int(process)):
            return True
        _unlock(self._file, int(process))
        return False

    def lead(self) -> bool:
        """Become the head of this store's farm until this process ends. Returns False if another process is."""
        return _lock(self._file, NUMBERS)

    def close(self) -> None:
        """Release the lock: the other processes now consider this one dead."""
        os.close(self._file)


if os.name == "nt":
    import msvcrt

    def _lock(file: int, number: int) -> bool:
        os.lseek(file, number, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _unlock(file: int, number: int) -> None:
        os.lseek(file, number, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: int, number: int) -> bool:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _unlock(file: int, number: int) -> None:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, number)
