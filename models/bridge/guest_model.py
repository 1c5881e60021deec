"""Run a network that ComfyUI does not manage on ComfyUI's device: ComfyUI's models make room for it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import comfy.model_management as memory
import torch

MARGIN = 0.2
"""Memory that a network needs beyond its weights while it runs, as a share of their size."""


def place_for(parameters: int) -> tuple[torch.device, torch.dtype]:
    """The device and dtype for a network with this many parameters. ComfyUI's models are unloaded to make room for it.

    The device is the CPU if the accelerator is too small even when empty.
    """
    device = memory.get_torch_device()
    if memory.is_device_cpu(device):
        return _on_cpu(parameters)
    dtype = torch.bfloat16 if memory.should_use_bf16(device) else torch.float16
    needed = parameters * dtype.itemsize * (1 + MARGIN)
    memory.free_memory(needed, device)
    return (device, dtype) if memory.get_free_memory(device) >= needed else _on_cpu(parameters)


def _on_cpu(parameters: int) -> tuple[torch.device, torch.dtype]:
    """The CPU with float32, which is fast there, if that takes at most half of the free memory; else with bfloat16."""
    device = torch.device("cpu")
    roomy = parameters * torch.float32.itemsize < memory.get_free_memory(device) / 2
    return device, torch.float32 if roomy else torch.bfloat16


@contextmanager
def guest(load: Callable[[torch.dtype], torch.nn.Module], parameters: int) -> Iterator[torch.nn.Module]:
    """The network that load(dtype) returns, on the device while the block runs. Its weights are freed afterwards."""
    device, dtype = place_for(parameters)
    network = load(dtype)
    try:
        yield network.to(device)
    finally:
        network.to("meta")  # a reference that remains (in a traceback) keeps no weights alive
        del network
        gc.collect()
        memory.soft_empty_cache()
