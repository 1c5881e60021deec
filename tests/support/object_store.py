"""A real S3 server (moto's) on loopback, which can be stopped and started again. It then has forgotten everything."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest
from comfy_server import free_port

KEYS = {"key": "a key", "secret": "a secret"}
START_TIMEOUT = 60.0


class ObjectStore:
    """The server, with a bucket "films"."""

    url = "s3://films/atelier"

    def __init__(self) -> None:
        self._port, self._process = free_port(), None

    @property
    def options(self) -> dict:
        """As `files_options` in api.json."""
        return {"endpoint_url": f"http://127.0.0.1:{self._port}", **KEYS}

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-p", str(self._port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + START_TIMEOUT
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.options['endpoint_url']}/moto-api/", timeout=5).close()
                break
            assert self._process.poll() is None and time.monotonic() < until, "moto's server did not start"
            time.sleep(0.1)
        self.files().mkdir("films")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def files(self):
        """The server's content, through a client of its own."""
        import fsspec

        return fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True, **self.options)


@contextlib.contextmanager
def object_store() -> Iterator[ObjectStore]:
    """Skips the test, in words, if s3fs or moto is not here."""
    for package in ("s3fs", "moto"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: python run.py test --farm installs it")
    store = ObjectStore()
    try:
        store.start()
        yield store
    finally:
        store.stop()
