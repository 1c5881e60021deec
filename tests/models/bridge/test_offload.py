"""A model larger than the available memory samples layer by layer, with the same result.

Without a GPU, ComfyUI is told of a device with little memory, and what it leaves outside becomes a tensor that can only
be copied: any other use of it fails, as it would between two devices.
"""

from __future__ import annotations

import adapters
import comfy.model_management as memory
import pytest
import quantised
import tiny
import tiny_cogvideox
import tiny_mochi
import tiny_pyramid
import torch
from atelier.models.bridge.sampling import empty_latent, sample
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from atelier.models.loading.lora import add_lora
from comfy.patcher_extension import CallbacksMP
from reference import relative


class Elsewhere(torch.Tensor):
    """A tensor on a device that does not compute."""

    ALLOWED = {"__get__", "to", "copy_", "empty_like", "numel", "nelement", "element_size", "dim", "size", "data_ptr"}

    @property
    def device(self) -> torch.device:
        return torch.device("meta")

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function.__name__ not in cls.ALLOWED:
            raise AssertionError(f"{function.__name__} used a weight that was left outside")
        with torch._C.DisableTorchFunctionSubclass():
            plain = [arg.as_subclass(torch.Tensor) if isinstance(arg, cls) else arg for arg in args]
            result = function(*plain, **(kwargs or {}))
        stays = function.__name__ == "to" and not any(
            isinstance(where, torch.device | torch.Tensor) for where in args[1:]
        )
        return result.as_subclass(cls) if stays and "device" not in (kwargs or {}) else result


class Budget:
    """ComfyUI's view of a device that has room for `share` of a model's weights; what of it came to lie outside."""

    def __init__(self, monkeypatch, share: float) -> None:
        self.share, self.monkeypatch, self.replaced = share, monkeypatch, []

    def put_on(self, model) -> None:
        free = memory.minimum_inference_memory() + self.share * model.model_size()
        self.monkeypatch.setattr(memory, "is_device_cpu", lambda device: False)
        self.monkeypatch.setattr(memory, "vram_state", memory.VRAMState.NORMAL_VRAM)
        self.monkeypatch.setattr(memory, "get_free_memory", lambda *args, **kwargs: free)
        model.add_callback(CallbacksMP.ON_LOAD, self.leave_outside)

    def leave_outside(self, patcher, *_) -> None:
        for module in patcher.model.diffusion_model.modules():
            if getattr(module, "comfy_patched_weights", False):
                continue
            for tensors in (module._parameters, module._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None and not isinstance(tensor, Elsewhere):
                        self.replaced.append((tensors, name, tensor))
                        tensors[name] = tensor.as_subclass(Elsewhere)

    def lift(self) -> int:
        """Put everything back. Returns how many bytes were outside."""
        self.monkeypatch.undo()
        for tensors, name, tensor in self.replaced:
            tensors[name] = tensor
        memory.unload_all_models()
        return sum(tensor.nbytes for _, _, tensor in self.replaced)


MODELS = {
    "ltx": lambda path: tiny.folder(path),
    "mochi": lambda path: tiny_mochi.folder(path),
    "cogvideox 2B": lambda path: tiny_cogvideox.folder(path, "2B"),
    "cogvideox 5B I2V": lambda path: tiny_cogvideox.folder(path, "5B I2V"),
    "cogvideox 1.5 5B I2V": lambda path: tiny_cogvideox.folder(path, "1.5 5B I2V"),
    "pyramid miniflux": lambda path: tiny_pyramid.folder(path, "miniflux"),
    "pyramid sd3": lambda path: tiny_pyramid.folder(path, "sd3"),
}


def sampled(model) -> torch.Tensor:
    inner = model.model
    family, variant = inner.family, inner.variant
    shape = variant.grid.latent_shape(64, 64 if family.sample else 48, variant.grid.frames(3))
    generator = torch.Generator().manual_seed(1)
    pooled = sum(tiny_pyramid.CLIPS[name]["width"] for name in variant.text.pooled)
    options = {"pooled_output": torch.randn(1, pooled, generator=generator)} if pooled else {}
    words = 1, variant.text.tokens, variant.text.channels
    texts = [[[torch.randn(words, generator=generator), options]] for _ in range(2)]
    sigmas = family.schedule(variant, 2, shape)
    made = sample(model, empty_latent(shape, 8.0), *texts, seed=3, sigmas=sigmas, guidance=3.0)
    return made["samples"]


def limited(model, monkeypatch, share: float) -> tuple[torch.Tensor, int]:
    """A model's result while `share` of its weights fit on the device, and how many bytes stayed outside."""
    memory.unload_all_models()
    budget = Budget(monkeypatch, share)
    budget.put_on(model)
    try:
        return sampled(model), memory.loaded_models()[0].loaded_size()
    finally:
        assert budget.lift() > 0


@pytest.mark.parametrize("name,share", [*((name, 0.0) for name in MODELS), ("ltx", 0.5)])
def test_every_family(tmp_path, monkeypatch, name, share):
    model = load.load_model(open_model(MODELS[name](tmp_path / "model")))
    whole = sampled(model)
    assert model.loaded_size() >= model.model_size()
    made, inside = limited(model, monkeypatch, share)
    assert inside <= share * model.model_size()
    assert relative(made, whole) <= 2e-5  # casting makes copies, whose sums may round otherwise


@pytest.mark.parametrize("name", ["ltx", "mochi"])
def test_with_a_lora(tmp_path, monkeypatch, name):
    model = load.load_model(open_model(MODELS[name](tmp_path / "model")))
    plain, state = sampled(model), model.model.diffusion_model.state_dict()
    lora = adapters.adapter(state, adapters.matrices(state))
    model = add_lora(model, adapters.file(tmp_path / "lora.safetensors", lora), 0.3).model
    whole = sampled(model)
    made, _ = limited(model, monkeypatch, 0.5)
    assert relative(made, whole) <= 2e-5 and relative(made, plain) > 1e-2


def test_stored_in_float8(tmp_path, monkeypatch):
    model = load.load_model(open_model(tiny.folder(tmp_path / "model")), "float8_e4m3fn")
    whole = sampled(model)
    made, _ = limited(model, monkeypatch, 0.5)
    assert relative(made, whole) <= 2e-5


@pytest.mark.parametrize("write", [quantised.write, quantised.write_scaled])
def test_quantised_with_a_lora(tmp_path, monkeypatch, write):
    state = tiny.core_network().state_dict()
    name = "model.gguf" if write is quantised.write else "model.safetensors"
    model = load.load_model(open_model(write(tmp_path / name, state)), "float32")
    lora = adapters.adapter(state, adapters.matrices(state))
    model = add_lora(model, adapters.file(tmp_path / "lora.safetensors", lora), 0.3).model
    whole = sampled(model)
    made, _ = limited(model, monkeypatch, 0.0)
    # Loaded whole, a patched weight is kept in eight bits; outside, it is patched when it is used.
    assert relative(made, whole) < 2e-2
