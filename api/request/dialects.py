"""What other servers of this API and their clients call the same things: vLLM-Omni, SGLang, FastVideo, OpenRouter,
LocalAI, and gateways in front of them."""

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
}
"""Another name -> ours, of fields and of files."""
HOLDERS = ("extra_params", "extra_body", "extra_json", "video_params")
"""Objects whose fields count as if they stood beside the others."""
FRAMES = {"first_frame": "input_reference", "last_frame": "last_frame"}
"""OpenRouter's `frame_images`: the `frame_type` of an entry -> what it is here."""


def canonical(name: str) -> str:
    """Our name of a field or a file: `input_reference[]` and `image[0]` are entries of an array, as forms write it."""
    plain = re.sub(r"\[\d*\]$", "", name)
    return ALIASES.get(plain, plain)


def translated(fields: Json) -> tuple[Json, list[str]]:
    """(the fields under our names, what was sent twice under different names). Raises ApiError.

    Our own name goes before an alias, and a field beside the others before one in a holder.
    """
    flat: Json = {}
    for holder in HOLDERS:
        inner = in_a_field(fields.get(holder))
        if inner is not None and not isinstance(inner, dict):
            raise bad(f"'{holder}' must be an object.", holder)
        flat |= inner or {}
    flat |= {name: value for name, value in fields.items() if name not in HOLDERS}
    flat = _with_frames(flat)
    found, twice = {}, []
    for name, value in sorted(flat.items(), key=lambda item: item[0] in ALIASES):
        ours = ALIASES.get(name, name)
        if found.get(ours) in (None, ""):
            found[ours] = value
        elif value not in (None, ""):
            twice.append(f"'{name}' is not used, because '{ours}' was sent too.")
    return found, twice


def _with_frames(fields: Json) -> Json:
    """`frame_images` as the pictures that it holds; where it has another form, it stays what it is."""
    entries = in_a_field(fields.get("frame_images"))
    if not isinstance(entries, list) or not all(isinstance(e, dict) and e.get("frame_type") in FRAMES for e in entries):
        return fields
    pictures = {FRAMES[entry["frame_type"]]: entry for entry in reversed(entries)}
    return pictures | {name: value for name, value in fields.items() if name != "frame_images"}
