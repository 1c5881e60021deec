"""Apply adapters (LoRA and similar) to the weights of a MODEL as ComfyUI patches.

ComfyUI's own loaders know a few trainers' names. They ask a MODEL which weights it has, and for each of these every
kind of adapter in `comfy.weight_adapter.adapters` whether the file has one. VideoModel names one more, ELSEWHERE,
and OfAnyTrainer is a kind of adapter that takes for it what the other kinds found no weight for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import comfy.lora
import comfy.model_patcher
import comfy.weight_adapter
import torch

from ..contract.grid import Shape, State
from .weights import QuantisedLinear

NETWORK_PREFIX = "diffusion_model."
ELSEWHERE = "lora_of_any_trainer"
"""An empty tensor of the network, by which its MODEL is recognised among those that take LoRAs."""


class OfAnyTrainer:
    """The tensors of a LoRA file that ComfyUI's own kinds of adapters left, for a MODEL to translate.

    ComfyUI calls `load`, and reads `loaded_keys`.
    """

    def __init__(self, state: State) -> None:
        self.state, self.loaded_keys = state, set(state)

    @classmethod
    def load(
        cls, name: str, file: Mapping[str, torch.Tensor], alpha: Any, dora_scale: Any, loaded_keys: Collection[str] = ()
    ) -> OfAnyTrainer | None:
        if name != NETWORK_PREFIX + ELSEWHERE:
            return None
        left = {key: tensor for key, tensor in file.items() if key not in loaded_keys}
        return cls(left) if left else None


comfy.weight_adapter.adapters.append(OfAnyTrainer)


def weight_shapes(model: comfy.model_patcher.ModelPatcher) -> dict[str, Shape]:
    """The shapes of a MODEL's weights, by their names in its network."""
    network = model.model.diffusion_model
    shapes = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    quantised = {name: layer for name, layer in network.named_modules() if isinstance(layer, QuantisedLinear)}
    return shapes | {f"{name}.weight": (layer.out_features, layer.in_features) for name, layer in quantised.items()}


def with_lora(
    model: comfy.model_patcher.ModelPatcher, adapters: dict[str, State], strength: float
) -> tuple[comfy.model_patcher.ModelPatcher, set[str]]:
    """A clone of a MODEL with adapters on its weights, and the names of weights whose adapter is not used in full.

    adapters: name of a weight -> an adapter's parts under ComfyUI's names ("lora_up.weight", "alpha", ...). ComfyUI
    applies patches when it loads the model, or at each use of a weight that is not loaded, and removes them afterwards.
    """
    patches, left = lora_patches(model.model.diffusion_model, adapters)
    patched = model.clone()
    used = set(patched.add_patches(patches, strength) if patches else ())
    for name in adapters.keys() - left:
        own = {NETWORK_PREFIX + name, NETWORK_PREFIX + name.removesuffix("weight") + "bias"} & patches.keys()
        if not own or own - used:
            left.add(name)
    return patched, left


def lora_patches(network: torch.nn.Module, adapters: dict[str, State]) -> tuple[dict[str, Any], set[str]]:
    """ComfyUI's patches for a network's weights, and the names of those that ComfyUI never patches."""
    patchable = adapters.keys() - _never_patched(network)
    parts = {f"{name}.{part}": tensor for name in patchable for part, tensor in adapters[name].items()}
    patches = comfy.lora.load_lora(parts, {name: NETWORK_PREFIX + name for name in patchable})
    return patches, set(adapters.keys() - patchable)


def _never_patched(network: torch.nn.Module) -> set[str]:
    """Parameters that ComfyUI never patches: those of a module that also has submodules with parameters."""
    return {
        f"{prefix}.{name}".removeprefix(".")
        for prefix, module in network.named_modules()
        if (own := dict(module.named_parameters(recurse=False))) and len(own) < len(list(module.parameters()))
        for name in own
    }
