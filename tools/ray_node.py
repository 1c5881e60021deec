"""Starts a machine's part of the farm's Ray, with a token, without dashboard, job API or ray://, and stops it.

Run as a script it is Ray's own command line, with a loopback address kept.
"""

import importlib.util
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import comfyui
from comfy_server import die_with_parent
from console import Problem

STORE_BYTES = 200_000_000
"""Ray's shared memory on each machine. Files travel in parts of 8 MB."""
START_TIMEOUT = 120.0
ATTEMPTS = 3
SLOW = "timed out during startup"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Slow(Problem):
    """Ray gave up its own start."""


def token_file(base: Path) -> Path:
    return base / "user" / "atelier" / "farm" / "token"


def make_token(file: Path) -> None:
    """Write a random token that only its owner can read, unless there is one."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(secrets.token_hex(32))


def check_token(file: Path) -> None:
    """Raises Problem unless there is a token that only its owner can read."""
    if not file.is_file() or not file.read_text(encoding="utf-8").strip():
        raise Problem(
            f"there is no token at {file}. Copy the one that 'run.py serve --farm' made on the head's machine."
        )
    if os.name == "posix" and file.stat().st_mode & 0o077:
        raise Problem(f"others can read the token {file}: chmod 600 it, and make a new one if that was so for long.")


def environment(token: Path) -> dict[str, str]:
    """The environment of Ray's processes and of the head's ComfyUI."""
    return {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # the head makes elsewhere what ran here
        "RAY_worker_niceness": "0",  # not 15: whatever else the machine does would slow a worker's ComfyUI
    }


@contextmanager
def running(token: Path, log: Path, *options: str, **variables: str) -> Iterator[subprocess.Popen]:
    """Run `ray start OPTIONS` on this machine; its end ends everything that it started here, and this process's end it.

    variables: further environment, which Ray's actors on this machine get. Raises Problem if it does not start.
    """
    check_token(token)
    command = [sys.executable, __file__, "start", *options, "--block", "--disable-usage-stats"]
    command += ["--object-store-memory", str(STORE_BYTES), "--num-cpus", "4"]
    log.parent.mkdir(parents=True, exist_ok=True)
    process = _started(command, log, environment(token) | variables)
    try:
        yield process
    finally:
        _stop(process)


def _started(command: list[str], log: Path, variables: dict[str, str]) -> subprocess.Popen:
    """Start Ray, again if it took more than the 30 s that Ray gives itself on a busy machine. Raises Problem."""
    for attempt in range(ATTEMPTS):
        with log.open("wb") as sink:
            process = subprocess.Popen(
                command,
                **{"stdout": sink, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL},
                **{"start_new_session": True, "env": variables, "preexec_fn": die_with_parent},
            )
        try:
            _wait(process, log)
            return process
        except Slow:
            if attempt == ATTEMPTS - 1:
                raise
        except BaseException:
            _stop(process)
            raise


def _stop(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()  # Ray's reaper ends the rest
            process.wait()


@contextmanager
def head(token: Path, log: Path, address: str, port: int) -> Iterator[subprocess.Popen]:
    """The head's Ray, which runs no worker. Its files are in a private folder with a short path."""
    make_token(token)
    with tempfile.TemporaryDirectory(prefix="atelier-ray-", ignore_cleanup_errors=True) as folder:
        more = ("--include-dashboard", "false", "--temp-dir", folder, "--num-gpus", "0")
        with running(token, log, "--head", "--node-ip-address", address, "--port", str(port), *more) as process:
            yield process


def _wait(process: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + START_TIMEOUT
    while time.monotonic() < until:
        text = log.read_text(errors="replace")
        if "Ray runtime started" in text:
            return
        if process.poll() is not None:
            raise (
                Slow(f"Ray did not start in its 30 s: this machine is busy. See {log}.")
                if SLOW in text
                else Problem(_why(text, log))
            )
        time.sleep(0.1)
    raise Problem(f"Ray did not start within {START_TIMEOUT:.0f} s. See {log}.")


def _why(text: str, log: Path) -> str:
    """What a failed `ray start` means, for the person who started it."""
    if "Version mismatch" in text:
        wanted = " ".join(text[text.index("Version mismatch") :].split())[:400]
        return f"the head runs another Ray or Python. {wanted}"
    if "oken" in text and ("invalid" in text.lower() or "unauthenticated" in text.lower()):
        return "the head refused the token. Copy the head's token file to this machine, and name it with --token."
    if "used by other components" in text:
        return "Ray takes the farm's port for its own processes, as 10002 to 19999. Name another --farm-port."
    if "Address already in use" in text or "port" in text and "already" in text:
        return f"the farm's port is taken: another farm runs here. Stop it, or name another --farm-port. See {log}."
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return f"Ray did not start: {lines[-1].strip()[:300] if lines else 'it gave no reason'} (log: {log})"


def main() -> None:
    spec = importlib.util.spec_from_file_location("loopback", comfyui.ROOT / "farm" / "loopback.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.keep_loopback()
    from ray.scripts.scripts import main as ray

    os.umask(0o077)
    sys.argv[0] = "ray"
    ray()


if __name__ == "__main__":
    main()
