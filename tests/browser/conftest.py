"""A ComfyUI for each front end: the one that the pinned release brings, and the newest that the registry has.

The servers cache nothing, so that in every test every node runs and says what it has to say.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import editor
import front_end
import pytest
from comfy_server import ComfyServer, running
from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ComfyServer]]:
    """``comfyui("pinned")`` or ``comfyui("newest")``: the ComfyUI with that front end, started when asked.

    Further arguments are options of ComfyUI's.
    """
    started: dict[tuple[str, ...], ComfyServer] = {}
    with ExitStack() as servers:

        def start(version: str, *options: str) -> ComfyServer:
            wanted = (version, *options)
            if wanted not in started:
                served = ("--front-end-root", str(front_end.fetch())) if version == "newest" else ()
                base = tmp_path_factory.mktemp(f"front-end-{version}")
                server = running(base, "comfyui", options=("--cache-none", *served, *options))
                started[wanted] = servers.enter_context(server)
            return started[wanted]

        yield start


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a file of tests; each test opens a profile of its own in it.

    Not for the whole session: while it is open, nothing else in this process can run an event loop.
    """
    if reason := editor.unavailable():
        pytest.skip(reason)
    with editor.chromium() as opened:
        yield opened


@pytest.fixture
def view(
    request: pytest.FixtureRequest, comfyui: Callable[..., ComfyServer], browser: Browser
) -> Iterator[editor.Editor]:
    """The editor of the front end that the test names ("pinned", "newest" or "newest, Nodes 2.0"), open in a profile of
    its own; the marker ``comfyui`` may name options of ComfyUI's."""
    version, _, nodes_2 = request.param.partition(", ")
    marker = request.node.get_closest_marker("comfyui")
    url = comfyui(version, *(marker.args if marker else ())).url
    with editor.opened(browser, url, {"Comfy.VueNodes.Enabled": bool(nodes_2)}) as opened:
        yield opened
