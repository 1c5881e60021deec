"""What all calls share: the store and the runner, opened with the first request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from . import settings
from .jobs.runner import Runner
from .store import Store


@dataclass(frozen=True)
class Api:
    """What the calls share."""

    store: Store
    runner: Runner


_api: Api | None = None
_opening = asyncio.Lock()


async def opened() -> Api:
    """The store and the runner, opened with the first request."""
    global _api
    async with _opening:
        if _api is None:
            store = Store(settings.folder() / "videos.db")
            runner = Runner(store)
            await runner.recover()
            _api = Api(store, runner)
    return _api
