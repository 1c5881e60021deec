"""Runs a ComfyUI process with this pack: prepares its base directory, starts it, and always stops it.

It uses the standard library only, so that it adds nothing to ComfyUI's own start-up time.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import comfyui
from console import Problem

START_TIMEOUT = 180.0
STOP_TIMEOUT = 10.0
MODEL_FOLDERS = ("checkpoints", "diffusers", "diffusion_models", "loras", "text_encoders", "vae")
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Bypasses proxies, which the environment may set for loopback addresses too."""


@dataclass(frozen=True)
class ComfyServer:
    """A running ComfyUI."""

    url: str
    base: Path
    log: Path
    process: subprocess.Popen

    def last_lines(self, count: int = 15) -> str:
        """The end of the log, for messages. Of a progress bar, only the last state."""
        lines = self.log.read_text(errors="replace").rstrip().split("\n")
        return "\n".join(line.rsplit("\r", 1)[-1] for line in lines[-count:])


def free_port(wanted: int = 0, host: str = "127.0.0.1") -> int:
    """``wanted`` if it is free; 0 means any free port. Raises OSError if it is in use."""
    with socket.socket() as probe:
        if os.name == "posix":  # without this, a port that was in use a minute ago counts as taken
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, wanted))
        return probe.getsockname()[1]


def prepare_base(base: Path) -> None:
    """Make a ComfyUI base directory: empty model folders, and this pack linked in as a custom node."""
    for folder in ("custom_nodes", "input", "output", "user", *(f"models/{name}" for name in MODEL_FOLDERS)):
        (base / folder).mkdir(parents=True, exist_ok=True)
    link = base / "custom_nodes" / "atelier"
    if link.is_symlink() and link.resolve() != comfyui.ROOT:
        link.unlink()  # the repository has moved
    if link.exists():
        return
    if os.name == "nt":  # symbolic links need a privilege on Windows, junctions do not
        import _winapi

        _winapi.CreateJunction(str(comfyui.ROOT), str(link))
    else:
        link.symlink_to(comfyui.ROOT, target_is_directory=True)


def device_options(python: str = sys.executable) -> list[str]:
    """``["--cpu"]`` unless torch finds a GPU. Importing torch takes seconds, so the driver is checked first."""
    if not _driver_has_device():
        return ["--cpu"]
    check = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return ["--cpu"] if subprocess.run([python, "-c", check], capture_output=True).returncode else []


def _driver_has_device() -> bool:
    if Path("/dev/kfd").exists():  # AMD: only torch can tell
        return True
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


@contextmanager
def running(
    base: Path,
    name: str,
    *,
    port: int = 0,
    listen: str = "127.0.0.1",
    options: tuple[str, ...] = (),
    with_us: bool = False,
) -> Iterator[ComfyServer]:
    """Start ComfyUI on ``base``, wait until it answers, and stop it at the end, also after an error.

    name: of the log in ``base``. port: 0 takes a free one. Temporary files and ComfyUI's database go to a separate
    folder, so that several servers can share one base directory. with_us: it stays in this process's group, and Linux
    kills it if this process dies, however that happens. Call it in the main thread then.
    """
    base = base.resolve()
    prepare_base(base)
    port = port or free_port()
    log = base / f"{name}.log"
    with tempfile.TemporaryDirectory(prefix="atelier-", ignore_cleanup_errors=True) as scratch:
        command = [
            *(sys.executable, str(comfyui.located() / "main.py"), "--base-directory", str(base)),
            *("--temp-directory", scratch, "--database-url", f"sqlite:///{Path(scratch) / 'comfyui.db'}"),
            *("--listen", listen, "--port", str(port), "--disable-auto-launch", "--disable-api-nodes"),
            *device_options(),
            *options,
        ]
        with log.open("wb") as sink:
            # In a new session Ctrl-C reaches only this process, which then stops ComfyUI.
            process = subprocess.Popen(
                command,
                **{"stdout": sink, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL},
                **({"preexec_fn": die_with_parent} if with_us else {"start_new_session": True}),
            )
        host = "127.0.0.1" if listen.startswith("0.0.0.0") else listen
        server = ComfyServer(f"http://{host}:{port}", base, log, process)
        try:
            _wait_until_up(server)
            yield server
        finally:
            _stop(process)


def die_with_parent() -> None:
    """In the new process, before it becomes ComfyUI: have Linux kill it when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _wait_until_up(server: ComfyServer) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise Problem(
                f"ComfyUI ended while starting (exit code {server.process.returncode}). "
                f"The end of {server.log}:\n{server.last_lines()}"
            )
        try:
            with _DIRECT.open(f"{server.url}/system_stats", timeout=5) as answer:
                json.load(answer)
                return
        except (OSError, ValueError):
            time.sleep(0.1)
    raise Problem(
        f"ComfyUI did not answer within {START_TIMEOUT:.0f} s. The end of {server.log}:\n{server.last_lines()}"
    )


def _stop(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
