"""Apply adapters (LoRA and similar) to the weights of a MODEL as ComfyUI patches."""

from __future__ import annotations

import comfy.lora
import comfy.model_patcher
import torch

from ..contract.grid import Shape, State
from .weights import QuantisedLinear

NETWORK_PREFIX = "diffusion_model."


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
    patchable = adapters.keys() - _never_patched(model.model.diffusion_model)
    parts = {f"{name}.{part}": tensor for name in patchable for part, tensor in adapters[name].items()}
    patches = comfy.lora.load_lora(parts, {name: NETWORK_PREFIX + name for name in patchable})
    patched = model.clone()
    used, left = set(patched.add_patches(patches, strength) if patches else ()), set(adapters.keys() - patchable)
    for name in patchable:
        own = {NETWORK_PREFIX + name, NETWORK_PREFIX + name.removesuffix("weight") + "bias"} & patches.keys()
        if not own or own - used:
            left.add(name)
    return patched, left


def _never_patched(network: torch.nn.Module) -> set[str]:
    """Parameters that ComfyUI never patches: those of a module that also has submodules with parameters."""
    return {
        f"{prefix}.{name}".removeprefix(".")
        for prefix, module in network.named_modules()
        if (own := dict(module.named_parameters(recurse=False))) and len(own) < len(list(module.parameters()))
        for name in own
    }
