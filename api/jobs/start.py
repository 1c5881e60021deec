"""From a request to jobs: which saved graph it runs, with which values, and what is told about it."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import catalogue, files
from ..errors import ApiError, bad, missing
from ..graphs import interpolation, marks
from ..request import fields, references
from ..request.body import Body
from ..request.dialects import canonical
from ..request.references import Given
from ..settings import LocalModel
from ..store import Row, Store
from . import plan
from .runner import Runner

Json = dict[str, Any]

SHOWN = (
    *("seed", "fps", "num_frames", "num_inference_steps", "guidance_scale", "negative_prompt", "style", "strength"),
    *("direction", "loop", "storyboard"),
)
"""What is told about a job beside OpenAI's own keys."""

MAX_UNKNOWN = 20
"""Unknown fields that are named: every list of videos shows them again."""
RECIPE = ("num_inference_steps", "guidance_scale")
"""What of it is the model's own where the request says nothing."""
ELSEWHERE = (
    *("n", "characters", "input_reference", "model", "control_reference", "control_type"),
    *("enable_frame_interpolation", "frame_interpolation_exp"),
)
"""Fields that no mark of a graph has to take."""
MAX_SEED = 2**31
"""Below this our own seeds are drawn: every program can hold them."""


def new_id(kind: str) -> str:
    """kind: files.JOB or files.CHARACTER."""
    return f"{kind}{uuid.uuid4().hex}"


FILES = ("image", "last_frame", "video", "control")
"""Of Media, what lies on the disk; marks of graphs have the same names."""


@dataclass(frozen=True)
class Media:
    """The pictures and clips of a request."""

    image: Given | None = None
    last_frame: Given | None = None
    video: Given | None = None
    control: Given | None = None
    character: Json | None = None

    def in_folder(self, folder: Path) -> Media:
        """The same, copied for another job."""
        given = {name: getattr(self, name) for name in FILES}
        return replace(self, **{n: g and replace(g, path=files.copied(g.path, folder)) for n, g in given.items()})

    def values(self) -> Json:
        return {n: files.for_graph(g.path) for n in FILES if (g := getattr(self, n))}


async def start(
    operation: str, shot: fields.Shot, body: Body, ids: list[str], store: Store, runner: Runner
) -> list[Row]:
    """Queue one job per id; their files belong under the folder of the first. Raises ApiError."""
    local = await catalogue.local_model(shot.model)
    media = await _media(operation, shot, body, files.job_folder(ids[0]), store)
    operation = _graph_of(operation, shot, media)
    graph = await marks.load(operation)
    known = await _model_for(operation, shot, media, graph, local)
    clip = await asyncio.to_thread(files.facts, media.video.path) if media.video else None
    values, warnings = plan.values(operation, shot, local, known, clip)
    values |= await _lora(shot, graph)
    between, why_not = await _interpolation(shot, values["fps"] or (clip.fps if clip else known.get("fps")))
    warnings += [*_unheard(shot, media, graph), *_untaken(shot, body), *why_not, *known.get("notes", ())]
    seed = secrets.randbelow(MAX_SEED) if shot.seed is None else shot.seed
    rows, prompts, extras = [], [], []
    for number, job_id in enumerate(ids):
        own = media if number == 0 else await asyncio.to_thread(media.in_folder, files.job_folder(job_id))
        values |= {"seed": (seed + number) % 2**64, "output": f"atelier/videos/{job_id}/video", **own.values()}
        row = _row(job_id, operation, shot, local, media, values, warnings)
        row |= {"process": runner.process, "bytes": await asyncio.to_thread(files.size_of, files.job_folder(job_id))}
        row["settings"] |= {"variations": ids} if len(ids) > 1 else {}
        row["settings"] |= {"characters": [media.character]} if media.character and "image" in graph.fields() else {}
        if graph.ours:  # an artist's own may say something else where the request says nothing
            row["settings"] |= {name: known[name] for name in RECIPE if values[name] is None and name in known}
        row["settings"] |= {name: values[name] for name in ("lora", "lora_scale") if values[name] is not None}
        row["settings"] |= {"frame_interpolation_exp": between[1]} if between else {}
        rows.append(row)
        prompt, workflow = graph.filled(values)
        prompt = interpolation.interpolated(prompt, *between) if between else prompt
        about = {"id": job_id, "operation": operation, "prompt": shot.prompt, **row["settings"]}
        prompts.append(prompt)
        extras.append({"workflow": workflow, "atelier": about})
    await runner.queue(rows, prompts, extras)
    return rows


def _graph_of(operation: str, shot: fields.Shot, media: Media) -> str:
    """The name of the graph that does what the request says."""
    if operation == "generate" and media.video is not None:
        operation = "edit"
    if operation == "generate" and shot.storyboard:
        return "storyboard"
    return "loop" if operation == "edit" and shot.loop else operation


async def _model_for(operation: str, shot: fields.Shot, media: Media, graph: marks.Graph, local: LocalModel) -> Json:
    """What is known of the model, with "notes" about this shot. Raises ApiError where it cannot make it.

    Nothing is known where the graph is the artist's own and loads what it likes.
    """
    if "model" not in graph.fields():
        return {}
    known = await catalogue.facts(local.model)
    if "reading" in known:
        raise ApiError(503, "model_not_read", known["problem"], "model")
    if "problem" in known:
        raise ApiError(422, "model_unusable", known["problem"], "model")
    needed = {
        "first_frame": media.image is not None and "image" in graph.fields(),
        "last_frame": media.last_frame is not None and "last_frame" in graph.fields(),
        "loop": bool(shot.loop) and "loop" in graph.fields(),
        "control": media.control is not None and "control" in graph.fields(),
        "edit": operation == "edit",
        shot.direction or "forward": operation == "extend",
    }
    able = [known["abilities"][ability] for ability, wanted in needed.items() if wanted]
    for ability in able:
        if not ability["possible"]:
            raise ApiError(422, "model_cannot", f"{ability['note']}.")
    return known | {"notes": list(dict.fromkeys(f"{ability['note']}." for ability in able if ability["note"]))}


async def _media(operation: str, shot: fields.Shot, body: Body, folder: Path, store: Store) -> Media:
    async def given(name: str, value: Any) -> Given | None:
        return await references.resolve(name, value, body, folder, store)

    first, last = await given("input_reference", shot.input_reference), await given("last_frame", shot.last_frame)
    if last is not None and last.kind != files.IMAGE:
        raise bad("'last_frame' must be a picture.", "last_frame")
    control = await given("control_reference", shot.control_reference)
    if control is not None and control.kind != files.VIDEO:
        raise bad("'control_reference' must be a clip, this is a picture.", "control_reference")
    character = None
    if first is None and shot.characters:
        first, character = await _character(shot.characters[0], body, folder, store)
    if first is not None and first.kind == files.VIDEO:
        return Media(None, last, first, control)
    video = None
    if operation != "generate":
        video = await given("video", shot.video)
        if video is None:
            raise bad("'video' is missing: a file, or {\"id\": ...}.", "video", "missing_required_parameter")
        if video.kind != files.VIDEO:
            raise bad("'video' must be a clip, this is a picture.", "video")
    return Media(first, last, video, control, character)


async def _character(value: str | Json, body: Body, folder: Path, store: Store) -> tuple[Given, Json]:
    """The picture of a character, and what is told about it."""
    identity = value.get("id") if isinstance(value, dict) else value
    row = await store.character(identity) if isinstance(identity, str) else None
    if row is None:
        raise missing("character", str(identity)[:100])
    told = {"id": identity, "name": row["name"], "used_as": "first_frame"}
    return await references.resolve("characters", identity, body, folder, store), told


def _unheard(shot: fields.Shot, media: Media, graph: marks.Graph) -> list[str]:
    """What the client said and nobody listens to."""
    heard = graph.fields()
    for names in ({"width", "height", "size"}, {"num_frames", "seconds"}, {"storyboard", "prompt"}):
        heard |= names if names & heard else set()
    said = {name for name in shot.model_fields_set if getattr(shot, name) not in (None, False)}
    said -= {*ELSEWHERE, *shot.unknown()}
    said |= {name for name in ("image", "last_frame", "control") if getattr(media, name)}
    unknown = [f"'{name[:100]}' is not known here." for name in shot.unknown()]
    more = len(unknown) - MAX_UNKNOWN
    return [
        *unknown[:MAX_UNKNOWN],
        *([f"{more} more fields are not known here."] if more > 0 else []),
        *(f"'{name}' is not used by the graph {graph.file.stem}." for name in sorted(said - heard)),
        *(["Only the first character is used." for _ in (shot.characters or [])[1:]]),
    ]


async def _lora(shot: fields.Shot, graph: marks.Graph) -> Json:
    """The LoRA of a request as marks take it. Raises ApiError where there is none of its name."""
    if not shot.lora or "lora" not in graph.fields():
        return {"lora": None, "lora_scale": None}
    first = shot.lora[0]
    scale = next((given for given in (first.scale, shot.lora_scale) if given is not None), 1.0)
    return {"lora": await catalogue.lora(first.wanted), "lora_scale": scale}


async def _interpolation(shot: fields.Shot, rate: float | None) -> tuple[tuple[str, int, float] | None, list[str]]:
    """(model, doublings and frame rate of the interpolation that a request asks for, why there is none)."""
    if not shot.enable_frame_interpolation:
        return None, []
    name, reason = await interpolation.model()
    if name is not None and rate:
        return (name, shot.frame_interpolation_exp or 1, rate), []
    reason = reason or "the frame rate of the graph is not known; send fps"
    return None, [f"'enable_frame_interpolation' is not used: {reason}."]


NEEDS = {
    "lora_scale": "lora",
    "control_type": "control_reference",
    "frame_interpolation_exp": "enable_frame_interpolation",
}
"""Fields that say more of another one."""
CONTROL = ("control_reference", "control_type")


def _untaken(shot: fields.Shot, body: Body) -> list[str]:
    """Files, pictures and names of the same thing that came beside the one that is used."""
    pictures = {n: getattr(shot, n) for n in ("input_reference", "last_frame", "video", "control_reference", "lora")}
    sent = {name for name in shot.model_fields_set if getattr(shot, name) is not None}
    sent |= {canonical(name) for name in body.taken}
    return [
        *shot.twice,
        *(f"'{name}' changes nothing without '{of}'." for name, of in NEEDS.items() if name in sent and of not in sent),
        *(["'control_type' changes nothing: the control clip is followed as it is."] if {*CONTROL} <= sent else []),
        *(f"Only the first '{n}' is used, {len(p)} were sent." for n, p in pictures.items() if _several(p)),
        *(f"The file '{name}' is not used." for name, _ in body.files),
    ]


def _several(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1


def _row(
    job_id: str,
    operation: str,
    shot: fields.Shot,
    local: LocalModel,
    media: Media,
    values: Json,
    warnings: list[str],
) -> Row:
    width, height, whole = values["width"], values["height"], values["whole"]
    return {
        "id": job_id,
        "operation": operation,
        "status": "queued",
        "created_at": time.time(),
        "started_at": None,
        "completed_at": None,
        "expires_at": None,
        "error": None,
        "model": shot.model,
        "prompt": shot.prompt,
        "source": media.video.source if media.video else None,
        "settings": {
            "size": f"{width}x{height}" if width and height else fields.AUTO,
            "seconds": _seconds_text(whole, exactly=media.video is None) if whole else fields.AUTO,
            "local_model": local.model,
            **{name: values[name] for name in SHOWN},
        },
        "warnings": warnings,
        "deleted": False,
    }


def _seconds_text(value: float, exactly: bool) -> str:
    """Seconds the way OpenAI writes them: a string, a whole number unless the client said otherwise."""
    return f"{value:g}" if exactly else str(max(1, round(value)))
