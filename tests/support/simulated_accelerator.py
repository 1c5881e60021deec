"""A simulated accelerator: tensors on device "sim" keep their numbers in main memory, but refuse to meet other devices.

It shows on a processor what would fail or stall on a GPU. Tensors of two devices in one operation raise, as do numpy()
and a CPU generator; each wait of the host for the device is counted. Numbers are exact, so results can be
compared with the processor's. PyTorch 2.11: PrivateUse1 as a Python backend, an experimental API.

    with accelerator(VRAM["novram"]) as device:
        ...
    device.waits  # where the host waited
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import comfy.model_management as memory
import torch
from comfy.cli_args import args as command_line
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten
INDEXING = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index)
WAITING = (aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._unique2, aten.equal, aten.is_nonzero)
"""Operations for whose result the host must wait: item(), bool(), nonzero(), a boolean index and others."""


class _Module(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


backend_registration._setup_privateuseone_for_python_backend("sim", backend_module=_Module())
SIM = torch.device("sim", 0)
_waits: list[str] = []


def _wait(reason: str) -> None:
    """Record where the host waits: the innermost lines of this pack, ComfyUI and diffusers."""
    frames = [frame for frame in traceback.extract_stack() if "/torch/" not in frame.filename]
    frames = [frame for frame in frames if frame.filename != __file__]
    _waits.append(f"{reason}: " + " < ".join(f"{frame.filename}:{frame.lineno}" for frame in frames[:-4:-1]))


class SimTensor(torch.Tensor):
    """A tensor on "sim"; `inner` holds its numbers."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> SimTensor:
        outer = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=SIM,
        )
        outer.inner = inner
        return outer

    def __getitem__(self, where: Any) -> torch.Tensor:
        def indices(part: Any) -> Any:
            return torch.tensor(part) if isinstance(part, list) and part and not isinstance(part[0], slice) else part

        return super().__getitem__(tuple(map(indices, where)) if isinstance(where, tuple) else indices(where))

    def tolist(self) -> Any:
        _wait("tolist")
        return self.inner.tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert sim:0 device type tensor to numpy. Use Tensor.cpu() first.")

    __array__ = numpy

    def __repr__(self) -> str:
        return f"SimTensor({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _run(func, args, kwargs or {})


class _SimMode(TorchDispatchMode):
    """Inside, `device="sim"` works (in this thread)."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        flat, _ = tree_flatten((args, kwargs))
        return _run(func, args, kwargs) if any(map(_concerns, flat)) else func(*args, **kwargs)


def _concerns(value: Any) -> bool:
    return isinstance(value, SimTensor) or (isinstance(value, torch.device) and value.type == "sim")


def _inner(value: Any) -> Any:
    if isinstance(value, torch.device) and value.type == "sim":
        return torch.device("cpu")
    return value.inner if isinstance(value, SimTensor) else value


def _outer(value: Any) -> Any:
    return SimTensor(value) if isinstance(value, torch.Tensor) and not isinstance(value, SimTensor) else value


def _run(func: Any, args: tuple, kwargs: dict) -> Any:
    flat, _ = tree_flatten((args, kwargs))
    tensors = [value for value in flat if isinstance(value, torch.Tensor)]
    device = next((value for value in flat if isinstance(value, torch.device)), None)
    packet = func.overloadpacket
    if packet in (aten._to_copy, aten.to):
        return _moved(packet, args, kwargs, flat, device)
    if packet is aten.copy_:
        if isinstance(args[1], SimTensor) and not isinstance(args[0], SimTensor):
            _wait("copy to main memory")
        _inner(args[0]).copy_(_inner(args[1]))
        return args[0]
    if packet.__name__ == "_has_compatible_shallow_copy_type":
        return False
    here = [tensor for tensor in tensors if isinstance(tensor, SimTensor)]
    elsewhere = [tensor for tensor in tensors if not isinstance(tensor, SimTensor) and tensor.dim()]
    if here and elsewhere and packet not in INDEXING:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, sim:0 and "
            f"{elsewhere[0].device} ({func}, shapes {[tuple(tensor.shape) for tensor in tensors]})"
        )
    generator = kwargs.get("generator")
    if not here and device is not None and device.type == "sim" and generator is not None:
        raise RuntimeError("Expected a 'sim' device type for generator but found 'cpu'")
    if here and (packet in WAITING or packet in INDEXING and any(t.dtype is torch.bool for t in here[1:])):
        _wait(packet.__name__)
    plain_args, plain_kwargs = tree_map(_inner, (args, kwargs))
    out = func(*plain_args, **plain_kwargs)
    written = [n for n, arg in enumerate(func._schema.arguments) if arg.alias_info and arg.alias_info.is_write]
    if here and len(func._schema.returns) == 1 and written and written[0] < len(args):
        return args[written[0]]  # in place: the same tensor
    return tree_map(_outer, out) if (device.type == "sim" if device is not None else here) else out


def _moved(packet: Any, args: tuple, kwargs: dict, flat: list, device: torch.device | None) -> torch.Tensor:
    source = args[0]
    like = next((value for value in args[1:] if isinstance(value, torch.Tensor)), None)
    dtype = next((value for value in flat if isinstance(value, torch.dtype)), None if like is None else like.dtype)
    device = device if like is None else like.device
    to_sim = device.type == "sim" if device is not None else isinstance(source, SimTensor)
    copy = packet is aten._to_copy or kwargs.get("copy") or [v for v in args[1:] if isinstance(v, bool)][1:2] == [True]
    if to_sim == isinstance(source, SimTensor) and dtype in (None, source.dtype) and not copy:
        return source
    if isinstance(source, SimTensor) and not to_sim:
        _wait("move to main memory")
    out = aten._to_copy.default(_inner(source), dtype=dtype)
    return SimTensor(out) if to_sim else out


def _in_two_steps(make: Callable) -> Callable:
    """torch.tensor(..., device=) bypasses dispatch modes, so here the tensor is created first and then moved."""

    def made(*args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
        out = make(*args, **kwargs)
        return out if device is None else out.to(device)

    return made


def _empty(size, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    return SimTensor(torch.empty(size, dtype=dtype or torch.get_default_dtype()))


def _empty_strided(size, stride, dtype=None, layout=None, device=None, pin_memory=None):
    return SimTensor(torch.empty_strided(size, stride, dtype=dtype or torch.get_default_dtype()))


def _copy_from(source, target, non_blocking=False):
    _inner(target).copy_(_inner(source))
    return target


_library = torch.library.Library("aten", "IMPL")
_library.impl("empty.memory_format", _empty, "PrivateUse1")
_library.impl("empty_strided", _empty_strided, "PrivateUse1")
_library.impl("_copy_from", _copy_from, "PrivateUse1")


@dataclass(frozen=True)
class Vram:
    """How ComfyUI was started: its VRAMState, `--gpu-only`, and the share of a model's weights that has room."""

    state: str = "NORMAL_VRAM"
    gpu_only: bool = False
    share: float | None = None


VRAM = {
    "all inside": Vram(),
    "most outside": Vram(share=0.3),
    "gpu-only": Vram("HIGH_VRAM", gpu_only=True),
    "novram": Vram("NO_VRAM"),
}


@dataclass
class Accelerator:
    """The device as ComfyUI sees it. waits: where the host waited for the device, innermost line first."""

    vram: Vram
    free: float = 8e9
    waits: list[str] = field(default_factory=list)

    def make_room(self, patcher: Any) -> None:
        """Give the device room for `vram.share` of this patcher's weights."""
        if self.vram.share is not None:
            memory.unload_all_models()
            self.free = memory.minimum_inference_memory() + self.vram.share * patcher.model_size()


@contextmanager
def accelerator(vram: Vram = VRAM["all inside"]) -> Iterator[Accelerator]:
    """Inside, ComfyUI has a device "sim", in this thread; models that were loaded before are unloaded."""
    device = Accelerator(vram, waits=_waits)
    _waits.clear()
    memory.unload_all_models()

    def free_memory(device_asked: Any = None, torch_free_too: bool = False) -> Any:
        outside = device_asked is not None and torch.device(device_asked).type == "cpu"
        left = 64e9 if outside else device.free
        return (left, left) if torch_free_too else left

    def total_memory(device_asked: Any = None, torch_total_too: bool = False) -> Any:
        return (16e9, 16e9) if torch_total_too else 16e9

    state = memory.VRAMState[vram.state]
    seen = {
        "cpu_state": memory.CPUState.GPU,
        "vram_state": state,
        "set_vram_to": state,
        "get_torch_device": lambda: SIM,
        "text_encoder_device": lambda: SIM,
        "get_free_memory": free_memory,
        "get_total_memory": total_memory,
        "soft_empty_cache": lambda force=False: None,
        "should_use_fp16": lambda *_, **__: False,
        "should_use_bf16": lambda *_, **__: False,
        "get_offload_stream": lambda device: None,
        "pin_memory": lambda tensor: False,
    }
    two_steps = {name: _in_two_steps(getattr(torch, name)) for name in ("tensor", "as_tensor")}
    with ExitStack() as stack:
        stack.enter_context(patch.multiple(memory, **seen))
        stack.enter_context(patch.multiple(torch, **two_steps))
        stack.enter_context(patch.object(command_line, "gpu_only", vram.gpu_only))
        stack.enter_context(torch.inference_mode())
        stack.enter_context(_SimMode())
        try:
            yield device
        finally:
            memory.unload_all_models()
            device.waits = list(_waits)
