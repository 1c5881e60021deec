"""This machine's device and memory, as ComfyUI sees them."""

from __future__ import annotations

import comfy.model_management as memory
import comfy.model_patcher
import psutil

from ..contract.grid import Shape
from ..contract.memory import step_bytes
from ..library.fit import Machine, Memory, advice
from .video_model import video_model


def machine() -> Machine:
    """The device that ComfyUI samples on, with its whole memory and the main memory."""
    device, main = memory.get_torch_device(), psutil.virtual_memory().total
    if memory.is_device_cpu(device):
        return Machine("cpu", main, main)
    return Machine(memory.get_torch_device_name(device), memory.get_total_memory(device), main)


def memory_warning(model: comfy.model_patcher.ModelPatcher, latent_shape: Shape | None = None) -> str:
    """A warning if a MODEL does not fit this machine, with what helps; "" if it fits.

    latent_shape: of the latents to sample, [B, C, T, h, w]; None: those of the recommended size. The weights count as
    they are stored. Decoding is not counted: it goes to tiles when memory is short.
    """
    variant = video_model(model).variant
    grid, recipe = variant.grid, variant.recipe
    shape = latent_shape or grid.latent_shape(recipe.width, recipe.height, recipe.frames)
    network = model.model_size()
    numbers = sum(weight.numel() for weight in model.model.diffusion_model.parameters())
    size = f"{shape[-1] * grid.spatial} x {shape[-2] * grid.spatial} x {grid.frames(shape[2])}"
    bits = 8 * network / max(1, numbers)
    step = step_bytes(variant, shape, memory.dtype_size(model.model.get_dtype()))
    return advice(Memory(network, step), machine(), size, bits)
