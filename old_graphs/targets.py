"""The nodes that old ones become: their inputs and outputs in saved order, and how large they stand on the canvas.

`tests/old_graphs/test_targets.py` compares this table with the nodes themselves, in a real ComfyUI.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .graph import Json, Node, NodeId, Socket, Source
from .widgets import SEEDS

SIZES = {"i": "INT", "f": "FLOAT", "s": "STRING", "b": "BOOLEAN", "c": "COMBO"}


@dataclass(frozen=True)
class Target:
    """inputs: "name:kind=default ..."; a kind in capitals is a socket. `width` and `height` without the title."""

    inputs: tuple[tuple[str, str, Any], ...]
    outputs: tuple[tuple[str, str], ...]
    width: int
    height: int
    pack: str


def _target(inputs: list[tuple], outputs: str, width: int, height: int, pack: str = "atelier") -> Target:
    """outputs: "name:TYPE ...", or the type alone if it is the name too."""
    filled = tuple((name, kind, rest[0] if rest else None) for name, kind, *rest in inputs)
    pairs = tuple((name, kind or name) for name, _, kind in (entry.partition(":") for entry in outputs.split()))
    return Target(filled, pairs, width, height, pack)


_CORE = "comfy-core"
AUTOMATIC = "automatic"
TARGETS = {
    "AtelierLoadVideoModel": _target(
        [("model", "c"), ("weight_dtype", "c", "default"), ("text_encoder", "c", AUTOMATIC), ("vae", "c", AUTOMATIC)],
        "MODEL CLIP VAE",
        340,
        170,
    ),
    "AtelierLoadVideoLoRA": _target([("model", "MODEL"), ("lora", "c"), ("strength", "f", 1.0)], "MODEL", 300, 90),
    "AtelierEncodeVideoPrompt": _target(
        [("clip", "CLIP"), ("prompt", "s", ""), ("negative_prompt", "s", ""), ("style", "c", "none")],
        "positive:CONDITIONING negative:CONDITIONING",
        400,
        230,
    ),
    "AtelierEmptyVideoLatent": _target(
        [
            ("model", "MODEL"),
            ("width", "i", 0),
            ("height", "i", 0),
            ("seconds", "f", 0.0),
            ("frames", "i", 0),
            ("fps", "f", 0.0),
            ("batch_size", "i", 1),
        ],
        "LATENT",
        280,
        190,
    ),
    "AtelierPlaceFrames": _target(
        [
            ("vae", "VAE"),
            ("latent", "LATENT"),
            ("images", "IMAGE"),
            ("position", "c", "first"),
            ("time", "f", 0.0),
            ("strength", "f", 1.0),
        ],
        "LATENT",
        270,
        160,
    ),
    "AtelierControlVideo": _target(
        [
            ("positive", "CONDITIONING"),
            ("negative", "CONDITIONING"),
            ("vae", "VAE"),
            ("latent", "LATENT"),
            ("images", "IMAGE"),
            ("video", "VIDEO"),
        ],
        "positive:CONDITIONING negative:CONDITIONING",
        240,
        130,
    ),
    "AtelierEncodeVideo": _target(
        [
            ("vae", "VAE"),
            ("width", "i", 0),
            ("height", "i", 0),
            ("fit", "c", "crop"),
            ("fps", "f", 0.0),
            ("start", "f", 0.0),
            ("length", "f", 0.0),
            ("video", "VIDEO"),
            ("images", "IMAGE"),
        ],
        "LATENT",
        280,
        230,
    ),
    "AtelierSampleVideo": _target(
        [
            ("model", "MODEL"),
            ("positive", "CONDITIONING"),
            ("negative", "CONDITIONING"),
            ("latent", "LATENT"),
            ("seed", "i", 0),
            ("steps", "i", 0),
            ("guidance", "f", 0.0),
            ("denoise", "f", 1.0),
        ],
        "LATENT",
        300,
        220,
    ),
    "AtelierDecodeVideo": _target(
        [
            ("vae", "VAE"),
            ("latent", "LATENT"),
            ("fps", "f", 0.0),
            ("format", "c", "mp4 (H.264)"),
            ("crf", "i", 16),
            ("bit_depth", "c", "8 bit"),
            ("audio", "AUDIO"),
        ],
        "VIDEO IMAGE",
        280,
        170,
    ),
    "VAELoader": _target([("vae_name", "c")], "VAE", 300, 60, _CORE),
    "VAEDecode": _target([("samples", "LATENT"), ("vae", "VAE")], "IMAGE", 210, 50, _CORE),
    "SamplerCustom": _target(
        [
            ("model", "MODEL"),
            ("add_noise", "b", True),
            ("noise_seed", "i", 0),
            ("cfg", "f", 8.0),
            ("positive", "CONDITIONING"),
            ("negative", "CONDITIONING"),
            ("sampler", "SAMPLER"),
            ("sigmas", "SIGMAS"),
            ("latent_image", "LATENT"),
        ],
        "output:LATENT denoised_output:LATENT",
        300,
        230,
        _CORE,
    ),
    "KSamplerSelect": _target([("sampler_name", "c", "euler")], "SAMPLER", 220, 60, _CORE),
    "ConditioningAverage": _target(
        [
            ("conditioning_to", "CONDITIONING"),
            ("conditioning_from", "CONDITIONING"),
            ("conditioning_to_strength", "f", 1.0),
        ],
        "CONDITIONING",
        300,
        80,
        _CORE,
    ),
    "ConditioningConcat": _target(
        [("conditioning_to", "CONDITIONING"), ("conditioning_from", "CONDITIONING")], "CONDITIONING", 260, 50, _CORE
    ),
    "EasyCache": _target(
        [
            ("model", "MODEL"),
            ("reuse_threshold", "f", 0.2),
            ("start_percent", "f", 0.15),
            ("end_percent", "f", 0.95),
            ("verbose", "b", False),
        ],
        "MODEL",
        270,
        130,
        _CORE,
    ),
    "ContextWindowsManual": _target(
        [
            ("model", "MODEL"),
            ("context_length", "i", 16),
            ("context_overlap", "i", 4),
            ("context_schedule", "c", "standard_static"),
            ("context_stride", "i", 1),
            ("closed_loop", "b", False),
            ("fuse_method", "c", "pyramid"),
            ("dim", "i", 2),
        ],
        "MODEL",
        300,
        220,
        _CORE,
    ),
    "TorchCompileModel": _target([("model", "MODEL"), ("backend", "c", "inductor")], "MODEL", 270, 60, _CORE),
    "ImageScaleToTotalPixels": _target(
        [("image", "IMAGE"), ("upscale_method", "c", "lanczos"), ("megapixels", "f", 1.0)], "IMAGE", 290, 90, _CORE
    ),
    "GetImageSize": _target([("image", "IMAGE")], "width:INT height:INT batch_size:INT", 210, 90, _CORE),
    "LoadImage": _target([("image", "c")], "IMAGE MASK", 270, 300, _CORE),
    "LoadVideo": _target([("file", "c")], "VIDEO", 270, 100, _CORE),
    "SaveVideo": _target(
        [
            ("video", "VIDEO"),
            ("filename_prefix", "s", "video/ComfyUI"),
            ("format", "c", "auto"),
            ("codec", "c", "auto"),
        ],
        "",
        320,
        300,
        _CORE,
    ),
}


def node_of(kind: str, key: NodeId, inputs: Json, prompt: bool, control: str = "fixed", title: str = "") -> Node:
    """A new node. inputs: by name, a Source or a value; None and what is left out become the default.

    control: the word after a seed ("control after generate"). prompt: in the API's form.
    """
    target = TARGETS[kind]
    node = Node(key, kind, outputs=list(target.outputs), new=True, width=target.width, height=target.height)
    values: list[Any] = []
    named: Json = {}
    for name, kind_of, default in target.inputs:
        given = inputs.get(name)
        widget = kind_of in SIZES
        if not widget or isinstance(given, Source):
            raw = {"widget": {"name": name}} if widget else {}
            socket = Socket(name, SIZES.get(kind_of, kind_of), given if isinstance(given, Source) else None, raw=raw)
            if not prompt or socket.source is not None:
                node.inputs.append(socket)
        if widget:
            value = default if given is None or isinstance(given, Source) else given
            values += [value, control] if name in SEEDS else [value]
            if not isinstance(given, Source):
                named[name] = value
    if prompt:
        node.raw = {"inputs": named, "class_type": kind, "_meta": {"title": title or kind}}
    else:
        node.raw = {
            **{"id": key, "type": kind, "pos": [], "size": [], "flags": {}, "order": 0, "mode": 0},
            **{"inputs": [], "outputs": [], "properties": {"cnr_id": target.pack, "Node name for S&R": kind}},
            "widgets_values": values,
            **({"title": title} if title else {}),
        }
    return node
