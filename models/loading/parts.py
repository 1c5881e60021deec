"""Find the further parts of a model (sound, text connectors) that its own files lack in ComfyUI's model folders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from ..contract.family import Part
from ..weights.checkpoint import Component, open_component
from ..weights.errors import CheckpointError
from .identify import OpenedModel, identify

Files = Callable[[str], Iterable[Path]]
"""The kind of a model folder -> its files."""


def with_parts(model: OpenedModel, files: Files) -> OpenedModel:
    """The model with the parts that its own files lack, where other files have them.

    A missing part is reported by what needs it. The model is identified again, because parts may tell more about it.
    """
    checkpoint, found = model.checkpoint, {}
    for name, part in model.family.parts.items():
        inside = any(part.mark in key for key in checkpoint.network.shapes)
        if name not in checkpoint.parts and not inside:
            component = _found(name, part, files(part.folder), model)
            found |= {name: component} if component else {}
    if not found:
        return model
    checkpoint = replace(checkpoint, parts={**checkpoint.parts, **found})
    return OpenedModel(checkpoint, *identify(checkpoint))


def _found(name: str, part: Part, available: Iterable[Path], model: OpenedModel) -> Component | None:
    """The part in the file whose name shares most with the model's: both say for example "19b" and "distilled"."""
    fitting = []
    for path in available:
        try:
            component = open_component(path, part.noun, (part.prefix,))
        except CheckpointError as error:
            logging.info("Atelier: skipped %s: %s", path.name, error)
            continue
        if part.prefix or any(part.mark in key for key in component.shapes):
            fitting.append(component)
    words = set(_words(model.path.name))
    return max(fitting, key=lambda one: len(words & set(_words(one.files[0].name))), default=None)


def _words(name: str) -> list[str]:
    return name.lower().replace("-", "_").replace(".safetensors", "").split("_")
