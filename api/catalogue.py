"""What /v1/models says: the names a request can use, what model stands behind each, and what that can do."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any

from ..models.library.folders import as_listed, slashed
from ..models.loading.describe import describe
from . import settings
from .errors import ApiError, words
from .graphs import comfy_queue, marks
from .settings import LocalModel

Json = dict[str, Any]

LOADER, LORA_LOADER = "AtelierLoadVideoModel", "AtelierLoadVideoLoRA"
ASPECTS = ((16, 9), (9, 16), (1, 1), (4, 3), (3, 4))

FEATURES: dict[str, tuple[str, str, str | None]] = {
    "input_reference": ("generate", "image", "first_frame"),
    "last_frame": ("generate", "last_frame", "last_frame"),
    "loop": ("generate", "loop", "loop"),
    "storyboard": ("storyboard", "storyboard", None),
    "style": ("generate", "style", None),
    "lora": ("generate", "lora", None),
    "control_reference": ("generate", "control", "control"),
    "negative_prompt": ("generate", "negative_prompt", None),
    "num_inference_steps": ("generate", "num_inference_steps", None),
    "guidance_scale": ("generate", "guidance_scale", None),
    "fps": ("generate", "fps", None),
    "seed": ("generate", "seed", None),
    "edit": ("edit", "video", "edit"),
    "strength": ("edit", "strength", "edit"),
    "extend": ("extend", "video", "forward"),
    "extend_backward": ("extend", "direction", "backward"),
}
"""What can be asked for: which graph must listen to which field, and which of the model's abilities it takes."""

LOOK_LIMIT = 10.0
"""Seconds that a request waits for a look at a model's files. A look that takes longer goes on."""
_looks = ThreadPoolExecutor(2, "atelier-look")
"""Threads of their own: files that take long, or for ever, leave those of ComfyUI alone."""
_looking: dict[str, tuple[float, asyncio.Future]] = {}
"""Looks that have begun and not ended, by choice: since when, and what they will say."""


async def names() -> list[str]:
    """What a request can name: the owner's and OpenAI's names, then whatever Load Video Model has in its list."""
    return [*settings.current().names(), *await _choices()]


async def local_model(name: str) -> LocalModel:
    """The model that a request's name stands for. Raises ApiError 404."""
    local = settings.current().local(name)
    if local is None and (listed := as_listed(name, await _choices())):
        name = listed
        local = next((m for m in settings.BUILT_IN.values() if m.model == name), LocalModel(model=name))
    if local is None:
        raise ApiError(404, "model_not_found", f"The model '{name[:100]}' does not exist; see /v1/models.", "model")
    return local


async def lora(wanted: str) -> str:
    """The file of models/loras that a request means: by its name in the list, or by the end of a path. Raises ApiError.

    Paths are not opened: they are those of another machine, or of a client that only knows where the file lies.
    """
    listed = await comfy_queue.choices(LORA_LOADER, "lora")
    if (found := as_listed(wanted, listed)) is not None:
        return found
    alike = [name for name in listed if _stem(name) == _stem(wanted)]
    if len(alike) != 1:
        what = f"are several '{wanted[:100]}'" if alike else f"is no '{wanted[:100]}'"
        shown = f"there are {', '.join((alike or listed)[:12])}" if listed else "it is empty"
        raise ApiError(404, "lora_not_found", f"In models/loras there {what}; {shown}.", "lora")
    return alike[0]


def _stem(name: str) -> str:
    return PurePosixPath(slashed(name)).name.removesuffix(".safetensors")


async def _choices() -> list[str]:
    return await comfy_queue.choices(LOADER, "model")


async def entry(name: str) -> Json:
    """A model as /v1/models shows it. Raises ApiError 404."""
    local = await local_model(name)
    known = await facts(local.model)
    shown = {"id": name, "object": "model", "created": 0, "owned_by": "atelier", "local_model": local.model}
    shown |= {"name": known.get("name"), "family": known.get("family"), "problem": known.get("problem")}
    limits = {"max_pixels": local.max_pixels, "max_seconds": local.max_seconds, "max_frames": local.max_frames}
    multiples = {"side": known.get("sides"), "frames": known.get("frames")}
    shown |= {"defaults": _defaults(local, known), "limits": limits, "multiples": multiples}
    listening = {operation: await _graph(operation) for operation, _, _ in FEATURES.values()}
    styles = listening["generate"].choices("style") if isinstance(listening["generate"], marks.Graph) else []
    return shown | {"sizes": _sizes(local, known), "features": _features(listening, known), "styles": styles}


async def facts(choice: str) -> Json:
    """What is known of a choice of Load Video Model; {"problem": why not} where its file cannot be used.

    With "reading" where that is not known yet. Each file is looked at once at a time, whoever asks for it.
    """
    since, look = _looking.get(choice) or _look(choice)
    await asyncio.wait([look], timeout=max(0.0, since + LOOK_LIMIT - time.monotonic()))
    if not look.done():
        problem = f"Its files have been read for more than {LOOK_LIMIT:g} s without an end; ask again later."
        return {"problem": problem, "reading": True}
    try:
        return look.result()
    except Exception as error:  # a stranger's file: whatever is wrong with it, the list of models goes on
        logging.info("Atelier: %s: %s", choice, error)
        return {"problem": words(error)}


def _look(choice: str) -> tuple[float, asyncio.Future]:
    """Begin to look at a choice's files."""
    look = asyncio.wrap_future(_looks.submit(describe, choice))
    look.add_done_callback(lambda ended: (_looking.pop(choice, None), ended.exception()))
    _looking[choice] = time.monotonic(), look
    return _looking[choice]


def _defaults(local: LocalModel, known: Json) -> Json:
    """What is used where a request says nothing; null where that is not known before the model is loaded."""
    kept = ("num_frames", "fps", "num_inference_steps", "guidance_scale", "negative_prompt")
    found = {"size": local.size, "seconds": local.seconds} | {name: known.get(name) for name in kept}
    if not found["size"] and known.get("width"):
        found["size"] = f"{known['width']}x{known['height']}"
    if found["fps"]:
        found["seconds"] = found["seconds"] or round(found["num_frames"] / found["fps"], 3)
    return found


def _sizes(local: LocalModel, known: Json) -> list[str]:
    """Sizes of the usual aspects, of about as many pixels as the model was made for and not more than it may have."""
    if "sides" not in known:
        return [local.size] if local.size else []
    step, pixels = known["sides"], known["width"] * known["height"]
    most = min(pixels, local.max_pixels or pixels)
    found = [_defaults(local, known)["size"]]
    for wide, high in ASPECTS:
        unit = math.sqrt(most / (wide * high))
        width, height = (max(step, round(side * unit / step) * step) for side in (wide, high))
        if local.max_pixels and width * height > local.max_pixels:
            width, height = (max(step, int(side * unit / step) * step) for side in (wide, high))
        found.append(f"{width}x{height}")
    return list(dict.fromkeys(found))


async def _graph(operation: str) -> marks.Graph | str:
    """The graph of an operation, or why it cannot be used."""
    try:
        return await marks.load(operation)
    except ApiError as error:
        return error.message


def _features(listening: dict[str, marks.Graph | str], known: Json) -> Json:
    found = {}
    for feature, (operation, field, ability) in FEATURES.items():
        graph = listening[operation]
        able = known.get("abilities", {}).get(ability, {"possible": "problem" not in known, "note": ""})
        note = known.get("problem") or able["note"]
        if isinstance(graph, str):
            able, note = {"possible": False}, graph
        elif field not in graph.fields():
            able, note = {"possible": False}, f"The graph {operation} has no use for it."
        found[feature] = {"supported": able["possible"], "note": note or None}
    return found
