"""The API's words: what a request may say, with the extensions of other local servers, and how a video is shown."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ...models.timeline import storyboard
from ..errors import bad, without_paths
from ..store import Row
from . import json_text
from .body import MAX_FIELDS

Json = dict[str, Any]

AUTO = "auto"
"""Size or length of a job that leaves it to the model, until its video is made."""

ALIASES = {
    "steps": "num_inference_steps",
    "cfg_scale": "guidance_scale",
    "frame_rate": "fps",
    "duration": "seconds",
    "image_reference": "input_reference",
    "reference_url": "input_reference",
}
"""Names of other servers for the same thing."""


def _object(value: Any) -> Any:
    """JSON in a form field."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json_text.parsed(value)
        except ValueError:
            return value
    return value


def _empty(value: Any) -> Any:
    return None if value == "" else value


Reference = Annotated[str | dict | None, BeforeValidator(_object)]
"""A picture or clip that is not sent as a file: a data URL, an id, {"image_url"}, {"file_id"} or {"id"}."""
Whole = Annotated[int | None, BeforeValidator(_empty)]
Number = Annotated[float | None, BeforeValidator(_empty)]


class Card(BaseModel):
    """One card of a storyboard."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    time: float = Field(ge=0, le=3600, description="seconds from the start")
    prompt: str = Field(min_length=1, max_length=32000)
    cut: bool = Field(False, description="nothing flows over from the card before")

    def line(self) -> str:
        """The card as the Storyboard node reads it."""
        time = f"{self.time:.3f}".rstrip("0").rstrip(".")
        return f"{time}s{' cut' if self.cut else ''}: {' '.join(self.prompt.split())}"


Board = (
    Annotated[str, Field(max_length=storyboard.MAX_TEXT)]
    | Annotated[list[Card], Field(max_length=storyboard.MAX_CARDS)]
)


def _board(cards: str | list[Card] | None) -> str | None:
    """The board as the Storyboard node reads it; None where it has no cards."""
    return ("\n".join(card.line() for card in cards) if isinstance(cards, list) else cards) or None


class Shot(BaseModel):
    """Every field a request that makes a video can have. What is not named here is reported, not refused."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    prompt: str = Field(min_length=1, max_length=32000, description="what should be seen")
    model: str = Field("sora-2", min_length=1, max_length=300)
    seconds: Number = Field(None, gt=0, le=3600)
    size: str | None = Field(None, pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$", description="WIDTHxHEIGHT")
    input_reference: Reference = Field(None, description="the first frame (or, a clip, what to change)")
    characters: Annotated[list[str | dict] | None, BeforeValidator(_object)] = Field(None, max_length=2)
    video: Reference = Field(None, description="the clip to edit or extend")

    width: Whole = Field(None, ge=1, le=16384)
    height: Whole = Field(None, ge=1, le=16384)
    num_frames: Whole = Field(None, ge=1, le=100_000)
    fps: Number = Field(None, ge=0.01, le=240)
    num_inference_steps: Whole = Field(None, ge=1, le=1000)
    guidance_scale: Number = Field(None, ge=0, le=100)
    negative_prompt: str | None = Field(None, max_length=32000)
    seed: Whole = Field(None, ge=0, le=2**64 - 1)
    n: Whole = Field(None, ge=1, le=16, description="how many variations, each a job of its own")

    strength: Number = Field(None, ge=0.05, le=1, description="how much noise a clip gets that is edited; 1 = all new")
    last_frame: Reference = Field(None, description="the picture the video ends with")
    loop: Annotated[bool | Literal["short", "normal", "long"] | None, BeforeValidator(_empty)] = Field(
        None, description="whether the end flows into the beginning, and how much of the end is made anew for that"
    )
    direction: str | None = Field(None, pattern="^(forward|backward)$", description="which end is extended")
    style: str | None = Field(None, max_length=300)
    storyboard: Annotated[Board | None, BeforeValidator(_object), AfterValidator(_board)] = Field(
        None, description="what is seen when: cards, or lines such as '1.5s: words'; the prompt comes before the first"
    )

    def unknown(self) -> list[str]:
        return sorted(self.model_extra or {})


def shot(fields: Json, kind: type[Shot] = Shot) -> Shot:
    """A request's fields, nested and renamed ones brought to their place. Raises ApiError naming the field."""
    flat = {}
    for holder in ("extra_params", "extra_body"):
        inner = _object(fields.get(holder))
        if inner is not None and not isinstance(inner, dict):
            raise bad(f"'{holder}' must be an object.", holder)
        flat |= inner or {}
    flat |= {name: value for name, value in fields.items() if name not in ("extra_params", "extra_body")}
    if len(flat) > MAX_FIELDS:
        raise bad(f"The request has {len(flat):,} fields; up to {MAX_FIELDS} are read.", code="invalid_body")
    named = {ALIASES.get(name, name): value for name, value in flat.items() if name in ALIASES}
    named |= {name: value for name, value in flat.items() if name not in ALIASES}
    return parsed(kind, named)


class Named(BaseModel):
    """A character to be made."""

    name: str = Field(min_length=1, max_length=80)
    video: Reference = None


class Page(BaseModel):
    """Which part of the list."""

    after: str | None = None
    limit: int = Field(20, ge=0, le=100)
    order: str = Field("desc", pattern="^(asc|desc)$")


def parsed(kind: type[BaseModel], fields: Json) -> Any:
    """`fields` as `kind`. Raises ApiError about the first that does not fit."""
    try:
        return kind.model_validate({name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        param = ".".join(map(str, first["loc"]))[:200] or None
        code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
        raise bad(f"{param}: {first['msg']}", param, code) from None


def sides(size: str) -> tuple[int, int]:
    """'720x1280' -> (720, 1280)."""
    width, height = size.split("x")
    return int(width), int(height)


def video(row: Row, live: Json) -> Json:
    """A job as OpenAI's Video object, with how it stands now (Runner.live) and what was really used beside it."""
    made = row["settings"]
    done = row["status"] == "completed"
    return {
        "id": row["id"],
        "object": "video",
        "model": row["model"],
        "status": row["status"],
        "progress": 100 if done else live["progress"],
        "created_at": int(row["created_at"]),
        "completed_at": _whole(row["completed_at"]),
        "expires_at": _whole(row["expires_at"]),
        "prompt": row["prompt"],
        "size": made["size"],
        "seconds": made["seconds"],
        "remixed_from_video_id": row["source"],
        "error": row["error"] and {**row["error"], "message": without_paths(row["error"]["message"])},
        "operation": row["operation"],
        "queue_position": live["queue_position"],
        "step": live["step"],
        "steps": live["steps"],
        "started_at": _whole(row["started_at"]),
        "warnings": [without_paths(warning) for warning in row["warnings"]],
        **{name: value for name, value in made.items() if name not in ("size", "seconds")},
    }


def _whole(stamp: float | None) -> int | None:
    return None if stamp is None else int(stamp)
