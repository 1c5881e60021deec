"""Longer prompts: POST /v1/prompts/expand and GET /v1/prompts/expanders.

A text model runs in ComfyUI's queue, as every model does: by the saved graph workflows/api/expand.json, or the owner's.
The built-in rules are words and no model, so they answer here and at once, also while a video is being made.
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
from ...prompts.rules import by_rules
from .. import catalogue
from ..errors import ApiError, bad, words
from ..graphs import comfy_queue, marks
from ..jobs import start
from ..request import body, fields

NODE = "AtelierExpandPrompt"
AUTOMATIC = "automatic"
"""The node's choice of whoever there is: a text model, else the rules."""
LIMIT = 300.0
"""Seconds for a text model, its loading and the wait for what already runs among them."""
LOOK_EVERY = 0.1
MAX_TEXTS = 1 << 20
"""Bytes of a body: there are only words in it."""


class Wanted(BaseModel):
    """A prompt to be expanded."""

    prompt: str = Field(min_length=1, max_length=32000, description="what should be seen, in a few words")
    model: str = Field("sora-2", min_length=1, max_length=300, description="the video model it is for")
    expander: str = Field(AUTOMATIC, min_length=1, max_length=300, description="one of /v1/prompts/expanders")
    seed: fields.Whole = Field(None, ge=0, le=2**64 - 1)


async def expand_prompt(_: Any, request: web.Request) -> web.Response:
    with tempfile.TemporaryDirectory() as folder:  # of files that nobody asked for
        sent = await body.read(request, Path(folder), 0, MAX_TEXTS)
    wanted = fields.parsed(Wanted, sent.fields)
    seed = secrets.randbelow(start.MAX_SEED) if wanted.seed is None else wanted.seed
    made = await _expansion(wanted, seed, request)
    warnings = [made["remark"]] if made["remark"] else []
    answer = {"object": "prompt.expansion", "prompt": made["text"], "original": wanted.prompt}
    answer["expander"] = made["expander"]
    return web.json_response({**answer, "model": wanted.model, "seed": seed, "warnings": warnings})


async def list_expanders(_: Any, request: web.Request) -> web.Response:
    names = await comfy_queue.choices(NODE, "expander")
    data = [{"id": name, "object": "prompt.expander", "default": name == AUTOMATIC} for name in names]
    return web.json_response({"object": "list", "data": data})


async def _expansion(wanted: Wanted, seed: int, request: web.Request) -> dict[str, Any]:
    """The longer "text", its "expander" and a "remark", or ""."""
    names = await comfy_queue.choices(NODE, "expander")
    expander = as_listed(wanted.expander, names)
    if expander is None:
        raise bad(f"There is no expander '{wanted.expander[:100]}'; there are {', '.join(names)}.", "expander")
    choice = (await catalogue.local_model(wanted.model)).model
    graph = await marks.load("expand")
    try:
        rules = await asyncio.to_thread(_by_rules, wanted.prompt, seed, choice)
    except (OSError, ValueError) as error:  # of the model's recipe.json
        raise ApiError(422, "model_unusable", words(error), "model") from None
    asked = expander
    if asked == AUTOMATIC and set(names) == {AUTOMATIC, rules["expander"]}:  # there is no text model
        asked = rules["expander"]
    if graph.ours and (rules["alone"] or asked == rules["expander"]):
        return rules
    if expander == AUTOMATIC and comfy_queue.busy():
        return _instead(rules, "ComfyUI is at work on something else; name an expander to wait for it")
    values = {"prompt": wanted.prompt, "model": choice, "expander": expander, "seed": seed}
    made = await _run(graph, values, request)
    return made or _instead(rules, f"The text model was not done within {LIMIT:g} s")


def _by_rules(prompt: str, seed: int, choice: str) -> dict[str, Any]:
    """What the rules make of a prompt for a choice of Load Video Model; "alone": no text model can write for it."""
    words = vocabulary(choice)
    return {**asdict(by_rules(prompt, seed, words)), "alone": words is not None}


def _instead(rules: dict[str, Any], reason: str) -> dict[str, Any]:
    return {**rules, "remark": f"{reason}: the rules were used. {rules['remark']}".strip()}


async def _run(graph: marks.Graph, values: dict[str, Any], request: web.Request) -> dict[str, Any] | None:
    """What the graph answers; None when it took too long. It goes to the front of the queue: somebody waits for it."""
    prompt, workflow = graph.filled(values)
    identity, until = str(uuid.uuid4()), time.monotonic() + LIMIT
    await comfy_queue.submit(identity, prompt, {"workflow": workflow}, front=True)
    try:
        while (record := comfy_queue.outcome(identity)) is None:
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the client has gone")
            if time.monotonic() > until:
                return None
            if identity not in comfy_queue.snapshot() and comfy_queue.outcome(identity) is None:
                raise ApiError(422, "cancelled", "The expansion was taken out of ComfyUI's queue.")
            await asyncio.sleep(LOOK_EVERY)
    finally:
        comfy_queue.withdraw(identity)
        comfy_queue.forget(identity)
    return _answered(record, values["expander"])


def _answered(record: dict[str, Any], expander: str) -> dict[str, Any]:
    """The text among a finished graph's outputs, of Expand Prompt or any node that shows text."""
    events = dict((record.get("status") or {}).get("messages", []))
    if "execution_interrupted" in events:
        raise ApiError(422, "cancelled", "The expansion was cancelled.")
    if (error := events.get("execution_error")) is not None:
        said = error.get("exception_message", "").strip()
        raise ApiError(422, "expansion_failed", f"{error.get('node_type')}: {said}")
    shown = [output for output in record["outputs"].values() if output.get("text")]
    if not shown:
        raise ApiError(422, "no_text", "The graph expand.json ended without showing a text.")
    told = {name: (shown[-1].get(name) or [default])[0] for name, default in (("expander", expander), ("remark", ""))}
    return {"text": str(shown[-1]["text"][0]), **told}
