"""The MODEL: a network in ComfyUI's patcher, which offloads it and applies wrappers and LoRAs."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import comfy.model_management as memory
import comfy.model_patcher
import comfy.patcher_extension
import torch

from ..contract.family import Family, Variant
from .adapters import ELSEWHERE, NETWORK_PREFIX, OfAnyTrainer
from .notice import tell_running_node
from .video_model import VideoModel
from .weights import QuantisedLinear, uncast
from .wrappers.guides import with_guides_apart, with_guides_appended
from .wrappers.keyframes import with_keyframes_beside
from .wrappers.known_frames import with_clip_in_one_go, with_enforced_mask, with_unmet_told, with_whole_tokens
from .wrappers.own_sampler import with_own_sampler
from .wrappers.previews import with_preview
from .wrappers.prompt_windows import with_windows
from .wrappers.streams import with_both_streams, with_streams


def make_model(
    family: Family, variant: Variant, network: torch.nn.Module, dtype: torch.dtype, reload: tuple[Callable, tuple]
) -> comfy.model_patcher.ModelPatcher:
    """The MODEL. reload: (factory, arguments) with which newer ComfyUI loads it again (hooks, compile, multi-GPU)."""
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
    patcher = _taking_loras(kind)(model, load_device=device, offload_device=offload)
    kinds = comfy.patcher_extension.WrappersMP
    for wrapper in (
        with_unmet_told,
        with_streams,
        with_keyframes_beside,
        with_guides_apart,
        with_preview,
        with_windows,
        with_whole_tokens,
        with_clip_in_one_go,
        with_guides_appended,
        with_both_streams,
    ):
        patcher.add_wrapper(kinds.OUTER_SAMPLE, wrapper)
    for wrapper in (with_enforced_mask, with_own_sampler):
        patcher.add_wrapper(kinds.SAMPLER_SAMPLE, wrapper)
    return patcher


class TakesLoRAs:
    """Put in front of a patcher's class: ComfyUI's own LoRA loaders load what Load Video LoRA loads.

    They hand over patches of the weights whose names they know, and the rest of the file as OfAnyTrainer. A LoRA of
    which nothing is used is said to be idle.
    """

    def add_patches(self, patches: dict, *strengths: Any, **others: Any) -> list:
        place = NETWORK_PREFIX + ELSEWHERE
        left, patches = patches.get(place), {name: patch for name, patch in patches.items() if name != place}
        if isinstance(left, OfAnyTrainer):
            patches |= self._translated(left, alone=not patches)
        elif left is None and not patches:
            self._say("This LoRA is empty: it changes nothing.")
        return [*super().add_patches(patches, *strengths, **others), *([place] if left is not None else [])]

    def _translated(self, left: OfAnyTrainer, alone: bool) -> dict[str, Any]:
        """ComfyUI's patches from the rest of a file. alone: whether it is the whole file."""
        if self.model.read_lora is None:
            patches, fault = {}, "Its names are not ComfyUI's."
        else:
            patches, fault = self.model.read_lora(self, left.state)
        if alone and not patches:
            self._say(f"This LoRA changes nothing: {fault}")
        elif fault:
            logging.warning("Atelier: of a LoRA on %s: %s", self.model.variant.name, fault)
        return patches

    def _say(self, text: str) -> None:
        tell_running_node(f"Atelier: {text}")


@functools.cache
def _taking_loras(kind: type) -> type:
    return type(kind.__name__, (TakesLoRAs, kind), {})


def make_static(patcher: comfy.model_patcher.ModelPatcher) -> comfy.model_patcher.ModelPatcher:
    """The same MODEL in the patcher that loads all weights at once, for newer ComfyUI's `disable_dynamic`."""
    return _patched(comfy.model_patcher.ModelPatcher, patcher.model, patcher.load_device, patcher.offload_device)


def patcher_class() -> type:
    # Looked up when called: newer ComfyUI sets CoreModelPatcher to its dynamic-VRAM patcher at start-up.
    return getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
