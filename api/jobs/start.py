"""Turns a request into queued jobs: the graph, the values for its marks, the rows of the store, the warnings."""

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
from ..request.references import ReferenceFile
from ..settings import LocalModel
from ..store import Row, Store
from . import board, plan
from .runner import Runner

Json = dict[str, Any]

SHOWN = (
    *("seed", "fps", "num_frames", "num_inference_steps", "guidance_scale", "negative_prompt", "style", "strength"),
    *("direction", "loop", "storyboard", "generate_sound"),
)
"""Values that a job's record shows in addition to OpenAI's own keys."""
RECIPE = ("num_inference_steps", "guidance_scale")
"""Those of them that show the model's own value if the request leaves them out."""
MAX_UNKNOWN = 20
"""Unknown fields that the warnings name. A list of videos repeats the warnings of each, so they are kept short."""
ELSEWHERE = (
    *("n", "characters", "input_reference", "model", "control_reference", "control_type", "audio_reference"),
    *("enable_frame_interpolation", "frame_interpolation_exp"),
)
"""Fields that take effect without a mark in the graph."""
NEEDS = {
    "lora_scale": "lora",
    "control_type": "control_reference",
    "frame_interpolation_exp": "enable_frame_interpolation",
}
"""Field -> the field without which it has no effect."""
CONTROL = ("control_reference", "control_type")
REFERENCES = ("input_reference", "last_frame", "video", "control_reference", "audio_reference", "lora")
"""Fields that take one thing, of which a list may be sent."""
FILES = ("image", "last_frame", "video", "control", "audio", "blend_video", board.NAME)
"""The fields of Media that are files, which are also the names of marks."""
KIND_NAMES = {files.IMAGE: "a picture", files.VIDEO: "a clip", files.SOUND: "a sound"}
DEFAULT_RATE = 24.0
"""Frames per second of a card's clip if neither the request nor the model says any."""
HIGH = "high"
"""The `quality` of a video that is made small, upscaled and sampled again."""
TOGETHER: tuple[set[str], ...] = (
    {"width", "height", "size"},
    {"num_frames", "seconds"},
    {"storyboard", "prompt"},
    {"blend", "blend_video"},
    {"quality", "upscaler"},
)
"""Fields and marks of which a graph uses all if it has a mark for one."""
MAX_SEED = 2**31
"""Random seeds are below this, so that a signed 32-bit integer holds them."""


def new_id(kind: str) -> str:
    """A random id. kind: files.JOB or files.CHARACTER."""
    return f"{kind}{uuid.uuid4().hex}"


@dataclass(frozen=True)
class Media:
    """The pictures, clips and sounds of a request."""

    image: ReferenceFile | None = None
    last_frame: ReferenceFile | None = None
    video: ReferenceFile | None = None
    control: ReferenceFile | None = None
    audio: ReferenceFile | None = None
    blend_video: ReferenceFile | None = None
    storyboard_images: ReferenceFile | None = None
    cards: tuple[ReferenceFile, ...] = ()
    """The pictures and clips that become storyboard_images. They stay, but for copies of other videos."""
    character: Json | None = None

    def in_folder(self, folder: Path) -> Media:
        """Copies of all files, for another job."""

        def copy(reference: ReferenceFile | None) -> ReferenceFile | None:
            return reference and replace(reference, path=files.copied(reference.path, folder))

        cards = tuple(card if card.source else copy(card) for card in self.cards)
        return replace(self, cards=cards, **{name: copy(getattr(self, name)) for name in FILES})

    def values(self) -> Json:
        """The values of the marks in FILES."""
        return {n: files.for_graph(r.path) for n in FILES if (r := getattr(self, n))}


async def queue_jobs(
    operation: str, shot: fields.Shot, body: Body, ids: list[str], store: Store, runner: Runner
) -> list[Row]:
    """Queue one job per id, all or none. The request's files are in the folder of the first. Raises ApiError."""
    try:
        return await _queue_jobs(operation, shot, body, ids, store, runner)
    except BaseException:
        for job_id in ids[1:]:  # the folder of the first is removed with the claim on it
            await asyncio.to_thread(files.remove, files.job_folder(job_id))
        raise


async def _queue_jobs(
    operation: str, shot: fields.Shot, body: Body, ids: list[str], store: Store, runner: Runner
) -> list[Row]:
    local = await catalogue.local_model(shot.model)
    media = await _media(operation, shot, body, files.job_folder(ids[0]), store)
    operation = _graph_of(operation, shot, media)
    graph = await marks.load(operation)
    known = await _model_for(operation, shot, media, graph, local)
    clip = await asyncio.to_thread(files.facts, media.video.path) if media.video else None
    second = await asyncio.to_thread(files.facts, media.blend_video.path) if media.blend_video else None
    values, warnings = plan.plan_shot(operation, shot, local, known, clip, second)
    asked = values["storyboard"]
    if operation == "storyboard" and board.NAME in graph.fields():  # else the artist's graph has its own pictures
        warnings += board.unused(values["storyboard"], len(media.cards))
        media = await _with_cards(media, values, known, files.job_folder(ids[0]))
    values |= await _lora(shot, graph)
    rate = values["fps"] or (clip.fps if clip else known.get("fps"))
    interpolate, why_not = await _interpolation(shot, rate)
    warnings += [*_unused_fields(shot, media, graph), *_ineffective(shot, body), *why_not, *known.get("notes", ())]
    seed = secrets.randbelow(MAX_SEED) if shot.seed is None else shot.seed
    rows, prompts, extras = [], [], []
    for number, job_id in enumerate(ids):
        own = media if number == 0 else await asyncio.to_thread(media.in_folder, files.job_folder(job_id))
        values |= {"seed": (seed + number) % 2**64, "output": f"atelier/videos/{job_id}/video", **own.values()}
        row = _row(job_id, operation, shot, local, media, values, warnings)
        row |= {"process": runner.process, "bytes": await asyncio.to_thread(files.size_of, files.job_folder(job_id))}
        row["settings"]["storyboard"] = asked  # with the request's numbers of images, not the assembled clip's
        row["settings"] |= {board.NAME: [board.recorded(card) for card in own.cards]} if own.cards else {}
        row["settings"] |= _cut(operation, shot, media, values)
        row["settings"] |= {"variations": ids} if len(ids) > 1 else {}
        row["settings"] |= {"characters": [media.character]} if media.character and "image" in graph.fields() else {}
        if graph.ours:  # an artist's graph may have other values of its own
            row["settings"] |= {name: known[name] for name in RECIPE if values[name] is None and name in known}
        row["settings"] |= {name: values[name] for name in ("lora", "lora_scale") if values[name] is not None}
        row["settings"] |= {"quality": HIGH} if known.get("upscaler") else {}
        row["settings"] |= {"frame_interpolation_exp": interpolate[1]} if interpolate else {}
        rows.append(row)
        prompt, workflow = graph.filled(values)
        prompt = interpolation.interpolated(prompt, *interpolate) if interpolate else prompt
        about = {"id": job_id, "operation": operation, "prompt": shot.prompt, **row["settings"]}
        prompts.append(prompt)
        extras.append({"workflow": workflow, "atelier": about})
    await runner.queue(rows, prompts, extras)
    return rows


def _cut(operation: str, shot: fields.Shot, media: Media, values: Json) -> Json:
    """A re-cut or a blend in its job's record, as a request for the same has it."""
    if operation in ("recut", "fill"):
        return {"recut": values["recut"]}
    if operation == "blend":
        seconds, curve = values["blend_seconds"], shot.blend.curve
        return {"blend": {"video": media.blend_video.source, "seconds": seconds, "curve": curve}}
    return {}


def _graph_of(operation: str, shot: fields.Shot, media: Media) -> str:
    """The name of the graph for a request."""
    if operation == "generate" and media.video is not None:
        operation = "edit"
    if operation == "generate" and shot.storyboard:
        return "storyboard"
    if operation == "edit" and shot.recut:
        return "fill" if plan.has_gaps(shot.recut) else "recut"
    if operation == "edit" and shot.blend:
        return "blend"
    return "loop" if operation == "edit" and shot.loop else operation


async def _model_for(operation: str, shot: fields.Shot, media: Media, graph: marks.Graph, local: LocalModel) -> Json:
    """The model's record from `catalogue.facts`, with "notes" for this shot. Raises ApiError if the model cannot do it.

    {} if the graph has no mark for the model, as an artist's graph that always loads the same one.
    """
    if "model" not in graph.fields():
        if shot.quality == HIGH and "upscaler" in graph.fields():
            raise bad(f"The graph {graph.file.stem} needs a mark for the model, too: it tells the upscaler.", "quality")
        return {}
    known = await catalogue.facts(local.model)
    if "reading" in known:
        raise ApiError(503, "model_not_read", known["problem"], "model")
    if "problem" in known:
        raise ApiError(422, "model_unusable", known["problem"], "model")
    high = shot.quality == HIGH and "upscaler" in graph.fields()
    known = known if high else {name: value for name, value in known.items() if name != "upscaler"}
    fills_between = operation == "fill" and not plan.only_longer(shot.recut)
    needed = {
        "first_frame": media.image is not None and "image" in graph.fields(),
        "last_frame": media.last_frame is not None and "last_frame" in graph.fields(),
        "loop": operation == "blend" or fills_between or (bool(shot.loop) and "loop" in graph.fields()),
        "control": media.control is not None and "control" in graph.fields(),
        "sound": media.audio is not None and "audio" in graph.fields(),
        "high_quality": high,
        "edit": operation == "edit",
        shot.direction or "forward": operation == "extend" or (operation == "fill" and not fills_between),
    }
    if operation == "storyboard" and board.NAME in graph.fields():
        needed |= dict.fromkeys(board.abilities(shot.storyboard), True)
    able = [known["abilities"][ability] for ability, wanted in needed.items() if wanted]
    for ability in able:
        if not ability["possible"]:
            raise ApiError(422, "model_cannot", f"{ability['note']}.")
    return known | {"notes": list(dict.fromkeys(f"{ability['note']}." for ability in able if ability["note"]))}


async def _media(operation: str, shot: fields.Shot, body: Body, folder: Path, store: Store) -> Media:
    """The request's files, checked and in `folder`. Raises ApiError."""

    async def resolved(name: str, kind: str | None = None) -> ReferenceFile | None:
        reference = await references.resolve(name, getattr(shot, name), body, folder, store, kind == files.SOUND)
        if kind is not None and reference is not None and reference.kind != kind:
            raise bad(f"'{name}' must be {KIND_NAMES[kind]}, not {KIND_NAMES[reference.kind]}.", name)
        return reference

    first, last = await resolved("input_reference"), await resolved("last_frame", files.IMAGE)
    control, audio = await resolved("control_reference", files.VIDEO), await resolved("audio_reference", files.SOUND)
    character = None
    if first is None and shot.characters:
        first, character = await _character(shot.characters[0], body, folder, store)
    if first is not None and first.kind == files.VIDEO:
        return Media(None, last, first, control, audio)
    video = None
    if operation != "generate":
        video = await resolved("video", files.VIDEO)
        if video is None:
            raise bad("'video' is missing. Send a file, or {\"id\": ...}.", "video", "missing_required_parameter")
        if operation == "edit" and shot.blend is not None:
            blend = await _second(shot.blend, body, folder, store)
            return Media(first, last, video, control, audio, blend)
    cards = tuple(await board.pictures_of(shot, body, folder, store)) if video is None and shot.storyboard else ()
    return Media(first, last, video, control, audio, cards=cards, character=character)


async def _second(blend: fields.Blend, body: Body, folder: Path, store: Store) -> ReferenceFile:
    """The second clip of a blend. Raises ApiError."""
    second = await references.resolve("blend_video", blend.video, body, folder, store)
    if second is None:
        raise bad(
            'The second clip is missing. Send {"blend": {"video": {"id": ...}}}, or the file blend_video.',
            "blend",
            "missing_required_parameter",
        )
    if second.kind != files.VIDEO:
        raise bad(f"The second clip of 'blend' must be a clip, not {KIND_NAMES[second.kind]}.", "blend")
    return second


async def _with_cards(media: Media, values: Json, known: Json, folder: Path) -> Media:
    """Check a board's image numbers, and put its pictures into one clip. `values` gets the clip's numbers."""
    cards = board.numbered(values["storyboard"], len(media.cards))
    if not any(card.image for card in cards):
        return media
    width, height = (values[side] or known.get(side) for side in ("width", "height"))
    size, rate = (width, height) if width and height else None, values["fps"] or known.get("fps") or DEFAULT_RATE
    length = values["num_frames"] / rate if values["num_frames"] else values["seconds"]
    clip, text = await asyncio.to_thread(board.assembled, cards, media.cards, size, rate, length, folder)
    values["storyboard"] = text
    for picture in media.cards:
        if picture.source:
            picture.path.unlink(missing_ok=True)
    return replace(media, storyboard_images=clip)


async def _character(value: str | Json, body: Body, folder: Path, store: Store) -> tuple[ReferenceFile, Json]:
    """(the picture of a character, its entry in the job's record). Raises ApiError 404."""
    identity = value.get("id") if isinstance(value, dict) else value
    row = await store.character(identity) if isinstance(identity, str) else None
    if row is None:
        raise missing("character", str(identity)[:100])
    entry = {"id": identity, "name": row["name"], "used_as": "first_frame"}
    return await references.resolve("characters", identity, body, folder, store), entry


def _unused_fields(shot: fields.Shot, media: Media, graph: marks.Graph) -> list[str]:
    """Warnings about fields that are unknown, or that the graph has no mark for."""
    used = graph.fields()
    if graph.file.stem == "recut":  # no model reads the prompt, which OpenAI's clients must send
        used.add("prompt")
    for names in TOGETHER:
        used |= names if names & used else set()
    sent = {name for name in shot.model_fields_set if getattr(shot, name) not in (None, False)}
    sent -= {*ELSEWHERE, *shot.unknown(), *([] if shot.quality == HIGH else ["quality"])}
    sent |= {name for name in ("image", "last_frame", "control", "audio") if getattr(media, name)}
    unknown = [f"'{name[:100]}' is not a known field." for name in shot.unknown()]
    more = len(unknown) - MAX_UNKNOWN
    return [
        *unknown[:MAX_UNKNOWN],
        *([f"{more} more fields are not known."] if more > 0 else []),
        *(f"'{name}' is not used by the graph {graph.file.stem}." for name in sorted(sent - used)),
        *(["Only the first character is used." for _ in (shot.characters or [])[1:]]),
    ]


async def _lora(shot: fields.Shot, graph: marks.Graph) -> Json:
    """The values of the marks `lora` and `lora_scale`. Raises ApiError 404."""
    if not shot.lora or "lora" not in graph.fields():
        return {"lora": None, "lora_scale": None}
    first = shot.lora[0]
    scale = next((scale for scale in (first.scale, shot.lora_scale) if scale is not None), 1.0)
    return {"lora": await catalogue.lora(first.wanted), "lora_scale": scale}


async def _interpolation(shot: fields.Shot, rate: float | None) -> tuple[tuple[str, int, float] | None, list[str]]:
    """((model, doublings, frame rate before) or None, warnings about why it is None)."""
    if not shot.enable_frame_interpolation:
        return None, []
    name, reason = await interpolation.model()
    if name is not None and rate:
        return (name, shot.frame_interpolation_exp or 1, rate), []
    reason = reason or "the frame rate of the graph is not known; send fps"
    return None, [f"'enable_frame_interpolation' is not used: {reason}."]


def _ineffective(shot: fields.Shot, body: Body) -> list[str]:
    """Warnings about duplicates: further names, pictures and files, and fields that need another one."""
    pictures = {n: getattr(shot, n) for n in REFERENCES}
    sent = {name for name in shot.model_fields_set if getattr(shot, name) is not None}
    sent |= {canonical(name) for name in body.taken}
    return [
        *shot.twice,
        *(f"'{name}' has no effect without '{of}'." for name, of in NEEDS.items() if name in sent and of not in sent),
        *(["'control_type' has no effect: the control clip is used as it is."] if {*CONTROL} <= sent else []),
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
    (width, height), whole = values["size"], values["whole"]
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
    """Seconds as OpenAI writes them: a string, rounded to a whole number unless `exactly`."""
    return f"{value:g}" if exactly else str(max(1, round(value)))
