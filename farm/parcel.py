"""What a piece of a graph needs besides its model, in one file: tensors as safetensors, the rest in its metadata.

Conditioning and latents come back as they were: lists, tuples, dictionaries, numbers, words, tensors to the bit, and
this pack's own records. Nothing in the file is code.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ..models.bridge.vae import two_streams

FOLDER = "atelier/farm"
"""Where such files are, in ComfyUI's folders for temporary files and for output."""
VALUES = "values"
"""The file's metadata with everything but the tensors."""
PACK = __name__.rpartition(".farm.")[0]


class Unsendable(ValueError):
    """A value that cannot be written, in words."""


def write(path: Path, values: Any) -> None:
    """Write values to a file. Raises Unsendable for an object of another kind, e.g. a ControlNet, OSError."""
    tensors: dict[int, torch.Tensor] = {}
    described = json.dumps(_described(values, tensors))
    stored = {str(key): tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(stored, path, metadata={VALUES: described})


def read(path: Path) -> Any:
    """The values in a file. Tensors are on the processor. Raises OSError, ValueError for another kind of file."""
    with safe_open(path, framework="pt") as file:
        return _restored(
            json.loads((file.metadata() or {})[VALUES]), {key: file.get_tensor(key) for key in file.keys()}
        )


def _described(value: Any, tensors: dict[int, torch.Tensor]) -> Any:
    """A value in JSON, with tensors by the id under which they are in `tensors`."""

    def each(values: Any) -> list[Any]:
        return [_described(one, tensors) for one in values]

    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if getattr(value, "is_nested", False):
        return {"streams": each(value.unbind())}
    if isinstance(value, torch.Tensor):
        tensors[id(value)] = value
        return {"tensor": str(id(value))}
    if isinstance(value, dict):
        return {"dict": each(value.items())}
    if isinstance(value, (list, tuple)):
        return {"list" if isinstance(value, list) else "tuple": each(value)}
    if dataclasses.is_dataclass(value) and type(value).__module__.startswith(f"{PACK}."):
        kind = [type(value).__module__.removeprefix(f"{PACK}."), type(value).__qualname__]
        return {"record": kind, "fields": each((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))}
    raise Unsendable(f"its conditioning or latent holds a {type(value).__name__}, which stays on this machine")


def _restored(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    def each(values: list[Any]) -> list[Any]:
        return [_restored(one, tensors) for one in values]

    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "streams" in value:
        return two_streams(*each(value["streams"]))
    if "dict" in value:
        return dict(each(value["dict"]))
    if "record" in value:
        module, name = value["record"]
        kind = getattr(importlib.import_module(f"{PACK}.{module}"), name, None)
        if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):  # the file may only say what to hold
            raise ValueError(f"{module}.{name} is no record of this pack.")
        return kind(**dict(each(value["fields"])))
    return each(value["list"]) if "list" in value else tuple(each(value["tuple"]))
