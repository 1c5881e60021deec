"""Runs a PostgreSQL server of its own in a temporary folder, for tests and benchmarks."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from comfy_server import free_port
from console import Problem

USER, PASSWORD, DATABASE = "atelier", "not a secret: %/@", "postgres"
UNPRIVILEGED = "nobody"
"""Who runs the server where this process is root's: PostgreSQL refuses root."""
START_TIMEOUT = 60.0


def programs() -> Path | None:
    """The folder of PostgreSQL's server programs. Debian keeps them out of PATH."""
    named = shutil.which("initdb")
    folders = [Path(named).resolve().parent] if named else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


@dataclass
class PostgreSQLServer:
    """A server on loopback, which can be stopped and started again."""

    bin: Path
    folder: Path
    port: int
    _process: subprocess.Popen | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """As api.json has it."""
        from urllib.parse import quote

        return f"postgresql+psycopg://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{DATABASE}"

    def start(self) -> None:
        options = ["-D", self.folder / "data", "-p", str(self.port), "-k", self.folder, "-h", "127.0.0.1"]
        with (self.folder / "log").open("ab") as log:
            command = [self.bin / "postgres", *options]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **_as_somebody())
        until = time.monotonic() + START_TIMEOUT
        ready = [self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > until:
                raise Problem(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(2)  # "fast": connections are broken off
            self._process.wait(60)
            self._process = None


@contextmanager
def running() -> Iterator[PostgreSQLServer]:
    """A new, empty server. Raises Problem if PostgreSQL is not installed or does not start."""
    programs_folder = programs()
    if programs_folder is None:
        raise Problem("PostgreSQL is not installed. Debian: apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="atelier-postgresql-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        if _as_somebody():
            for path in (folder, folder / "password"):
                shutil.chown(path, UNPRIVILEGED)
        made = [programs_folder / "initdb", "-D", folder / "data", "-U", USER, "-A", "scram-sha-256", "-E", "UTF8"]
        made += ["--locale=C", "--no-sync", f"--pwfile={folder / 'password'}"]
        done = subprocess.run(made, cwd=folder, capture_output=True, text=True, check=False, **_as_somebody())
        if done.returncode:
            raise Problem(f"PostgreSQL's initdb failed: {done.stderr[-2000:]}")
        server = PostgreSQLServer(programs_folder, folder, free_port())
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _as_somebody() -> dict:
    return {"user": UNPRIVILEGED} if getattr(os, "geteuid", lambda: 1)() == 0 else {}
