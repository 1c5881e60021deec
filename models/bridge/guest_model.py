"""A model that is not ComfyUI's on ComfyUI's device: its own models make room, and get it back afterwards."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import comfy.model_management as memory
import torch

MARGIN = 0.2
"""What a network needs beyond its weights while it runs, as a share of them."""


def place_for(parameters: int) -> tuple[torch.device, torch.dtype]:
    """Where a network with so many parameters can run, and in what: ComfyUI's models have made room for it there.

    The CPU where the device is too small even when empty.
    """
    device = memory.get_torch_device()
    if memory.is_device_cpu(device):
        return _on_cpu(parameters)
    dtype = torch.bfloat16 if memory.should_use_bf16(device) else torch.float16
    needed = parameters * dtype.itemsize * (1 + MARGIN)
    memory.free_memory(needed, device)
    return (device, dtype) if memory.get_free_memory(device) >= needed else _on_cpu(parameters)


def _on_cpu(parameters: int) -> tuple[torch.device, torch.dtype]:
    """float32, which a CPU is fast in, as long as it takes no more than half of what is free."""
    device = torch.device("cpu")
    roomy = parameters * torch.float32.itemsize < memory.get_free_memory(device) / 2
    return device, torch.float32 if roomy else torch.bfloat16


@contextmanager
def guest(load: Callable[[torch.dtype], torch.nn.Module], parameters: int) -> Iterator[torch.nn.Module]:
    """The network that `load` makes in a dtype, on the device while the block runs, and nowhere afterwards."""
    device, dtype = place_for(parameters)
    network = load(dtype)
    try:
        yield network.to(device)
    finally:
        network.to("meta")  # whoever still holds it (a traceback) holds no weights
        del network
        gc.collect()
        memory.soft_empty_cache()
