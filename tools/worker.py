"""Lends this machine to a farm until Ctrl-C: one worker for each graphics card, or one on the processor."""

import argparse
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import comfyui
import ray_node
from comfy_server import device_options, prepare_base
from console import Problem, guard, say
from demo import BASE

ANSWER = 10.0
"""Seconds in which the head's address must answer."""
MOST = 16
"""Farms' folders on one machine."""


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="run.py worker", description="Lend this machine to a farm until Ctrl-C.")
    options.add_argument("--head", required=True, metavar="ADDRESS", help="host:port that 'run.py serve --farm' named")
    options.add_argument("--token", type=Path, metavar="FILE", help="a copy of the head's token (default: this base's)")
    options.add_argument("--listen", metavar="ADDR", help="this machine's address in the farm's network")
    options.add_argument("--workers", type=int, metavar="N", help="default: one for each graphics card, else one")
    return options


@contextmanager
def own_folder(base: Path) -> Iterator[Path]:
    """A folder for this machine's workers that no other `run.py worker` uses now."""
    import fcntl

    for number in range(MOST):
        folder = base / f"farm-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            yield folder
            return
    raise Problem(f"{MOST} workers run on {base} already. Stop one.")


def check_head(address: str) -> None:
    """Raises Problem if nothing listens at the head's address. Ray alone would try for two minutes, and not say so."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER).close()
    except (OSError, ValueError, OverflowError) as error:
        raise Problem(
            f"nothing answers at {address} ({error}). Is 'run.py serve --farm' running there with this address, "
            "and does a firewall let it through?"
        ) from None


def cards() -> int:
    """The number of graphics cards that torch can use."""
    if device_options() == ["--cpu"]:
        return 0
    code = "import torch; print(torch.cuda.device_count())"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout or 0)


@contextmanager
def lent(base: Path, head: str, token: Path, listen: str | None, workers: int | None) -> Iterator[subprocess.Popen]:
    """This machine's Ray in the farm, with workers. Raises Problem."""
    prepare_base(base)
    host = head.rpartition(":")[0]
    listen = listen or ("127.0.0.1" if host in ray_node.LOOPBACK else None)
    gpus = cards()
    with own_folder(base) as folder:
        variables = {
            "ATELIER_FARM_COMMAND": json.dumps([sys.executable, str(comfyui.ROOT / "tools" / "headless.py")]),
            "ATELIER_FARM_ROOT": str(comfyui.ROOT),
            "ATELIER_FARM_BASE": str(folder),
            "ATELIER_COMFYUI": str(comfyui.located()),
            "ATELIER_FARM_THREADS": os.environ.get("OMP_NUM_THREADS", ""),
        }
        count = workers or gpus or 1
        options = ["--address", head, "--resources", json.dumps({"atelier": count}), "--num-gpus", str(gpus)]
        options += ["--node-ip-address", listen] if listen else []
        with ray_node.running(token, folder / "ray.log", *options, **variables) as process:
            yield process


def main() -> int:
    options = parser().parse_args()
    if sys.platform != "linux":
        raise Problem("Ray joins several machines on Linux only. Run the worker there, or in WSL or a container.")
    if ":" not in options.head:
        raise Problem(f"--head is {options.head}: write it with its port, as 'run.py serve --farm' says it.")
    token = (options.token or ray_node.token_file(BASE)).absolute()  # Ray's processes have other working folders
    say(f"Joining the farm at {options.head} ...")
    check_head(options.head)
    with lent(BASE, options.head, token, options.listen, options.workers) as process:
        say(f"This machine works for the farm at {options.head}. Ctrl-C takes it out.")
        say(f"  models: {BASE / 'models'}; logs: {BASE}/farm-*")
        try:
            code = process.wait()
        except KeyboardInterrupt:
            say("\nStopping ...")
            return 0
    raise Problem(f"the head is gone, or has ended this machine's part (exit code {code}). Start it again to rejoin.")


if __name__ == "__main__":
    sys.exit(guard(main))
