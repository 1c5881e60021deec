"""Prompt expansion: POST /v1/prompts/expand and GET /v1/prompts/expanders.

A text model runs in ComfyUI's queue, as every model does, through the saved graph workflows/api/expand.json or the
owner's own. The built-in rules need no model, so they answer here at once, even while a video is rendered.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import BaseModel, Field

from ...models.library.folders import as_listed, vocabulary
from ...prompts.rules import AUTOMATIC, by_rules
from .. import catalogue
from ..errors import ApiError, bad, node_failed, summary
from ..graphs import comfy_queue, marks
from ..graphs.queue import Queue, events
from ..jobs import start
from ..request import body, fields
from ..state import Api

NODE = "AtelierExpandPrompt"
LIMIT = 300.0
"""Seconds that a request waits for a text model, including its loading and the job that runs before it."""
LOOK_EVERY = 0.1
"""Seconds between two looks at ComfyUI's history."""
MAX_TEXTS = 1 << 20
"""Bytes of a request's body, which holds text only."""


class Wanted(BaseModel):
    """The request of POST /v1/prompts/expand."""

    prompt: str = Field(min_length=1, max_length=32000, description="what the video should show, in a few words")
    model: str = Field("sora-2", min_length=1, max_length=300, description="the video model that the prompt is for")
    expander: str = Field(AUTOMATIC, min_length=1, max_length=300, description="one of /v1/prompts/expanders")
    seed: fields.Whole = Field(None, ge=0, le=2**64 - 1)


async def expand_prompt(api: Api, request: web.Request) -> web.Response:
    with tempfile.TemporaryDirectory() as folder:  # for uploads, which this call does not use
        sent = await body.read(request, Path(folder), 0, MAX_TEXTS)
    wanted = fields.parsed(Wanted, sent.fields)
    seed = secrets.randbelow(start.MAX_SEED) if wanted.seed is None else wanted.seed
    expansion = await _expansion(wanted, seed, request, api.queue)
    warnings = [expansion["remark"]] if expansion["remark"] else []
    answer = {"object": "prompt.expansion", "prompt": expansion["text"], "original": wanted.prompt}
    answer["expander"] = expansion["expander"]
    return web.json_response({**answer, "model": wanted.model, "seed": seed, "warnings": warnings})


async def list_expanders(_: Any, request: web.Request) -> web.Response:
    names = await comfy_queue.choices(NODE, "expander")
    data = [{"id": name, "object": "prompt.expander", "default": name == AUTOMATIC} for name in names]
    return web.json_response({"object": "list", "data": data})


async def _expansion(wanted: Wanted, seed: int, request: web.Request, queue: Queue) -> dict[str, Any]:
    """{"text": the longer prompt, "expander": who wrote it, "remark": a warning or ""}. Raises ApiError."""
    names = await comfy_queue.choices(NODE, "expander")
    expander = as_listed(wanted.expander, names)
    if expander is None:
        raise bad(f"'{wanted.expander[:100]}' is not an expander. Use one of {', '.join(names)}.", "expander")
    choice = (await catalogue.local_model(wanted.model)).model
    graph = await marks.load("expand")
    try:
        rules = await asyncio.to_thread(_by_rules, wanted.prompt, seed, choice)
    except (OSError, ValueError) as error:  # the model's recipe.json cannot be read
        raise ApiError(422, "model_unusable", summary(error), "model") from None
    no_text_model = set(names) == {AUTOMATIC, rules["expander"]}
    by_rules_only = expander == rules["expander"] or (expander == AUTOMATIC and no_text_model)
    if graph.ours and (rules["alone"] or by_rules_only):
        return rules
    if expander == AUTOMATIC and queue.busy():
        return _fallback(rules, "ComfyUI is busy with another job. Name an expander to wait for it")
    values = {"prompt": wanted.prompt, "model": choice, "expander": expander, "seed": seed}
    expansion = await _run(graph, values, request, queue)
    return expansion or _fallback(rules, f"The text model did not finish within {LIMIT:g} s")


def _by_rules(prompt: str, seed: int, choice: str) -> dict[str, Any]:
    """The expansion by rules for a choice of Load Video Model.

    "alone" is true for a model with a small vocabulary (pocket), which a text model does not know.
    """
    known_words = vocabulary(choice)
    return {**asdict(by_rules(prompt, seed, known_words)), "alone": known_words is not None}


def _fallback(rules: dict[str, Any], reason: str) -> dict[str, Any]:
    return {**rules, "remark": f"{reason}. The built-in rules wrote this prompt. {rules['remark']}".strip()}


async def _run(graph: marks.Graph, values: dict[str, Any], request: web.Request, queue: Queue) -> dict[str, Any] | None:
    """The expansion by the graph, or None if it took longer than LIMIT. Raises ApiError, ConnectionResetError.

    The graph goes to the front of ComfyUI's queue, because a person waits for the answer.
    """
    prompt, workflow = graph.filled(values)
    identity, until = str(uuid.uuid4()), time.monotonic() + LIMIT
    await queue.submit(identity, prompt, {"workflow": workflow}, front=True)
    try:
        while (record := queue.outcome(identity)) is None:
            if body.disconnected(request):
                raise ConnectionResetError("the client has disconnected")
            if time.monotonic() > until:
                return None
            if identity not in queue.snapshot() and queue.outcome(identity) is None:
                raise ApiError(422, "cancelled", "The expansion was removed from ComfyUI's queue.")
            await asyncio.sleep(LOOK_EVERY)
    finally:
        queue.withdraw(identity)
        queue.forget(identity)
    return _text_of(record, values["expander"])


def _text_of(record: dict[str, Any], expander: str) -> dict[str, Any]:
    """The expansion in a finished graph's outputs: the text of Expand Prompt, or of any node that shows text."""
    told = events(record)
    if "execution_interrupted" in told:
        raise ApiError(422, "cancelled", "The expansion was cancelled.")
    if "execution_error" in told:
        _, message = node_failed(told["execution_error"])
        raise ApiError(422, "expansion_failed", message)
    outputs = [output for output in record["outputs"].values() if output.get("text")]
    if not outputs:
        raise ApiError(422, "no_text", "The graph expand.json ended without an output 'text'. Add Expand Prompt to it.")
    output = outputs[-1]
    about = {name: (output.get(name) or [default])[0] for name, default in (("expander", expander), ("remark", ""))}
    return {"text": str(output["text"][0]), **about}
