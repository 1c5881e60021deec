"""A request's files on their way into the folder of a job or a character, claimed in the store before they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from .. import files, settings
from ..request import body
from ..store import Store
from .runner import Runner


@asynccontextmanager
async def received(request: web.Request, identity: str, store: Store, runner: Runner) -> AsyncIterator[body.Body]:
    """The body of a request that makes the job or character `identity`, its files in the folder of that.

    Until the job or character is in the store, a claim there counts the request's bytes, and says what is to be removed
    if this process dies. The folder goes again if the call fails. Raises ApiError: 403 beyond the quota, 429.
    """
    new_jobs = int(identity.startswith(files.JOB))
    await store.claim(identity, runner.process, request.content_length or 0, settings.current(), new_jobs)
    folder = files.folder_of(identity)
    try:
        async with body.received(request, folder) as sent:
            yield sent
    except BaseException:
        if await asyncio.to_thread(files.remove, folder):
            await runner.release(identity)
        raise
