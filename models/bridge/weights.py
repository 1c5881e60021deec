"""Load a network's weights without a second copy, store them small, and let ComfyUI cast and offload each layer."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import comfy.model_management as memory
import comfy.ops
import comfy.utils
import psutil
import torch

from ..contract.grid import State
from ..weights.errors import CheckpointError
from ..weights.quantised import EightBits, Kind, Quantised, in_eight_bits


def choose_dtypes(choice: str, weights: State, dtypes: tuple[str, ...]) -> tuple[torch.dtype, torch.dtype]:
    """(storage, compute) dtypes for weights on this machine, computing in one of `dtypes` (best first).

    choice: "default" lets ComfyUI decide from the device and its memory, otherwise a torch dtype's name.
    """
    supported = [getattr(torch, name) for name in dtypes]
    device, plain = memory.get_torch_device(), {k: w for k, w in weights.items() if not isinstance(w, Quantised)}
    found = comfy.utils.weight_dtype(plain)
    if choice == "default":
        params = sum(w.numel() for w in weights.values())
        storage = memory.unet_dtype(device=device, model_params=params, supported_dtypes=supported, weight_dtype=found)
    else:
        storage = getattr(torch, choice)
    compute = memory.unet_manual_cast(storage, device, supported) or storage
    if compute not in supported:
        # ComfyUI picks float16 if it is requested and the device supports it, even if `supported` lacks it. For float8,
        # in which nothing computes, it picks the best of `supported`.
        compute = memory.unet_manual_cast(torch.float8_e4m3fn, device, supported)
    return storage, compute


def check_memory(name: str, weights: State, storage: torch.dtype) -> None:
    """Raise CheckpointError if the weights do not fit into memory in the dtype `storage`.

    Weights that keep their file's dtype need no memory of their own: they are memory-mapped, so the system can drop
    them and read them again.
    """
    converted = [w for w in weights.values() if not isinstance(w, Quantised) and w.dtype not in (storage, torch.int64)]
    count = sum(weight.numel() for weight in converted)
    needed, free = count * storage.itemsize, memory.get_free_memory(torch.device("cpu")) + psutil.swap_memory().free
    if needed <= free:
        return
    own = str(max(converted, key=torch.Tensor.numel).dtype).removeprefix("torch.")
    raise CheckpointError(
        f"{name} takes {needed / 1e9:.1f} GB of memory as {str(storage).removeprefix('torch.')}; {free / 1e9:.1f} GB "
        f"are free. Choose weight_dtype '{own}', which is the file's own format and is read from disk as needed, or "
        f"'float8_e4m3fn' ({count / 1e9:.1f} GB), or an fp8 or GGUF file of this model; or close other programs."
    )


MOST_WEIGHTS = 20_000
"""Most weights of a network, each a tensor. The largest published one, LTX-2.3 22B, has fewer than 5,000."""


@contextmanager
def without_weights() -> Iterator[None]:
    """Networks created inside have shapes only (meta device). Their initial values are not computed.

    Raises CheckpointError if there are more weights than any model has: a config.json may ask for a billion layers.
    """
    with torch.device("meta"), _WithoutInitialValues():
        yield


class _WithoutInitialValues(torch.overrides.TorchFunctionMode):
    """Functions of torch.nn.init return the tensor unchanged, and new tensors are counted, in this thread only."""

    count = 0

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        self.count += function is torch.empty
        if self.count > MOST_WEIGHTS:
            raise CheckpointError(
                f"The model's config.json or key names describe a network of more than {MOST_WEIGHTS:,} weights. No "
                "published one has so many. Download it again."
            )
        return function(*args, **kwargs)


def load_weights(network: torch.nn.Module, weights: State, storage: torch.dtype, compute: torch.dtype) -> None:
    """Fill a network that was created on the meta device. Weights that have the right dtype are not copied.

    `weights` is emptied during the call, so that a conversion never keeps both copies of a model. Only matrices are
    stored in `storage`: they take nearly all of the memory, and their layers cast them at each use. Norms, biases and
    tables are stored in `compute`, because networks combine them with activations directly. Quantised matrices stay
    quantised. Raises CheckpointError if keys are missing or unexpected.
    """
    matrices = {f"{name}.weight" for name, module in network.named_modules() if type(module) is torch.nn.Linear}
    ready, quantised = {}, {}
    for key in list(weights):
        weight = weights.pop(key)
        if isinstance(weight, Quantised) and key in matrices:
            quantised[key] = weight
            continue
        if isinstance(weight, Quantised):
            weight = weight.numbers(compute)
        ready[key] = weight.to(storage if key in matrices else compute) if weight.is_floating_point() else weight
    names = set(network.state_dict())
    available = ready.keys() | quantised.keys()
    missing, unexpected = names - available, available - names
    if missing or unexpected:
        raise CheckpointError(
            f"The weights do not fit {type(network).__name__}. Missing: {names_of(missing)}. Unknown: "
            f"{names_of(unexpected)}. The file is incomplete or of an unsupported variant."
        )
    try:
        network.load_state_dict(ready, strict=not quantised, assign=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"The weights do not fit {type(network).__name__}: {str(error).splitlines()[-1].strip()} They belong to "
            "another variant than their config.json states."
        ) from error
    network.requires_grad_(False).eval()
    keep_quantised(network, quantised)
    _make_castable(network, comfy.ops.manual_cast if storage != compute else comfy.ops.disable_weight_init)


def names_of(keys: set[str]) -> str:
    shown = ", ".join(sorted(keys)[:3])
    return f"{len(keys)} ({shown}{', ...' if len(keys) > 3 else ''})" if keys else "none"


class QuantisedLinear(comfy.ops.manual_cast.Linear):
    """A layer whose weight stays quantised as in its file, [outputs, width], and is dequantised at each use.

    ComfyUI patches weights through `convert_weight` and `set_weight`. If the whole layer is loaded, its patched weight
    is stored in eight bits per number. More would exceed the memory that ComfyUI reserved for it.
    """

    kind: Kind
    _patching_numbers = False

    def forward_comfy_cast_weights(self, input: torch.Tensor) -> torch.Tensor:
        weight = self.convert_weight(self.weight.to(input.device), dtype=input.dtype)
        bias = None if self.bias is None else self.bias.to(input)
        self._patching_numbers = True  # older ComfyUI's patches convert their input, newer ones do not
        try:
            for patch in self.weight_function:
                weight = patch(weight)
        finally:
            self._patching_numbers = False
        for patch in self.bias_function:
            bias = patch(bias)
        return torch.nn.functional.linear(input, weight, bias)

    def convert_weight(
        self, weight: torch.Tensor, inplace: bool = False, dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """The stored weight (in any dtype: ComfyUI may have cast it), or a patched one -> numbers."""
        if self._patching_numbers:
            return weight
        patched = EightBits()
        kind = patched if patched.columns(weight.shape[1]) == self.in_features else self.kind
        return kind.numbers(weight, dtype)

    def set_weight(
        self, weight: torch.Tensor, inplace_update: bool = False, seed: Any = None, return_weight: bool = False
    ) -> torch.Tensor | None:
        if return_weight:
            return weight
        self.weight = torch.nn.Parameter(in_eight_bits(weight), requires_grad=False)
        return None


def keep_quantised(network: torch.nn.Module, weights: State) -> None:
    """Set the quantised weights of layers. Raises CheckpointError if their size does not fit."""
    for key, weight in weights.items():
        layer = network.get_submodule(key.removesuffix(".weight"))
        expected = layer.out_features, layer.in_features
        if weight.numbers_shape != expected:
            raise CheckpointError(
                f"{key} has shape {weight.numbers_shape}; expected: {expected}. The file is of another model size."
            )
        layer.__class__, layer.kind = QuantisedLinear, weight.kind
        rows = weight.rows() if layer.weight.is_meta else weight.rows().to(layer.weight.device)
        layer.weight = torch.nn.Parameter(rows, requires_grad=False)


def _make_castable(network: torch.nn.Module, ops: Any) -> None:
    """Replace the classes of torch layers by ComfyUI's: these are offloaded one by one and cast at each use."""
    for module in network.modules():
        twin = _twin(type(module), ops)
        if twin is None:
            continue
        if isinstance(module, torch.nn.RMSNorm):
            module.bias = None  # ComfyUI's class expects one
        module.__class__ = twin


LAYERS = (
    torch.nn.Linear,
    torch.nn.Conv1d,
    torch.nn.Conv2d,
    torch.nn.Conv3d,
    torch.nn.LayerNorm,
    torch.nn.GroupNorm,
    torch.nn.Embedding,
    torch.nn.RMSNorm,
)


@functools.cache
def _twin(kind: type, ops: Any) -> type | None:
    """ComfyUI's class for a class of layers, or None.

    A subclass that calls `super().forward` (diffusers' CogVideoXSafeConv3d) is combined with ComfyUI's class, so that
    this call reaches it. A subclass that reads its weights itself has no twin: see `uncast`.
    """
    layer = next((layer for layer in LAYERS if issubclass(kind, layer)), None)
    if layer is None or hasattr(kind, "comfy_cast_weights"):
        return None
    twin = getattr(ops, layer.__name__)
    if kind is layer:
        return twin
    forwards = [vars(base)["forward"] for base in kind.__mro__[: kind.__mro__.index(layer)] if "forward" in vars(base)]
    if all("__class__" in forward.__code__.co_freevars for forward in forwards):  # each one calls `super()`
        return type(kind.__name__, (kind, twin), {})
    return None


Uncast = Sequence[tuple[torch.nn.Module, str]]
"""(module, name) of parameters and buffers."""


def uncast(network: torch.nn.Module) -> Uncast:
    """The small tensors that no ComfyUI layer casts: tables, norms of other classes. ComfyUI may not move them."""
    return [
        (module, name)
        for module in network.modules()
        if not hasattr(module, "comfy_cast_weights")
        for name, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    ]


def bring_along(tensors: Uncast, device: torch.device) -> None:
    """Move to `device` the tensors that ComfyUI did not move, as when it loads a network in part."""
    for module, name in tensors:
        tensor = getattr(module, name)
        if tensor.device != device:
            moved = tensor.to(device)
            parameter = name in module._parameters
            setattr(module, name, torch.nn.Parameter(moved, requires_grad=False) if parameter else moved)
