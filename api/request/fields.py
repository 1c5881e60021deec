"""The fields of requests and their validation, and the Video object of answers. `dialects` has the aliases."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    model_validator,
)

from ...models.timeline import storyboard
from ..errors import bad, invalid_fields, without_paths
from ..store import Row
from .body import MAX_FIELDS
from .dialects import translated
from .json_text import in_a_field

Json = dict[str, Any]

MAX_IMAGES = 100
"""Pictures and clips of a storyboard."""
MODEL = "sora-2"
"""The default model."""
AUTO = "auto"
"""Size or length of a job that the model decides, until its video is completed."""


def _left_open(value: Any) -> Any:
    """None for "" (an empty form field) and for "auto", which some clients send."""
    return None if isinstance(value, str) and value.strip().lower() in ("", AUTO) else value


def _size(value: Any) -> Any:
    """Other spellings of 1280x720: 1280X720, 1280*720."""
    return "x".join(map(str.strip, re.split(r"[X*\u00d7]", value))) if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    """A list from an array that a form wrote with numbers: {"0": ..., "1": ...}."""
    numbered = isinstance(value, dict) and value and all(isinstance(key, str) and key.isdecimal() for key in value)
    return [value[key] for key in sorted(value, key=int)] if numbered else value


Reference = Annotated[str | dict | list[str | dict] | None, BeforeValidator(_listed), BeforeValidator(in_a_field)]
"""A picture, clip or sound that is not an upload: a data URL, an id, {"image_url"}, {"file_id"} or {"id"}; the first of
a list."""
Whole = Annotated[int | None, BeforeValidator(_left_open)]
Number = Annotated[float | None, BeforeValidator(_left_open)]
Flag = Annotated[bool | None, BeforeValidator(_left_open)]


_KIND = Discriminator(lambda value: "list" if isinstance(value, list) else "text")
"""Of a field that is text or a list: which of the two an invalid value was meant to be, so that its fault is named."""


class Card(BaseModel):
    """One card of a storyboard."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    time: float = Field(ge=0, le=3600, description="seconds from the start")
    prompt: str = Field(max_length=32000, description="with an image, '' = the words of the card before")
    cut: bool = Field(False, description="whether the shot cuts here instead of a transition")
    image: str | dict | int | None = Field(
        None,
        description="a picture, or a clip that plays from here on: a data URL, an id, {file_id}, {image_url} or {id}; "
        "or a number, from 1, among storyboard_images",
    )
    strength: float = Field(1.0, ge=0, le=1, description="how strictly the image is kept")

    def line(self, image: int | None) -> str:
        """The card as a line of the Storyboard node's text, with the number of its image."""
        return storyboard.written(storyboard.Card(0, self.time, self.prompt, self.cut, image, self.strength))


Board = Annotated[
    Annotated[str, Field(max_length=storyboard.MAX_TEXT), Tag("text")]
    | Annotated[list[Card], Field(max_length=storyboard.MAX_CARDS), Tag("list")],
    _KIND,
]


class Piece(BaseModel):
    """A piece of a clip in a re-cut, or a gap that the model fills."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    start: float = Field(0.0, ge=0, le=86_400, description="seconds of the clip where the piece begins")
    end: float | None = Field(None, gt=0, le=86_400, description="seconds where it ends; default: the clip's end")
    gap: float | None = Field(None, gt=0, le=3600, description="instead of start and end: seconds to make")
    repeat: int = Field(1, ge=1, le=100, description="how many times in a row")

    def lines(self) -> list[str]:
        """The piece as lines of Re-cut Video's text."""
        whole = f"{self.start:.6f} - {'' if self.end is None else f'{self.end:.6f}'}"
        return [whole if self.gap is None else f"gap {self.gap:.6f}"] * self.repeat


Pieces = Annotated[
    Annotated[str, Field(max_length=storyboard.MAX_TEXT), Tag("text")]
    | Annotated[list[Piece], Field(max_length=1000), Tag("list")],
    _KIND,
]


def _pieces(pieces: str | list[Piece] | None) -> str | None:
    """The re-cut as Re-cut Video's text; None if it is empty."""
    if isinstance(pieces, list):
        return "\n".join(line for piece in pieces for line in piece.lines()) or None
    return (pieces or "").strip() or None


CURVES = ("linear", "ease", "sharp")
"""Blend Shots' curves, besides points."""


Points = Annotated[
    Annotated[str, Field(max_length=2000), Tag("text")]
    | Annotated[list[tuple[float, float]], Field(max_length=200), Tag("list")],
    _KIND,
]


class Blend(BaseModel):
    """How a clip turns into a second one."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    video: Reference = Field(None, description="the second clip; in multipart it may be the file blend_video")
    seconds: float = Field(1.0, gt=0, le=600, description="how long the two overlap")
    curve: Points = Field(
        "linear",
        description="the second clip's influence over that time: linear, ease, sharp, or points [[time, influence], "
        "...] or '0:0, 0.5:0.2, 1:1', both from 0 to 1",
    )

    @property
    def points(self) -> str | None:
        """The points of the curve as Blend Shots' text; None for a curve with a name."""
        if isinstance(self.curve, list):
            return ", ".join(f"{time:g}:{influence:g}" for time, influence in self.curve)
        return None if self.curve in CURVES else self.curve


class LoRA(BaseModel):
    """A LoRA in the form of vLLM-Omni's clients: a path or a name, and a scale."""

    path: str | None = Field(None, max_length=1000, validation_alias=AliasChoices("path", "lora_path", "local_path"))
    name: str | None = Field(None, max_length=1000, validation_alias=AliasChoices("name", "lora_name", "adapter"))
    scale: Number = Field(
        None, ge=-10, le=10, validation_alias=AliasChoices("scale", "lora_scale", "strength", "weight")
    )

    @property
    def wanted(self) -> str:
        """The path, else the name, else ""."""
        return self.path or self.name or ""


def _loras(value: str | LoRA | list[str | LoRA] | None) -> list[LoRA] | None:
    entries = value if isinstance(value, list) else [value] if value else []
    named = [LoRA(name=each) if isinstance(each, str) else each for each in entries]
    return [lora for lora in named if lora.wanted] or None


LoRAs = Annotated[
    str | LoRA | list[str | LoRA] | None,
    BeforeValidator(_listed),
    BeforeValidator(_left_open),
    BeforeValidator(in_a_field),
    AfterValidator(_loras),
]


class Shot(BaseModel):
    """All fields of a request for a video. An unknown field causes a warning, not an error."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    prompt: str = Field(min_length=1, max_length=32000, description="what the video should show")
    model: Annotated[str, BeforeValidator(lambda name: name or MODEL)] = Field(MODEL, max_length=300)
    seconds: Number = Field(None, gt=0, le=3600)
    size: Annotated[str | None, BeforeValidator(_size), BeforeValidator(_left_open)] = Field(
        None, pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$", description="WIDTHxHEIGHT"
    )
    input_reference: Reference = Field(None, description="a picture to start from, or a clip to edit")
    characters: Annotated[list[str | dict] | None, BeforeValidator(in_a_field)] = Field(None, max_length=2)
    video: Reference = Field(None, description="the clip to edit or extend")

    width: Whole = Field(None, ge=1, le=16384)
    height: Whole = Field(None, ge=1, le=16384)
    num_frames: Whole = Field(None, ge=1, le=100_000)
    fps: Number = Field(None, ge=0.01, le=240)
    num_inference_steps: Whole = Field(None, ge=1, le=1000)
    guidance_scale: Number = Field(None, ge=0, le=100)
    negative_prompt: str | None = Field(None, max_length=32000)
    seed: Whole = Field(None, ge=0, le=2**64 - 1)
    n: Whole = Field(None, ge=1, le=16, description="number of variations; each is a separate job")

    strength: Number = Field(
        None, ge=0.05, le=1, description="how much noise is added to the clip to edit; 1 = all new"
    )
    last_frame: Reference = Field(None, description="the picture the video ends with")
    loop: Annotated[bool | Literal["short", "normal", "long"] | None, BeforeValidator(_left_open)] = Field(
        None, description="whether the end leads into the beginning, and how much of the end is regenerated for that"
    )
    direction: Annotated[str | None, BeforeValidator(_left_open)] = Field(
        None, pattern="^(forward|backward)$", description="which end is extended"
    )
    style: Annotated[str | None, BeforeValidator(_left_open)] = Field(None, max_length=300)
    lora: LoRAs = Field(None, description="a file of models/loras: its name, or {name, scale}; of a list, the first")
    lora_scale: Number = Field(None, ge=-10, le=10, description="strength of the LoRA; 1 = as it was trained")
    control_reference: Reference = Field(None, description="a clip of poses, edges or depth that guides the whole shot")
    quality: Annotated[Literal["standard", "high"] | None, BeforeValidator(_left_open)] = Field(
        None,
        description="high: a clip of half the size is made, upscaled and sampled again (LTX Video 0.9.7 and 0.9.8 with "
        "their upscaler). Sizes are multiples of 64; without a size, the video is twice the model's own. Default "
        "standard",
    )
    control_type: str | None = Field(None, max_length=300, description="what the control clip shows")
    audio_reference: Reference = Field(
        None,
        description="a sound that the picture follows, of models that make sound: a WAV, FLAC, MP3, Ogg or M4A file, "
        "or a clip with sound",
    )
    generate_sound: Flag = Field(None, description="whether the video has sound, of models that make it; default true")
    enable_frame_interpolation: Flag = Field(None, description="add interpolated frames between the generated ones")
    frame_interpolation_exp: Whole = Field(None, ge=1, le=4, description="how many times the frame rate is doubled")
    storyboard: Annotated[Board | None, BeforeValidator(in_a_field)] = Field(
        None, description="prompts by time: cards, or lines such as '1.5s: words'; the prompt applies until the first"
    )
    storyboard_images: Annotated[
        list[str | dict] | None,
        BeforeValidator(lambda value: [value] if isinstance(value, str) and value else value or None),
        BeforeValidator(_listed),
        BeforeValidator(in_a_field),
    ] = Field(
        None,
        max_length=MAX_IMAGES,
        description="the pictures and clips that a board names: the first is [image 1]; files come after these",
    )
    recut: Annotated[Pieces | None, BeforeValidator(in_a_field), AfterValidator(_pieces)] = Field(
        None, description="of /videos/edits: pieces of the clip in a new order, and gaps, which the prompt fills"
    )
    blend: Annotated[Blend | None, BeforeValidator(in_a_field)] = Field(
        None, description="of /videos/edits: turn the clip into a second one"
    )

    _twice: list[str] = PrivateAttr(default_factory=list)

    @model_validator(mode="after")
    def _board_as_text(self) -> Shot:
        """Cards become lines of text, and their pictures the last of storyboard_images."""
        if not isinstance(self.storyboard, list):
            self.storyboard = self.storyboard or None
            return self
        images, lines = list(self.storyboard_images or []), []
        for card in self.storyboard:
            number = card.image
            if isinstance(number, (str, dict)):
                images.append(number)
                number = len(images)
            lines.append(card.line(number))
        self.storyboard = "\n".join(lines) or None
        if images:
            self.storyboard_images = images
        return self

    @property
    def twice(self) -> list[str]:
        """Warnings about fields that were sent under two names."""
        return self._twice

    def unknown(self) -> list[str]:
        return sorted(self.model_extra or {})


def shot(fields: Json, kind: type[Shot] = Shot) -> Shot:
    """Validate a request's fields, aliases included. Raises ApiError that names the field."""
    named, twice = translated(fields)
    if len(named) + len(twice) > MAX_FIELDS:
        raise bad(
            f"The request has {len(named) + len(twice):,} fields; up to {MAX_FIELDS} are read.", code="invalid_body"
        )
    shot = parsed(kind, named)
    shot._twice += twice
    return shot


class Named(BaseModel):
    """The request of POST /v1/videos/characters."""

    name: str = Field(min_length=1, max_length=80)
    video: Reference = None


class Page(BaseModel):
    """The query of GET /v1/videos."""

    after: str | None = None
    limit: int = Field(20, ge=0, le=100)
    order: str = Field("desc", pattern="^(asc|desc)$")


class Numbered(BaseModel):
    """The query of GET /v1/videos/{id}/content for one of several files."""

    number: int = Field(1, ge=1, le=MAX_IMAGES)


def parsed(kind: type[BaseModel], fields: Json) -> Any:
    """Validate `fields` as `kind`. Raises ApiError for the first invalid field."""
    try:
        return kind.model_validate({name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        field, message, is_missing = invalid_fields(error)[0]
        param = field[:200] or None
        raise bad(
            f"{param}: {message}", param, "missing_required_parameter" if is_missing else "invalid_value"
        ) from None


def sides(size: str) -> tuple[int, int]:
    """'720x1280' -> (720, 1280)."""
    width, height = size.split("x")
    return int(width), int(height)


def video(row: Row, live: Json) -> Json:
    """OpenAI's Video object of a job, with its current progress (`Runner.live`) and the values that were used."""
    used = row["settings"]
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
        "size": used["size"],
        "seconds": used["seconds"],
        "remixed_from_video_id": row["source"],
        "error": row["error"] and {**row["error"], "message": without_paths(row["error"]["message"])},
        "operation": row["operation"],
        "queue_position": live["queue_position"],
        "step": live["step"],
        "steps": live["steps"],
        "started_at": _whole(row["started_at"]),
        "warnings": [without_paths(warning) for warning in row["warnings"]],
        **{name: value for name, value in used.items() if name not in ("size", "seconds")},
    }


def _whole(stamp: float | None) -> int | None:
    return None if stamp is None else int(stamp)
