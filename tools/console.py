"""Terminal output and exit codes of run.py and its tools.

They print short lines, a progress bar on a terminal, and one readable line instead of a traceback for everything that
a person can fix. Standard library only.
"""

import errno
import shutil
import signal
import sys
from collections.abc import Callable
from types import FrameType


class Problem(Exception):
    """An error that a person can fix. The message says what was found, what was expected and what to do."""


def say(line: str = "") -> None:
    """Print one line at once, also when the output is a file or a pipe."""
    print(line, flush=True)


def guard(main: Callable[[], int]) -> int:
    """Run ``main`` and return its exit code. Errors that a person can fix become one line on stderr.

    SIGTERM, and SIGHUP from a closing terminal, unwind like Ctrl-C, so that started processes are stopped as well.
    """

    def end(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), end)
    try:
        return main()
    except Problem as problem:
        return _fail(str(problem))
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr, flush=True)
        return 130
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _fail(f"The disk is full{_where(error)}. Make room and run the same command again.")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return _fail(f"No permission to read or write{_where(error)}. Choose another place or fix the permissions.")
        raise


def _fail(message: str) -> int:
    print(f"Error: {message}", file=sys.stderr, flush=True)
    return 1


def _where(error: OSError) -> str:
    return f" ({error.filename})" if error.filename else ""


class Progress:
    """A line that is redrawn on a terminal; elsewhere a plain line for each new label and each quarter of its steps."""

    WIDTH = 24

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self._label = ""
        self._quarter = 0
        self._drawn = False

    def show(self, label: str, done: int = 0, total: int = 0) -> None:
        """Show that ``label`` is running, with ``done`` of ``total`` steps (0 = unknown)."""
        if self.live:
            self._draw(label, done, total)
        else:
            self._print(label, done, total)

    def close(self) -> None:
        """Leave the terminal on a fresh line."""
        if self._drawn:
            self._write("\r\033[K")
            self._drawn = False

    def _draw(self, label: str, done: int, total: int) -> None:
        bar = ""
        if total:
            filled = self.WIDTH * done // total
            bar = f"[{'#' * filled}{'.' * (self.WIDTH - filled)}] {done}/{total}  "
        columns = shutil.get_terminal_size().columns
        self._write("\r\033[K" + f"  {bar}{label}"[: columns - 1])
        self._drawn = True

    def _print(self, label: str, done: int, total: int) -> None:
        quarter = 4 * done // total if total else 0
        if label == self._label and quarter <= self._quarter:
            return
        self._label, self._quarter = label, quarter
        say(f"  {label}" + (f" {done}/{total}" if done else ""))

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
