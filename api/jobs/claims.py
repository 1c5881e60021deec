"""Receiving a request that creates a job or a character, with a claim in the store before its files arrive."""

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
    """The body of a request that creates the job or character `identity`, with its files in that folder.

    Until the store has the job or character, a claim counts the request's bytes for the quota, and names the folder to
    remove if this process dies. Files that the call did not take are removed; the whole folder is if the call fails.
    Raises ApiError: 403 beyond the quota, 429 beyond max_waiting.
    """
    new_jobs = int(identity.startswith(files.JOB))
    owner, folder = settings.current(), files.folder_of(identity)
    await store.claim(identity, runner.process, request.content_length or 0, owner, new_jobs)
    try:
        sent = await body.read(request, folder, owner.max_upload_bytes)
        yield sent
        for _, unused in sent.files:
            unused.unlink(missing_ok=True)
    except BaseException:
        if await asyncio.to_thread(files.remove, folder):
            await runner.release(identity)
        raise
