"""Which of the ComfyUIs that share a job store are alive, without a clock: a lock that the system drops at their death.

A process is a number, and the byte of that number in one file, which it locks for as long as it lives. SQLite's own
journal wants all processes on one machine, so such a lock is seen by everyone who has the store open.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

NUMBERS = 2**31 - 2
"""Windows locks up to this byte. Numbers are drawn anew at each start, so that nobody takes a dead one for its own."""


class Processes:
    """This process among the others. Raises OSError where the folder's disk has no locks."""

    def __init__(self, file: Path) -> None:
        # POSIX drops all of a process's locks with the first descriptor it closes: there is one, and it stays open.
        self._file = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        number = secrets.randbelow(NUMBERS)
        while not _lock(self._file, number):
            number = secrets.randbelow(NUMBERS)
        self.own = str(number)

    def alive(self, process: str) -> bool:
        """Whether the process that wrote this into the store still runs."""
        if process == self.own:
            return True
        if not process.isdecimal() or int(process) > NUMBERS:  # written by an Atelier that knew itself by the clock
            return False
        if not _lock(self._file, int(process)):
            return True
        _unlock(self._file, int(process))
        return False

    def close(self) -> None:
        """Be dead to the others."""
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
