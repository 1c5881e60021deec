"""The API described in OpenAPI 3.1, from the same models that read the requests."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from . import prompts, wire

Json = dict[str, Any]

_TEXT, _STAMP = {"type": "string"}, {"type": ["integer", "null"]}
_ID = {"name": "id", "in": "path", "required": True, "schema": _TEXT}

_ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_VIDEO: Json = {
    "type": "object",
    "required": [
        *("id", "object", "model", "status", "progress", "created_at", "completed_at", "expires_at", "prompt", "size"),
        *("seconds", "remixed_from_video_id", "error"),
    ],
    "properties": {
        "id": {"type": "string", "pattern": "^video_[0-9a-f]{32}$"},
        "object": {"const": "video"},
        "model": _TEXT,
        "status": {"enum": ["queued", "in_progress", "completed", "failed"]},
        "progress": {"type": "integer", "minimum": 0, "maximum": 100},
        "created_at": {"type": "integer"},
        "completed_at": _STAMP,
        "expires_at": _STAMP,
        "prompt": {"type": ["string", "null"]},
        "size": _TEXT,
        "seconds": _TEXT,
        "remixed_from_video_id": {"type": ["string", "null"]},
        "error": {"type": ["object", "null"], "properties": {"code": _TEXT, "message": _TEXT}},
        "queue_position": {"type": ["integer", "null"]},
        "warnings": {"type": "array", "items": _TEXT},
    },
}
_CHARACTER: Json = {
    "type": "object",
    "required": ["id", "name", "created_at"],
    "properties": {"id": _TEXT, "name": _TEXT, "created_at": {"type": "integer"}},
}
_MODEL: Json = {
    "type": "object",
    "required": ["id", "object"],
    "properties": {"id": _TEXT, "object": {"const": "model"}},
}

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


def description() -> Json:
    """The whole document. Addresses are relative to /v1, where it is served."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Atelier's Videos API", "version": "1"},
        "servers": [{"url": "/v1"}],
        "security": [{}, {"key": []}],
        "paths": {
            "/videos": {
                "post": _call("create", "Video", _shot("input_reference", "last_frame")),
                "get": _call("list", "VideoList", parameters=_query(wire.Page)),
            },
            "/videos/edits": {"post": _call("edit", "Video", _shot("video", required=["video"]))},
            "/videos/extensions": {"post": _call("extend", "Video", _shot("video", required=["video"]))},
            "/videos/characters": {
                "post": _call("createCharacter", "Character", _body(wire.Named, ["video"], ["video"]))
            },
            "/videos/characters/{id}": {"get": _call("getCharacter", "Character", parameters=[_ID])},
            "/videos/{id}": {
                "get": _call("retrieve", "Video", parameters=[_ID]),
                "delete": _call("delete", "Deleted", parameters=[_ID]),
            },
            "/videos/{id}/content": {"get": _content()},
            "/videos/{id}/remix": {"post": _call("remix", "Video", _shot(), [_ID])},
            "/videos/{id}/cancel": {"post": _call("cancel", "Video", parameters=[_ID])},
            "/prompts/expand": {"post": _call("expandPrompt", "Expansion", _body(prompts.Wanted, [], []))},
            "/prompts/expanders": {"get": _call("listExpanders", "ExpanderList")},
            "/models": {"get": _call("listModels", "ModelList")},
            "/models/{id}": {"get": _call("getModel", "Model", parameters=[_ID])},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Video": _VIDEO,
                "VideoList": _list("Video", first_id={"type": ["string", "null"]}, has_more={"type": "boolean"}),
                "Deleted": {"type": "object", "required": ["id", "deleted"], "properties": {"id": _TEXT}},
                "Character": _CHARACTER,
                "Model": _MODEL,
                "ModelList": _list("Model"),
                "Expansion": _EXPANSION,
                "Expander": _EXPANDER,
                "ExpanderList": _list("Expander"),
                "Error": _ERROR,
            },
        },
    }


def _list(name: str, **more: Json) -> Json:
    entries = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    properties = {"object": {"const": "list"}, "data": entries, **more}
    return {"type": "object", "required": list(properties), "properties": properties}


def _json(name: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _call(name: str, answer: str, body: Json | None = None, parameters: list[Json] | None = None) -> Json:
    call: Json = {"operationId": name, "parameters": parameters or []}
    if body:
        call["requestBody"] = body
    return call | {"responses": {"200": {"description": answer, "content": _json(answer)}} | _errors()}


def _content() -> Json:
    variant = {"name": "variant", "in": "query", "schema": {"enum": ["video", "thumbnail", "spritesheet", "preview"]}}
    kinds = ("video/mp4", "video/webm", "image/webp", "image/jpeg", "application/octet-stream")
    answer = {"description": "The file", "content": {kind: {} for kind in kinds}}
    responses = {"200": answer, "206": answer, "416": {"description": "No such range"}} | _errors()
    return {"operationId": "content", "parameters": [_ID, variant], "responses": responses}


def _errors() -> Json:
    return {"4XX": {"description": "An error", "content": _json("Error")}}


def _shot(*files: str, required: list[str] | None = None) -> Json:
    return _body(wire.Shot, list(files), required or [])


def _body(model: type[BaseModel], files: list[str], required: list[str]) -> Json:
    """The same fields as JSON and as multipart, where some may be files."""
    schema = model.model_json_schema()
    schema["required"] = sorted({*schema.get("required", []), *required})
    binary = {name: {"type": "string", "contentMediaType": "application/octet-stream"} for name in files}
    multipart = schema | {"properties": schema["properties"] | binary}
    kinds = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": multipart}}
    return {"required": True, "content": kinds}


def _query(model: type[BaseModel]) -> list[Json]:
    fields = model.model_json_schema()["properties"]
    return [{"name": name, "in": "query", "schema": schema} for name, schema in fields.items()]
