"""A custom node for tests: how long ComfyUI's event loop was blocked. POST /ticker returns it and starts again.

A task of the loop sleeps a moment, again and again, and notes the longest time between two of its turns: `wall`, in
seconds of the clock, and `work`, in those of them that this process computed for. On a busy machine other processes
make `wall` longer, never `work`.
"""

import asyncio
import time

from aiohttp import web
from server import PromptServer

NODE_CLASS_MAPPINGS: dict = {}
EVERY = 0.005

_longest = {"wall": 0.0, "work": 0.0}
_tasks: list[asyncio.Task] = []


async def _tick() -> None:
    while True:
        began = time.monotonic(), time.process_time()
        await asyncio.sleep(EVERY)
        wall, work = time.monotonic() - began[0], time.process_time() - began[1]
        _longest["wall"] = max(_longest["wall"], wall)
        _longest["work"] = max(_longest["work"], min(wall, work))


@PromptServer.instance.routes.post("/ticker")
async def tell(request: web.Request) -> web.Response:
    if not _tasks:
        _tasks.append(asyncio.create_task(_tick()))
    told = dict(_longest)
    _longest.update(wall=0.0, work=0.0)
    return web.json_response(told)
