"""Graphs in ComfyUI's API form for tests: the text-to-video graph with changes, and the frames of its video."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
import torch

Prompt = dict[str, dict[str, Any]]


def text_to_video(**changes: Any) -> Prompt:
    """Load, prompt, empty latent, sample, decode, save; `changes` set every widget of that name."""
    load = dict(model="pocket (built in)", weight_dtype="default", text_encoder="automatic", vae="automatic")
    size = dict(width=0, height=0, seconds=0, frames=0, fps=0, batch_size=1)
    inputs = dict(model=["load", 0], positive=["text", 0], negative=["text", 1], latent=["empty", 0])
    words = dict(prompt="a red circle moving left", negative_prompt="", style="none")
    graph = {
        "load": node("AtelierLoadVideoModel", **load),
        "text": node("AtelierEncodeVideoPrompt", clip=["load", 1], **words),
        "empty": node("AtelierEmptyVideoLatent", model=["load", 0], **size),
        "sample": node("AtelierSampleVideo", **inputs, seed=1, steps=2, guidance=0, denoise=1),
        "decode": node("AtelierDecodeVideo", vae=["load", 2], latent=["sample", 0], fps=0),
        "save": node("SaveVideo", video=["decode", 0], filename_prefix="test", format="auto", codec="auto"),
    }
    for name, value in changes.items():
        found = [step for step in graph.values() if not isinstance(step["inputs"].get(name, []), list)]
        assert found, f"no node has an input {name}"
        for step in found:
            step["inputs"][name] = value
    return graph


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def frames(client: Any, outputs: dict) -> torch.Tensor:
    """The frames [T, H, W, 3] in 0..1 of the one video among a job's outputs."""
    (item,) = [
        item for node in outputs.values() for item in node.get("images", []) if item["filename"].endswith(".mp4")
    ]
    with av.open(io.BytesIO(client.view(item))) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.stack([torch.from_numpy(picture) for picture in pictures]).float() / 255


def sound(client: Any, outputs: dict) -> tuple[float, float, np.ndarray]:
    """Seconds of picture and of sound of the one video among a job's outputs, and the sound [channels, samples]."""
    (item,) = [i for node in outputs.values() for i in node.get("images", []) if i["filename"].endswith(".mp4")]
    with av.open(io.BytesIO(client.view(item))) as container:
        seconds = float(container.streams.video[0].duration * container.streams.video[0].time_base)
        blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    heard = np.concatenate(blocks, axis=1)
    return seconds, heard.shape[1] / rate, heard
