"""The models of /v1/models: the names that a request can use, the local model behind each, and its features."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..models.library.fit import Memory
from ..models.library.folders import UPSCALERS, as_listed, file_name
from ..models.library.published import Here, catalogue, find, gigabytes, models, offered
from ..models.loading.describe import describe, spatial_upscaler
from . import offers, settings
from .errors import ApiError, summary
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
    "storyboard_images": ("storyboard", "storyboard_images", "last_frame"),
    "style": ("generate", "style", None),
    "lora": ("generate", "lora", None),
    "control_reference": ("generate", "control", "control"),
    "generate_sound": ("generate", "generate_sound", "sound"),
    "audio_reference": ("generate", "audio", "sound"),
    "high_quality": ("generate", "upscaler", "high_quality"),
    "negative_prompt": ("generate", "negative_prompt", None),
    "num_inference_steps": ("generate", "num_inference_steps", None),
    "guidance_scale": ("generate", "guidance_scale", None),
    "fps": ("generate", "fps", None),
    "seed": ("generate", "seed", None),
    "edit": ("edit", "video", "edit"),
    "strength": ("edit", "strength", "edit"),
    "recut": ("recut", "recut", None),
    "fill": ("fill", "recut_holes", "loop"),
    "blend": ("blend", "blend_video", "loop"),
    "extend": ("extend", "video", "forward"),
    "extend_backward": ("extend", "direction", "backward"),
}
"""Feature -> (the graph that makes it, the mark that this graph must have, the ability that the model must have)."""

NO_DETAILS: Json = {"published": None, "download": None}
LOOK_LIMIT = 10.0
"""Seconds that a request waits until a model's files are read. Reading continues after that."""
_looks = ThreadPoolExecutor(2, "atelier-look")
"""Separate threads, so that a file which never ends (a pipe, a dead network drive) blocks no thread of ComfyUI."""
_looking: dict[str, tuple[float, asyncio.Future]] = {}
"""Choice of Load Video Model -> (start, result) while its files are being read."""


async def names() -> list[str]:
    """The names that a request can use: the owner's, OpenAI's, then all of Load Video Model's list."""
    return [*settings.current().names(), *await _choices()]


async def local_model(name: str) -> LocalModel:
    """The local model for a name in a request. Raises ApiError 404."""
    local = settings.current().local(name)
    if local is settings.POCKET:  # of OpenAI's names, and the owner has not said which model it is
        return await asyncio.to_thread(best_installed)
    if local is None and (listed := as_listed(name, await _choices())):
        name = listed
        local = next((m for m in settings.BUILT_IN.values() if m.model == name), LocalModel(model=name))
    if local is None:
        local = await asyncio.to_thread(_published, name)
    if local is None:
        raise ApiError(404, "model_not_found", f"The model '{name[:100]}' does not exist; see /v1/models.", "model")
    return local


def best_installed() -> LocalModel:
    """The model behind sora-2: of the published ones that are here with all they need the best, else the pocket model.

    The best is the one with the lowest `rank`; those without one come after, in the catalogue's order.
    """
    here = Here()
    ready = [entry for entry in models() if here.has(entry) and not here.missing_parts(entry)]
    best = min(ready, key=lambda entry: entry.rank or math.inf, default=None)
    return settings.POCKET if best is None else LocalModel(model=here.choice(best))


def _published(name: str) -> LocalModel | None:
    """The model that a request names by its id or name in the catalogue. Raises ApiError 404 if it is not here."""
    entry = find(name)
    if entry is None or name not in (entry.id, entry.name):
        return None
    choice = Here().choice(entry)
    if choice is None:
        message = f"{entry.name} is not here. POST /v1/models/{entry.id}/download fetches it."
        raise ApiError(404, "model_not_installed", message, "model")
    return LocalModel(model=choice)


async def lora(wanted: str) -> str:
    """The file of models/loras that a request names, by its name in the list or by the last part of a path.

    The path is not opened: it may belong to another machine. Raises ApiError 404.
    """
    listed = await comfy_queue.choices(LORA_LOADER, "lora")
    if (match := as_listed(wanted, listed)) is not None:
        return match
    alike = [name for name in listed if _stem(name) == _stem(wanted)]
    if len(alike) != 1:
        problem = f"models/loras has {'several files' if alike else 'no file'} named '{wanted[:100]}'"
        remedy = f"Use one of {', '.join((alike or listed)[:12])}" if listed else "It is empty"
        raise ApiError(404, "lora_not_found", f"{problem}. {remedy}.", "lora")
    return alike[0]


def _stem(name: str) -> str:
    return file_name(name).removesuffix(".safetensors")


async def _choices() -> list[str]:
    """Load Video Model's list without what it offers to fetch."""
    return [choice for choice in await comfy_queue.choices(LOADER, "model") if offered(choice) is None]


async def entry(name: str) -> Json:
    """A model's entry in /v1/models. Raises ApiError 404."""
    here = await asyncio.to_thread(Here)
    if (published := find(name)) and published.id == name and not here.has(published):
        return offers.offer(published, here)
    local = await local_model(name)
    known = await facts(local.model)
    about = {"id": name, "object": "model", "created": 0, "owned_by": "atelier", "installed": True}
    published = offers.published_as(local.model, here)
    about |= {"local_model": local.model, **(offers.details(published, here) if published else NO_DETAILS)}
    about["memory"] = offers.memory(Memory(**known["memory"])) if "memory" in known else None
    about |= {"name": known.get("name"), "family": known.get("family"), "problem": known.get("problem")}
    limits = {"max_pixels": local.max_pixels, "max_seconds": local.max_seconds, "max_frames": local.max_frames}
    multiples = {"side": known.get("sides"), "frames": known.get("frames")}
    about |= {"defaults": _defaults(local, known), "limits": limits, "multiples": multiples}
    graphs = {operation: await _graph(operation) for operation, _, _ in FEATURES.values()}
    styles = graphs["generate"].choices("style") if isinstance(graphs["generate"], marks.Graph) else []
    return about | {"sizes": _sizes(local, known), "features": _features(graphs, known), "styles": styles}


async def facts(choice: str) -> Json:
    """`_described`'s record of a choice of Load Video Model, or {"problem": reason} if its files cannot be used.

    {"problem", "reading": True} if they are still being read. Concurrent requests for one choice share one read.
    """
    since, look = _looking.get(choice) or _look(choice)
    await asyncio.wait([look], timeout=max(0.0, since + LOOK_LIMIT - time.monotonic()))
    if not look.done():
        problem = f"Reading its files takes longer than {LOOK_LIMIT:g} s. Try again later."
        return {"problem": problem, "reading": True}
    try:
        return look.result()
    except Exception as error:  # an untrusted file: no fault of it may break the list of models
        logging.info("Atelier: %s: %s", choice, error)
        return {"problem": summary(error)}


def _look(choice: str) -> tuple[float, asyncio.Future]:
    """Start to read a choice's files."""
    look = asyncio.wrap_future(_looks.submit(_described, choice))
    look.add_done_callback(lambda done: (_looking.pop(choice, None), done.exception()))
    _looking[choice] = time.monotonic(), look
    return _looking[choice]


def _described(choice: str) -> Json:
    """`describe`'s record of a choice, with "upscaler": the file that high quality uses, if the model can have it."""
    known = describe(choice)
    if not known["abilities"]["high_quality"]["possible"]:
        return known
    name = spatial_upscaler(known["family"])
    if name is not None:
        return known | {"upscaler": name}
    family = known["family"]
    parts = [each for each in catalogue().values() if each.kind == "upscaler" and each.family == family]
    lacking = {"possible": False, "note": f"High quality needs an upscaler of {family} (x2) in models/{UPSCALERS}"}
    for part in parts[:1]:
        fetched = f"'python run.py models get {part.id}' fetches {part.files[0].name} ({gigabytes(part.bytes)})"
        lacking |= {"note": f"{lacking['note']}: {fetched}", "needs": part.id}
    return known | {"abilities": known["abilities"] | {"high_quality": lacking}}


def _defaults(local: LocalModel, known: Json) -> Json:
    """The values for fields that a request leaves out; None if only the loaded model would tell."""
    copied = ("num_frames", "fps", "num_inference_steps", "guidance_scale", "negative_prompt")
    defaults = {"size": local.size, "seconds": local.seconds} | {name: known.get(name) for name in copied}
    if not defaults["size"] and known.get("width"):
        defaults["size"] = f"{known['width']}x{known['height']}"
    if defaults["fps"]:
        defaults["seconds"] = defaults["seconds"] or round(defaults["num_frames"] / defaults["fps"], 3)
    return defaults


def _sizes(local: LocalModel, known: Json) -> list[str]:
    """Sizes in common aspect ratios, with about the model's own number of pixels and at most max_pixels."""
    if "sides" not in known:
        return [local.size] if local.size else []
    step, pixels = known["sides"], known["width"] * known["height"]
    most = min(pixels, local.max_pixels or pixels)
    sizes = [_defaults(local, known)["size"]]
    for wide, high in ASPECTS:
        unit = math.sqrt(most / (wide * high))
        width, height = (max(step, round(side * unit / step) * step) for side in (wide, high))
        if local.max_pixels and width * height > local.max_pixels:
            width, height = (max(step, int(side * unit / step) * step) for side in (wide, high))
        sizes.append(f"{width}x{height}")
    return list(dict.fromkeys(sizes))


async def _graph(operation: str) -> marks.Graph | str:
    """The graph of an operation, or the reason why it cannot be used."""
    try:
        return await marks.load(operation)
    except ApiError as error:
        return error.message


def _features(graphs: dict[str, marks.Graph | str], known: Json) -> Json:
    features = {}
    for feature, (operation, field, ability) in FEATURES.items():
        graph = graphs[operation]
        able = known.get("abilities", {}).get(ability, {"possible": "problem" not in known, "note": ""})
        note = known.get("problem") or able["note"]
        if isinstance(graph, str):
            able, note = {"possible": False}, graph
        elif field not in graph.fields():
            able, note = {"possible": False}, f"The graph {operation} has no mark for it."
        needs = {"needs": able["needs"]} if "needs" in able else {}
        features[feature] = {"supported": able["possible"], "note": note or None, **needs}
    return features
