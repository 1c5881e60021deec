"""Field names of other servers of this API and their clients: vLLM-Omni, SGLang, FastVideo, OpenRouter, LocalAI, and
gateways."""

from __future__ import annotations

import re
from typing import Any

from ..errors import bad
from .json_text import in_a_field

Json = dict[str, Any]

ALIASES = {
    "steps": "num_inference_steps",
    "cfg_scale": "guidance_scale",
    "frame_rate": "fps",
    "duration": "seconds",
    **dict.fromkeys(("image_reference", "video_reference", "reference_url"), "input_reference"),
    **dict.fromkeys(("input_references", "image", "images", "image_url", "input_image"), "input_reference"),
    **dict.fromkeys(("first_frame", "first_frame_image", "start_image"), "input_reference"),
    **dict.fromkeys(("last_frame_image", "end_image"), "last_frame"),
    **dict.fromkeys(("input_video", "video_url"), "video"),
    **dict.fromkeys(("loras", "lora_path", "lora_name"), "lora"),
    "lora_strength": "lora_scale",
    **dict.fromkeys(("audio", "audio_url", "input_audio"), "audio_reference"),
    "generate_audio": "generate_sound",
}
"""Alias -> our name, for fields and for files."""
HOLDERS = ("extra_params", "extra_body", "extra_json", "video_params")
"""Objects whose fields are treated as fields of the request."""
FRAMES = {"first_frame": "input_reference", "last_frame": "last_frame"}
"""OpenRouter's `frame_images`: the `frame_type` of an entry -> our field."""


def canonical(name: str) -> str:
    """Our name for a field or a file. Forms write entries of an array as `input_reference[]` or `image[0]`."""
    plain = re.sub(r"\[\d*\]$", "", name)
    return ALIASES.get(plain, plain)


def translated(fields: Json) -> tuple[Json, list[str]]:
    """(fields under our names, warnings about fields sent under two names). Raises ApiError.

    Our name takes precedence over an alias, and a field of the request over one inside HOLDERS.
    """
    flat: Json = {}
    for holder in HOLDERS:
        inner = in_a_field(fields.get(holder))
        if inner is not None and not isinstance(inner, dict):
            raise bad(f"'{holder}' must be an object.", holder)
        flat |= inner or {}
    flat |= {name: value for name, value in fields.items() if name not in HOLDERS}
    flat = _with_frames(flat)
    named, twice = {}, []
    for name, value in sorted(flat.items(), key=lambda item: item[0] in ALIASES):
        ours = ALIASES.get(name, name)
        if named.get(ours) in (None, ""):
            named[ours] = value
        elif value not in (None, ""):
            twice.append(f"'{name}' is not used, because '{ours}' was sent too.")
    return named, twice


def _with_frames(fields: Json) -> Json:
    """`fields` with the pictures of `frame_images` as our fields. Unchanged if it does not have OpenRouter's form."""
    entries = in_a_field(fields.get("frame_images"))
    if not isinstance(entries, list) or not all(isinstance(e, dict) and e.get("frame_type") in FRAMES for e in entries):
        return fields
    pictures = {FRAMES[entry["frame_type"]]: entry for entry in reversed(entries)}
    return pictures | {name: value for name, value in fields.items() if name != "frame_images"}
