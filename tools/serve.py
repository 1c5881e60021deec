"""Runs ComfyUI with this pack until Ctrl-C, for work in the browser."""

import argparse
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from console import Problem, guard, say
from demo import BASE

DEFAULT_PORT = 8188
FARM_PORT = 6379
FIRST_GRAPH = "/?template=text_to_video&source=atelier"
"""Opens ComfyUI's front end with this pack's graph on the canvas, instead of ComfyUI's own gallery of templates."""


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="run.py serve", description="Run ComfyUI with this pack until Ctrl-C.")
    options.add_argument(
        "--port", type=int, metavar="N", help=f"default: {DEFAULT_PORT}, or a free one when that is taken"
    )
    options.add_argument("--listen", default="127.0.0.1", metavar="ADDR", help="default: 127.0.0.1, this machine only")
    options.add_argument(
        *("--farm",),
        **{"nargs": "?", "const": "127.0.0.1", "metavar": "ADDR"},
        help="be the head of a farm, at this machine's address ADDR in the farm's network (default: this machine only)",
    )
    options.add_argument(
        "--token", type=Path, metavar="FILE", help="the farm's token (default: one of this base's, which is made)"
    )
    options.add_argument("--farm-port", type=int, default=FARM_PORT, metavar="N", help=f"default: {FARM_PORT}")
    return options


@contextmanager
def only_head(base: Path) -> Iterator[None]:
    """Be the only head on a base: a job store has one farm. Raises Problem."""
    base.mkdir(parents=True, exist_ok=True)
    with (base / "farm-head.lock").open("w") as lock:
        if os.name == "posix":  # on Windows the API finds out when ComfyUI has started
            import fcntl

            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Problem(
                    f"a farm's head runs on {base} already. Stop it first: a job store has one farm."
                ) from None
        yield


def check_port(address: str, port: int) -> None:
    """Raises Problem if the farm cannot listen there. Ray alone would speak of sessions, or wait for half a minute."""
    try:
        (family, _, _, _, place), *_ = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
        socket.create_server((place[0], port), family=family).close()
    except (OSError, OverflowError) as error:
        raise Problem(
            f"the farm cannot listen at {address}:{port} ({getattr(error, 'strerror', None) or error}). --farm takes "
            "an address of this machine, --farm-port a free port: perhaps another farm runs here."
        ) from None


@contextmanager
def farm(address: str | None, port: int, token: Path | None) -> Iterator[None]:
    """The farm whose head this machine is, if it has an address: its Ray, and what ComfyUI must know of it."""
    if address is None:
        yield
        return
    import ray_node

    check_port(address, port)
    token = (token or ray_node.token_file(BASE)).absolute()
    say("Starting the farm ...")
    with only_head(BASE), ray_node.head(token, BASE / "farm-head.log", address, port):
        os.environ |= ray_node.environment(token)
        os.environ |= {"ATELIER_FARM": f"{address}:{port}", "ATELIER_FARM_TOKEN": str(token)}
        say(f"The farm: {address}:{port}. On each machine that works for it, with a copy of {token}:")
        say(f"  python run.py worker --head {address}:{port} --token FILE")
        if address not in ray_node.LOOPBACK:
            say("  Whoever reaches this address and has the token runs code on all machines of the farm.")
        yield


def choose_port(wanted: int | None, listen: str) -> int:
    """``wanted``; if None, the default port, or any free one if that is in use. Raises Problem if it cannot be used."""
    from comfy_server import free_port

    try:
        return free_port(wanted if wanted is not None else DEFAULT_PORT, listen)
    except OSError as error:
        if wanted is None:
            return free_port(0, listen)
        raise Problem(
            f"{listen}:{wanted} cannot be used ({error.strerror}). Choose another --port or --listen."
        ) from None


def main() -> int:
    from comfy_server import running

    options = parser().parse_args()
    port = choose_port(options.port, options.listen)
    say("Starting ComfyUI ...")
    with (
        farm(options.farm, options.farm_port, options.token),
        running(BASE, "serve", port=port, listen=options.listen, options=("--preview-method", "auto")) as server,
    ):
        say(f"ComfyUI with Atelier: {server.url}{FIRST_GRAPH}")
        say(f"  the studio: {server.url}/atelier")
        say(f"  your models go into {server.base / 'models'}, results into {server.base / 'output'}")
        say(f"  log: {server.log}")
        say("Ctrl-C stops it.")
        try:
            code = server.process.wait()
        except KeyboardInterrupt:
            say("\nStopping ...")
            return 0
        raise Problem(f"ComfyUI ended by itself (exit code {code}). The end of {server.log}:\n{server.last_lines()}")


if __name__ == "__main__":
    sys.exit(guard(main))
