"""Frame interpolation of a finished video with ComfyUI's own nodes (RIFE, FILM), if this ComfyUI has them."""

from __future__ import annotations

from typing import Any

from . import comfy_queue

Json = dict[str, Any]

LOADER, NODE = "FrameInterpolationModelLoader", "FrameInterpolate"
SAVES = ("SaveVideo", "AtelierSaveVideoAs")
"""Nodes that save their input `video`."""


async def model() -> tuple[str | None, str]:
    """(the file of models/frame_interpolation to use, "") or (None, reason). RIFE is preferred."""
    known = await comfy_queue.schemas({LOADER, NODE})
    if known.keys() != {LOADER, NODE}:
        return None, f"this ComfyUI has no node {NODE}; update it"
    files = await comfy_queue.choices(LOADER, "model_name")
    if not files:
        return (
            None,
            "models/frame_interpolation is empty; put a RIFE or FILM file there (rife_v4.26.safetensors)",
        )
    return min(files, key=lambda name: "rife" not in name.lower()), ""


def interpolated(prompt: Json, model_name: str, doublings: int, rate: float) -> Json:
    """Insert interpolation nodes before each node of a prompt that saves a video.

    rate: the frame rate of the graph's video. N frames become (N - 1) * 2**doublings + 1 at 2**doublings times the
    rate, so the video's speed stays the same.
    """
    out, factor = dict(prompt), 2**doublings
    for key, node in prompt.items():
        video = node["inputs"].get("video")
        if node["class_type"] not in SAVES or not isinstance(video, list):
            continue
        parts, loader, between, clip = (f"{key} {name}" for name in ("parts", "interpolator", "between", "clip"))
        out[parts] = _node("GetVideoComponents", video=video)
        out[loader] = _node(LOADER, model_name=model_name)
        out[between] = _node(NODE, interp_model=[loader, 0], images=[parts, 0], multiplier=factor)
        out[clip] = _node("CreateVideo", images=[between, 0], audio=[parts, 1], fps=rate * factor)
        out[key] = {**node, "inputs": {**node["inputs"], "video": [clip, 0]}}
    return out


def _node(class_type: str, **inputs: Any) -> Json:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}
