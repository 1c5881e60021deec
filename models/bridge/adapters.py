"""Adapters (LoRA and its relatives) on the weights of a MODEL, as ComfyUI's patches."""

from __future__ import annotations

import comfy.lora
import comfy.model_patcher
import comfy.patcher_extension
import comfy.sd
import torch

from ..contract.grid import Shape, State
from .weights import QuantisedLinear

NETWORK_PREFIX = "diffusion_model."


def weight_shapes(model: comfy.model_patcher.ModelPatcher) -> dict[str, Shape]:
    """The shapes of a MODEL's weights, by the names they have in its network."""
    network = model.model.diffusion_model
    shapes = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    quantised = {name: layer for name, layer in network.named_modules() if isinstance(layer, QuantisedLinear)}
    return shapes | {f"{name}.weight": (layer.out_features, layer.in_features) for name, layer in quantised.items()}


def with_lora(
    model: comfy.model_patcher.ModelPatcher, adapters: dict[str, State], strength: float
) -> tuple[comfy.model_patcher.ModelPatcher, set[str]]:
    """A clone of a MODEL with adapters on its weights, and those weights whose adapter is not (all) used.

    adapters: name of a weight -> an adapter's parts under ComfyUI's names ("lora_up.weight", "alpha", ...). They are
    patches: applied when the model is loaded, or each time a weight is used that is not, and taken off again.
    """
    taken = adapters.keys() - _never_patched(model.model.diffusion_model)
    parts = {f"{name}.{part}": tensor for name in taken for part, tensor in adapters[name].items()}
    patches = comfy.lora.load_lora(parts, {name: NETWORK_PREFIX + name for name in taken})
    patched = model.clone()
    used, left = set(patched.add_patches(patches, strength)), set(adapters.keys() - taken)
    for name in taken:
        own = {NETWORK_PREFIX + name, NETWORK_PREFIX + name.removesuffix("weight") + "bias"} & patches.keys()
        if not own or own - used:
            left.add(name)
    return patched, left


def _never_patched(network: torch.nn.Module) -> set[str]:
    """Parameters that ComfyUI applies no patches to: those beside further modules with parameters."""
    return {
        f"{prefix}.{name}".removeprefix(".")
        for prefix, module in network.named_modules()
        if (own := dict(module.named_parameters(recurse=False))) and len(own) < len(list(module.parameters()))
        for name in own
    }
