"""Finds the installed file that an old graph names: repositories and files of other folders under their names here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

FAMILIES = ("cogvideo", "mochi", "pyramid", "ltx")
MARKS = {
    "2b": r"2b",
    "5b": r"5b",
    "13b": r"13b",
    "1.5": r"(?<![\d.])1[._]5(?!\d)|(?<=5b-)1-5",
    "v1.1": r"v1[._]1",
    "i2v": r"i2v|img2vid",
    "fun": r"fun",
    "inp": r"inp(?!u)",
    "pose": r"pose",
    "control": r"control",
    "interpolation": r"interpolation",
    "tora": r"tora",
    "sd3": r"sd3",
    "miniflux": r"miniflux",
    "768": r"768",
    "image": r"transformer_image",
    "vae": r"vae",
    "lora": r"lora",
    "distilled": r"distill",
    **{version: re.escape(version) for version in ("0.9.1", "0.9.5", "0.9.6", "0.9.7", "0.9.8")},
}
"""What tells two models of a family apart, in a name. Number formats and the order of words do not."""
PUBLISHED = {
    "kijai/cogvideox-5b-1.5-i2v": "diffusers/CogVideoX1.5-5B-I2V",
    "kijai/cogvideox-5b-1.5-t2v": "diffusers/CogVideoX1.5-5B",
    "mochi": "diffusion_models/mochi_preview_bf16.safetensors",
    "pyramid-miniflux": "diffusers/pyramid-flow-miniflux/diffusion_transformer_384p",
    "pyramid-miniflux-768": "diffusers/pyramid-flow-miniflux/diffusion_transformer_768p",
    "pyramid-sd3": "diffusers/pyramid-flow-sd3/diffusion_transformer_384p",
    "pyramid-sd3-768": "diffusers/pyramid-flow-sd3/diffusion_transformer_768p",
}
"""The wrappers' own copies -> the publisher's name, for what is not installed."""


@dataclass(frozen=True)
class Installed:
    """The choices of Load Video Model and Load Video LoRA on this machine."""

    models: tuple[str, ...] = ()
    text_encoders: tuple[str, ...] = ()
    vaes: tuple[str, ...] = ()
    loras: tuple[str, ...] = ()


def plain(name: str) -> str:
    """A name as it is compared: lower case, forward slashes."""
    return name.replace("\\", "/").lower()


def base(name: str) -> str:
    """The last part of a path or repository, without the ending of a model file."""
    return re.sub(r"\.(safetensors|gguf|sft|pt|pth|ckpt|bin)$", "", plain(name).rstrip("/").rpartition("/")[2])


def identity(name: str) -> tuple[str, frozenset[str]]:
    """(family, marks) of a model's name; family "" if it names none."""
    text = plain(name)
    family = next((family for family in FAMILIES if family in text), "")
    return family, frozenset(mark for mark, pattern in MARKS.items() if re.search(pattern, text))


def _closest(name: str, choices: Iterable[str]) -> str | None:
    """The choice with the same path, else the same last part, else the same family and marks, closest in its words."""
    choices = list(choices)
    told = identity(base(name)) == identity(
        name
    )  # else the folder tells the model: "diffusion_transformer_768p" does not
    for alike in (plain, base) if told else (plain,):
        if match := next((choice for choice in choices if alike(choice) == alike(name)), None):
            return match
    family, marks = identity(name)
    same = [choice for choice in choices if identity(choice) == (family, marks)] if family else []
    words = set(re.split(r"[^a-z0-9]+", base(name)))
    return max(same, key=lambda c: len(words & set(re.split(r"[^a-z0-9]+", base(c)))), default=None)


def model(name: str, installed: Installed) -> tuple[str, bool]:
    """(the choice of Load Video Model for an old graph's model, whether it is installed)."""
    in_list = [(choice.partition("/")[2] or choice, choice) for choice in installed.models]
    match = _closest(name, [short for short, _ in in_list])
    if match is not None:
        return next(choice for short, choice in in_list if short == match), True
    published = _published(name)
    if published and (match := _closest(published, [short for short, _ in in_list])):
        return next(choice for short, choice in in_list if short == match), True
    return published or _as_choice(name), False


def _published(name: str) -> str | None:
    if plain(name) in PUBLISHED:
        return PUBLISHED[plain(name)]
    family, marks = identity(name)
    if family == "pyramid":
        return PUBLISHED["-".join(["pyramid", "sd3" if "sd3" in marks else "miniflux", *sorted(marks & {"768"})])]
    return PUBLISHED.get(family)


def _as_choice(name: str) -> str:
    """A repository is looked for in models/diffusers, a file in models/diffusion_models."""
    shown = name.replace("\\", "/")
    is_file = re.search(r"\.(safetensors|gguf|sft|pt|pth|ckpt|bin)$", shown.lower())
    return f"diffusion_models/{shown}" if is_file else f"diffusers/{shown.rpartition('/')[2]}"


def file(name: str, choices: Iterable[str]) -> str | None:
    """The file of a list (VAEs, text encoders, LoRAs) that an old graph names; None if it is not there."""
    return _closest(name, choices) if name else None
