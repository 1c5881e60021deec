"""The API's OpenAPI 3.1 document, built from the pydantic models that validate the requests."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import BaseModel

from .. import catalogue
from ..request import fields
from ..state import Api
from . import desk, imports, prompts

Json = dict[str, Any]


def _record(**properties: Json) -> Json:
    """The schema of an object that always has these keys."""
    return {"type": "object", "required": list(properties), "properties": properties}


_TEXT, _WHOLE, _STAMP = {"type": "string"}, {"type": "integer"}, {"type": ["integer", "null"]}
_ID = {"name": "id", "in": "path", "required": True, "schema": _TEXT}

_NUMBER, _MAYBE_TEXT = {"type": ["number", "null"]}, {"type": ["string", "null"]}

_ERROR = _record(error=_record(message=_TEXT, type=_TEXT, param=_MAYBE_TEXT, code=_MAYBE_TEXT))
_VIDEO: Json = _record(
    id={"type": "string", "pattern": "^video_[0-9a-f]{32}$"},
    object={"const": "video"},
    model=_TEXT,
    status={"enum": ["queued", "in_progress", "completed", "failed"]},
    progress={"type": "integer", "minimum": 0, "maximum": 100},
    created_at=_WHOLE,
    completed_at=_STAMP,
    expires_at=_STAMP,
    prompt=_MAYBE_TEXT,
    size={**_TEXT, "description": "WIDTHxHEIGHT; 'auto' if the model decides, until the video is completed"},
    seconds={**_TEXT, "description": "length of the whole video; 'auto' as for size"},
    remixed_from_video_id=_MAYBE_TEXT,
    error={"anyOf": [_record(code=_TEXT, message=_TEXT), {"type": "null"}]},
    operation={**_TEXT, "description": "the name of the graph that the job runs"},
    queue_position={**_STAMP, "description": "1 is next; null if the job is not queued"},
    step={**_STAMP, "description": "the current step, of `steps`, of the running node; null if that node reports none"},
    steps=_STAMP,
    started_at=_STAMP,
    warnings={"type": "array", "items": _TEXT},
    local_model=_TEXT,
    seed=_WHOLE,
    **{name: _NUMBER for name in ("fps", "num_frames", "num_inference_steps", "guidance_scale", "strength")},
    **{name: _MAYBE_TEXT for name in ("negative_prompt", "style", "direction", "loop", "storyboard")},
    generate_sound={"type": ["boolean", "null"], "description": "as requested; null if it was not"},
)
_VIDEO["properties"] |= {
    "duration": {"type": "number", "description": "the exact length in seconds, once the video is completed"},
    "variations": {"type": "array", "items": _TEXT, "description": "the ids of all jobs of a request with n > 1"},
    "characters": {"type": "array", "items": _record(id=_TEXT, name=_TEXT, used_as={"const": "first_frame"})},
}
_VIDEO["properties"] |= {
    "lora": {**_TEXT, "description": "the file of models/loras"},
    "lora_scale": {"type": "number"},
    "quality": {"const": "high", "description": "if the video was made small, upscaled and sampled again"},
    "frame_interpolation_exp": {**_WHOLE, "description": "how many times the frame rate was doubled"},
    "recut": {**_TEXT, "description": "the pieces and gaps of a re-cut, as lines"},
    "blend": _record(video=_MAYBE_TEXT, seconds={"type": "number"}, curve={"type": ["string", "array"]}),
    "storyboard_images": {
        "type": "array",
        "items": {"anyOf": [_record(id=_TEXT), _record(file=_TEXT, kind={"enum": ["image", "video"]})]},
        "description": "what the storyboard's [image 1], [image 2], ... are: videos, and files that were sent with the "
        "request, for which the content has the variant storyboard_image",
    },
}
_FILES = ("input_reference", "last_frame", "control_reference", "storyboard_images", "audio_reference")
"""The files of a new video."""
_CHARACTER = _record(
    id=_TEXT,
    object={"const": "character"},
    name=_TEXT,
    created_at=_WHOLE,
    used_as={"const": "first_frame", "description": "how a video uses the character: its picture is the first frame"},
)
_FEATURE = _record(supported={"type": "boolean"}, note=_MAYBE_TEXT)
_FEATURE["properties"]["needs"] = {**_TEXT, "description": "the id of what has to be downloaded for it"}

_EXPANSION: Json = {
    "type": "object",
    "required": ["object", "prompt", "original", "expander", "model", "seed", "warnings"],
    "properties": {
        "object": {"const": "prompt.expansion"},
        **dict.fromkeys(("prompt", "original", "expander", "model"), _TEXT),
        "seed": {"type": "integer"},
        "warnings": {"type": "array", "items": _TEXT},
    },
}
_EXPANDER: Json = {
    "type": "object",
    "required": ["id", "object", "default"],
    "properties": {"id": _TEXT, "object": {"const": "prompt.expander"}, "default": {"type": "boolean"}},
}
_DEVICE = _record(name=_TEXT, bytes=_WHOLE, main_bytes=_WHOLE)
_MEMORY: Json = {
    "anyOf": [
        _record(
            network={**_WHOLE, "description": "bytes of the weights as stored"},
            step={**_WHOLE, "description": "bytes of one step at the model's own size"},
            verdict={"enum": ["fits", "offloaded", "too large"]},
            device=_DEVICE,
        ),
        {"type": "null"},
    ]
}
_PART = _record(id=_TEXT, name=_TEXT, bytes=_WHOLE)
_PUBLISHED: Json = _record(
    id={**_TEXT, "description": "for /models/{id}/download"},
    name=_TEXT,
    about=_TEXT,
    bytes=_WHOLE,
    licence=_record(name=_TEXT, url=_TEXT),
    page={**_TEXT, "description": "where a gated model's licence is accepted"},
    gated={"type": "boolean"},
    memory=_MEMORY,
    missing={
        "type": "array",
        "items": _PART,
        "description": "what a download fetches: the model, its text encoder",
    },
)
_DOWNLOAD: Json = _record(
    state={"enum": ["running", "done", "failed", "cancelled"]},
    bytes=_WHOLE,
    total=_WHOLE,
    bytes_per_second=_WHOLE,
    seconds_left=_NUMBER,
    error={"anyOf": [_record(code=_TEXT, message=_TEXT), {"type": "null"}]},
)
_HEAD: Json = {
    "id": _TEXT,
    "object": {"const": "model"},
    "created": {"type": "integer"},
    "owned_by": _TEXT,
    "installed": {"type": "boolean", "description": "false: it can be fetched, and is no model for a request yet"},
}
_FETCHED: Json = {
    "published": {"anyOf": [_PUBLISHED, {"type": "null"}]},
    "download": {"anyOf": [_DOWNLOAD, {"type": "null"}]},
}
_OFFER: Json = _record(**_HEAD, local_model=_MAYBE_TEXT, name=_TEXT, family=_TEXT, problem=_MAYBE_TEXT, **_FETCHED)
_MODEL: Json = _record(
    **_HEAD,
    **_FETCHED,
    memory=_MEMORY,
    local_model={**_TEXT, "description": "the model's name in Load Video Model's list"},
    name=_MAYBE_TEXT,
    family=_MAYBE_TEXT,
    problem={**_MAYBE_TEXT, "description": "why this file cannot be used"},
    defaults=_record(
        size=_MAYBE_TEXT,
        seconds=_NUMBER,
        num_frames=_NUMBER,
        fps=_NUMBER,
        num_inference_steps=_NUMBER,
        guidance_scale=_NUMBER,
        negative_prompt=_MAYBE_TEXT,
    ),
    limits=_record(max_pixels=_NUMBER, max_seconds=_NUMBER, max_frames=_NUMBER),
    multiples=_record(
        side={
            **_NUMBER,
            "description": "widths and heights are multiples of it; other values are rounded to the nearest",
        },
        frames={**_NUMBER, "description": "a frame count is a multiple of it plus one"},
    ),
    sizes={"type": "array", "items": _TEXT, "description": "common aspect ratios at the model's own number of pixels"},
    features=_record(**dict.fromkeys(catalogue.FEATURES, _FEATURE)),
    styles={"type": "array", "items": _TEXT},
)

_FARM: Json = _record(
    object={"const": "farm"},
    address={**_TEXT, "description": "host:port at which workers join"},
    waiting=_WHOLE,
    workers={
        "type": "array",
        "items": _record(
            id=_TEXT,
            object={"const": "farm.worker"},
            state={"enum": ["starting", "idle", "busy", "resting", "draining", "drained"]},
            host=_MAYBE_TEXT,
            gpu=_MAYBE_TEXT,
            model={**_MAYBE_TEXT, "description": "the model that it has loaded"},
            memory={**_NUMBER, "description": "bytes of its graphics card, or of the machine"},
            free={**_NUMBER, "description": "bytes of it that were free when the worker last had no job"},
            made={**_WHOLE, "description": "jobs since the head has started"},
            job={**_MAYBE_TEXT, "description": "the id of the video that it makes"},
            progress={**_STAMP, "description": "percent of its steps; null if it has no job"},
            error={**_MAYBE_TEXT, "description": "the last reason why it lost a job or could not start"},
        ),
    },
)


async def describe(api: Api, request: web.Request) -> web.Response:
    return web.json_response(description())


def description() -> Json:
    """The whole document. Its addresses are relative to /v1."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Atelier's Videos API", "version": "1"},
        "servers": [{"url": "/v1"}],
        "security": [{}, {"key": []}],
        "paths": {
            "/videos": {
                "post": _call("create", "Video", _shot(*_FILES)),
                "get": _call("list", "VideoList", parameters=_query(fields.Page)),
            },
            "/videos/sync": {"post": _finished(_shot(*_FILES))},
            "/videos/edits": {"post": _call("edit", "Video", _shot("video", "blend_video", required=["video"]))},
            "/videos/extensions": {"post": _call("extend", "Video", _shot("video", required=["video"]))},
            "/videos/imports": {"post": _call("import", "Video", _body(imports.Sent, ["video"], ["video"]))},
            "/videos/characters": {
                "post": _call("createCharacter", "Character", _body(fields.Named, ["video"], ["video"]))
            },
            "/videos/characters/{id}": {
                "get": _call("getCharacter", "Character", parameters=[_ID]),
                "delete": _call("deleteCharacter", "DeletedCharacter", parameters=[_ID]),
            },
            "/videos/{id}": {
                "get": _call("retrieve", "Video", parameters=[_ID]),
                "delete": _call("delete", "Deleted", parameters=[_ID]),
            },
            "/videos/{id}/content": {"get": _content()},
            "/videos/{id}/remix": {"post": _call("remix", "Video", _shot(), [_ID])},
            "/videos/{id}/cancel": {"post": _call("cancel", "Video", parameters=[_ID])},
            "/prompts/expand": {"post": _call("expandPrompt", "Expansion", _body(prompts.Wanted, [], []))},
            "/prompts/expanders": {"get": _call("listExpanders", "ExpanderList")},
            "/desk": {
                "get": _call("readDesk", "Desk", parameters=_query(desk.Since)),
                "patch": _call("changeDesk", "Desk", _body(desk.Change, [], ["items"])),
            },
            "/openapi.json": {"get": _described()},
            **_models(),
            **_farm(),
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
        },
    }


def _schemas() -> Json:
    """The components that calls refer to, by name."""
    return {
        "Video": _VIDEO,
        "VideoList": _list("Video", first_id=_MAYBE_TEXT, last_id=_MAYBE_TEXT, has_more={"type": "boolean"}),
        "Deleted": _record(id=_TEXT, object={"const": "video.deleted"}, deleted={"const": True}),
        "Character": _CHARACTER,
        "DeletedCharacter": _record(id=_TEXT, object={"const": "character.deleted"}, deleted={"const": True}),
        "Model": _MODEL,
        "Farm": _FARM,
        "Offer": _OFFER,
        "AnyModel": {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Model", "Offer")]},
        "ModelList": _list("AnyModel", farm={"type": "boolean", "description": "whether a farm's workers run them"}),
        "DeletedModel": _record(id=_TEXT, object={"const": "model"}, deleted={"const": True}),
        "Desk": _record(
            object={"const": "desk"},
            revision=_WHOLE,
            items={"type": "object", "additionalProperties": {"type": ["object", "null"]}},
        ),
        "Expansion": _EXPANSION,
        "Expander": _EXPANDER,
        "ExpanderList": _list("Expander"),
        "Error": _ERROR,
        "Card": fields.Card.model_json_schema(),
        "Piece": fields.Piece.model_json_schema(),
        "Blend": fields.Blend.model_json_schema(),
        "LoRA": fields.LoRA.model_json_schema(),
    }


def _models() -> Json:
    return {
        "/models": {"get": _call("listModels", "ModelList")},
        "/models/{id}": {
            "get": _call("getModel", "AnyModel", parameters=[_ID]),
            "delete": _call("removeModel", "DeletedModel", parameters=[_ID]),
        },
        "/models/{id}/download": {
            "post": _call("downloadModel", "Offer", parameters=[_ID]),
            "delete": _call("cancelDownload", "Offer", parameters=[_ID]),
        },
    }


def _farm() -> Json:
    """404 unless this ComfyUI is the head of a farm."""
    return {
        "/farm": {"get": _call("getFarm", "Farm")},
        "/farm/workers/{id}": {"delete": _call("removeWorker", "Farm", parameters=[_ID])},
        "/farm/workers/{id}/drain": {"post": _call("drainWorker", "Farm", parameters=[_ID])},
        "/farm/workers/{id}/resume": {"post": _call("resumeWorker", "Farm", parameters=[_ID])},
    }


def _list(name: str, **more: Json) -> Json:
    entries = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    return _record(object={"const": "list"}, data=entries, **more)


def _json(name: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


_LEADS_TO = {
    "Video": ("retrieve", "delete", "content", "remix", "cancel"),
    "Character": ("getCharacter", "deleteCharacter"),
}
"""Schema of an answer -> the calls that take its id."""


def _call(name: str, answer: str, body: Json | None = None, parameters: list[Json] | None = None) -> Json:
    call: Json = {"operationId": name, "parameters": parameters or []}
    response: Json = {"description": answer, "content": _json(answer)}
    if body:
        call["requestBody"] = body
        links = {
            to: {"operationId": to, "parameters": {"id": "$response.body#/id"}} for to in _LEADS_TO.get(answer, ())
        }
        response |= {"links": links} if links else {}
    return call | {"responses": {"200": response} | _errors()}


def _content() -> Json:
    names = ["video", "thumbnail", "spritesheet", "preview", "so_far", "storyboard_image"]
    about = (
        "of a completed video: video, thumbnail, spritesheet; while the job runs: preview, its newest picture, and "
        "so_far, the part of the clip that is there as an animated WebP, first in rough colours, then as decoded; at "
        "any time: storyboard_image, a picture or clip that was sent for the storyboard"
    )
    variant = {"name": "variant", "in": "query", "schema": {"enum": names}, "description": about}
    number = {
        **{"name": "number", "in": "query", "schema": {"type": "integer", "minimum": 1}},
        "description": "which storyboard_image",
    }
    kinds = ("video/mp4", "video/webm", "image/png", "image/webp", "image/jpeg", "application/octet-stream")
    headers = {
        "X-Seconds": {"schema": {"type": "number"}, "description": "so_far: the length of that part of the clip"},
        "X-Decoded": {"schema": {"type": "boolean"}, "description": "so_far: whether its frames are decoded ones"},
    }
    answer = {"description": "The file", "content": {kind: {} for kind in kinds}}
    responses = {
        **{"200": answer | {"headers": headers}, "206": answer, "416": {"description": "No such range"}},
        **{"304": {"description": "Not changed since the ETag in If-None-Match"}},
    } | _errors()
    return {"operationId": "content", "parameters": [_ID, variant, number], "responses": responses}


def _finished(body: Json) -> Json:
    """/videos/sync, which answers with the file itself."""
    headers = {
        "X-Video-Id": {"schema": _TEXT, "description": "the job's id, as in /videos/{id}"},
        "X-Warnings": {"schema": _TEXT, "description": "the job's warnings, as a JSON array"},
    }
    answer = {"description": "The file", "headers": headers, "content": {"video/mp4": {}, "video/webm": {}}}
    return {"operationId": "createAndWait", "requestBody": body, "responses": {"200": answer} | _errors()}


def _described() -> Json:
    answer = {"description": "This document", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {"operationId": "describe", "responses": {"200": answer} | _errors()}


def _errors() -> Json:
    return {"4XX": {"description": "An error", "content": _json("Error")}}


def _shot(*files: str, required: list[str] | None = None) -> Json:
    return _body(fields.Shot, list(files), required or [])


def _body(model: type[BaseModel], files: list[str], required: list[str]) -> Json:
    """A request body with the same fields as JSON and as multipart. In multipart, `files` may be uploads."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)  # they are in the components
    for field in schema["properties"].values():
        if any(kind.get("type") in ("integer", "number") for kind in field.get("anyOf", ())):
            field["anyOf"].append(_TEXT)  # forms send numbers as text, and so do OpenAI's clients for `seconds`
    schema["required"] = sorted({*schema.get("required", []), *required})
    binary = {name: {"type": "string", "contentMediaType": "application/octet-stream"} for name in files}
    multipart = schema | {"properties": schema["properties"] | binary}
    kinds: Json = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": multipart}}
    if not required:
        for kind in kinds.values():
            kind["example"] = {"prompt": "a red circle moving left"}
    return {"required": True, "content": kinds}


def _query(model: type[BaseModel]) -> list[Json]:
    fields = model.model_json_schema()["properties"]
    return [{"name": name, "in": "query", "schema": schema} for name, schema in fields.items()]
