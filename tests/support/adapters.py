"""Random LoRAs for a network's matrices under trainers' names, and the same LoRAs merged by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

State = dict[str, torch.Tensor]
RANK, ALPHA = 3, 2.0


@dataclass(frozen=True)
class Style:
    """How a trainer names the parts of an adapter: patterns for a module's name, and alpha if the file has it."""

    down: str
    up: str
    alpha: str = ""
    underscored: bool = False


def underscored(prefix: str) -> Style:
    """kohya's files, and those of trainers that imitate them."""
    parts = (f"{prefix}{{}}.{part}" for part in ("lora_down.weight", "lora_up.weight", "alpha"))
    return Style(*parts, underscored=True)


STYLES = {
    "diffusers": Style("transformer.{}.lora_A.weight", "transformer.{}.lora_B.weight"),
    "peft": Style("base_model.model.{}.lora_A.default.weight", "base_model.model.{}.lora_B.default.weight"),
    "comfyui": Style("diffusion_model.{}.lora_A.weight", "diffusion_model.{}.lora_B.weight"),
    "genmo": Style("{}.lora_A", "{}.lora_B"),
    "old diffusers": Style("transformer.{}.lora.down.weight", "transformer.{}.lora.up.weight"),
    "kohya": underscored("lora_unet_"),
    # Its names are joined as "lora_unet" + "." + the network's name + "." + the module's, and the network has none.
    "videox-fun": underscored("lora_unet__"),
}
"""Each is tested on every layout."""

TRAINERS = {
    "videox-fun with peft": Style("{}.lora_A.weight", "{}.lora_B.weight"),
    "videox-fun with peft, for comfyui": Style(
        "lora_unet__{}.lora_down.weight", "lora_unet__{}.lora_up.weight", underscored=True
    ),
    "onetrainer": underscored("lora_transformer_"),
    "lycoris": underscored("lycoris_"),
    "peft, injected": Style("{}.lora_A.default.weight", "{}.lora_B.default.weight"),
    "peft, compiled": Style(
        "base_model.model._orig_mod.{}.lora_A.weight", "base_model.model._orig_mod.{}.lora_B.weight"
    ),
    "kohya, compiled": underscored("lora_unet__orig_mod_"),
    "peft, ddp": Style("module.base_model.model.{}.lora_A.weight", "module.base_model.model.{}.lora_B.weight"),
}
"""Trainers whose names have the same parts as others: each is tested on one suitable layout."""


def matrices(state: State) -> list[str]:
    """The modules of a state dict that trainers adapt: those with a matrix."""
    return [
        key.removesuffix(".weight") for key, weight in state.items() if key.endswith(".weight") and weight.ndim == 2
    ]


def adapter(state: State, modules: Iterable[str], style: str = "diffusers", seed: int = 0) -> State:
    """A LoRA file's tensors for `modules` of a network with these weights."""
    generator, named, out = torch.Generator().manual_seed(seed), (STYLES | TRAINERS)[style], {}
    for module in modules:
        rows, columns = state[f"{module}.weight"].shape
        name = module.replace(".", "_") if named.underscored else module
        out[named.down.format(name)] = torch.randn(RANK, columns, generator=generator) * 0.3
        out[named.up.format(name)] = torch.randn(rows, RANK, generator=generator) * 0.3
        if named.alpha:
            out[named.alpha.format(name)] = torch.tensor(ALPHA)
    return out


def merged(state: State, lora: State, modules: Iterable[str], style: str = "diffusers", strength: float = 1.0) -> State:
    """The network's weights with the LoRA in them: W + strength * alpha / rank * B @ A; no alpha is alpha = rank."""
    named, out = (STYLES | TRAINERS)[style], dict(state)
    scale = strength * (ALPHA / RANK if named.alpha else 1.0)
    for module in modules:
        name = module.replace(".", "_") if named.underscored else module
        delta = lora[named.up.format(name)] @ lora[named.down.format(name)]
        out[f"{module}.weight"] = out[f"{module}.weight"] + scale * delta
    return out


def file(path: Path, lora: State, metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.contiguous() for key, tensor in lora.items()}, path, metadata)
    return path
