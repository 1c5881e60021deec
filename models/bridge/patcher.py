"""The MODEL: a network under ComfyUI's patcher, which offloads it and hangs wrappers and LoRAs on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.lora
import comfy.model_management as memory
import comfy.model_patcher
import comfy.patcher_extension
import comfy.sd
import torch

from ..contract.family import Family, Variant
from ..contract.grid import Shape, State
from .video_model import VideoModel, video_model
from .weights import QuantisedLinear, uncast
from .wrappers.known_frames import with_clip_in_one_go, with_enforced_mask, with_own_sampler, with_whole_tokens
from .wrappers.previews import with_preview
from .wrappers.prompt_windows import with_windows


def make_model(
    family: Family, variant: Variant, network: torch.nn.Module, dtype: torch.dtype, reload: tuple[Callable, tuple]
) -> comfy.model_patcher.ModelPatcher:
    """The MODEL. `reload`: (factory, arguments) with which newer ComfyUI makes it again (hooks, compile, multi-GPU)."""
    model = VideoModel(family, variant, network, dtype)
    network.uncast = uncast(network)
    if hasattr(memory, "archive_model_dtypes"):
        memory.archive_model_dtypes(network)
    quantised = any(isinstance(layer, QuantisedLinear) for layer in network.modules())
    kind = comfy.model_patcher.ModelPatcher if quantised else patcher_class()
    patcher = _patched(kind, model, memory.get_torch_device(), memory.unet_offload_device())
    patcher.cached_patcher_init = reload
    return patcher


def _patched(kind: type, model: VideoModel, device: Any, offload: Any) -> comfy.model_patcher.ModelPatcher:
    patcher = kind(model, load_device=device, offload_device=offload)
    kinds = comfy.patcher_extension.WrappersMP
    for wrapper in (with_preview, with_windows, with_clip_in_one_go, with_whole_tokens):
        patcher.add_wrapper(kinds.OUTER_SAMPLE, wrapper)
    for wrapper in (with_enforced_mask, with_own_sampler):
        patcher.add_wrapper(kinds.SAMPLER_SAMPLE, wrapper)
    return patcher


def with_dynamic_guidance(patcher: comfy.model_patcher.ModelPatcher) -> comfy.model_patcher.ModelPatcher:
    """The MODEL with its authors' changing guidance. Raises ValueError where they have none."""
    model = video_model(patcher)
    if model.family.dynamic_guidance is None:
        raise ValueError(
            f"{model.variant.name} has no dynamic guidance: its authors keep the guidance as it is. Leave Dynamic "
            "Guidance out."
        )
    patcher = patcher.clone()
    patcher.add_wrapper(comfy.patcher_extension.WrappersMP.PREDICT_NOISE, _with_guidance_of_step)
    return patcher


def _with_guidance_of_step(
    predict: Callable, x: torch.Tensor, sigma: torch.Tensor, options: dict[str, Any], seed: int | None = None
) -> torch.Tensor:
    guider = predict.class_obj
    guidance = getattr(guider, "cfg", 1.0)
    if guidance <= 1:
        return predict(x, sigma, options, seed)
    model, steps = guider.inner_model, len(options["transformer_options"]["sample_sigmas"]) - 1
    timestep = int(model.model_sampling.timestep(sigma.flatten()[:1]))
    guider.cfg = model.family.dynamic_guidance(guidance, timestep, steps)
    try:
        return predict(x, sigma, options, seed)
    finally:
        guider.cfg = guidance


def make_static(patcher: comfy.model_patcher.ModelPatcher) -> comfy.model_patcher.ModelPatcher:
    """The same MODEL under the patcher that loads weights whole, for newer ComfyUI's `disable_dynamic`."""
    return _patched(comfy.model_patcher.ModelPatcher, patcher.model, patcher.load_device, patcher.offload_device)


def patcher_class() -> type:
    # Looked up when called: newer ComfyUI sets CoreModelPatcher to its dynamic-VRAM patcher at start-up.
    return getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)


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
