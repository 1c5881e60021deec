"""A network -> MODEL, an autoencoder -> VAE, a T5 -> CLIP: ComfyUI's own objects, and sampling with them.

The only room that knows ComfyUI's internals and where its versions (0.3.75 and newer) differ.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.conds
import comfy.latent_formats
import comfy.lora
import comfy.model_base
import comfy.model_management as memory
import comfy.model_patcher
import comfy.model_sampling
import comfy.ops
import comfy.patcher_extension
import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.sd1_clip
import comfy.sdxl_clip
import comfy.supported_models_base
import comfy.text_encoders.genmo
import comfy.text_encoders.sd3_clip
import comfy.utils
import latent_preview
import torch
from comfy.cli_args import args
from comfy.model_base import ModelType
from comfy_api import feature_flags
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from PIL import Image
from protocol import BinaryEventTypes
from server import PromptServer

from . import streaming
from .family import Family, Grid, Shape, State, Text, Variant
from .files import CheckpointError
from .gguf import EIGHT_BIT_BLOCK, EIGHT_BITS, Quantised, in_eight_bits, numbers, shape_of
from .knowns import mask_of
from .preview import Colours, Player, false_colours, pictures
from .prompts import SPAN, holding, shares

SMALLEST_TILE = 256  # pixels; smaller ones show too little of the picture to be coded well

# ------------------------------------------------------------------------------------------------ MODEL

TIMESTEPS = 1000.0
CONTROL = "control_latent"  # what conditioning calls the latents [B, C, T, H, W] of a control clip


class VideoModel(comfy.model_base.BaseModel):
    """A family's network as ComfyUI's model: what conditioning it takes and how known frames reach it.

    Nodes read `family` and `variant` from here.
    """

    def __init__(self, family: Family, variant: Variant, network: torch.nn.Module, dtype: torch.dtype) -> None:
        super().__init__(_model_config(family, variant), ModelType.V_PREDICTION if family.levels else ModelType.FLOW)
        if family.levels:
            self.model_sampling.set_sigmas(family.levels(variant))
        self.family, self.variant, self.diffusion_model = family, variant, network
        self._dtype = dtype

    def get_dtype(self) -> torch.dtype:
        """The dtype the network computes in (its weights may be stored smaller)."""
        return self._dtype

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """What a step hands the network besides the latent: text, its mask, frame rate, the mask of known frames."""
        self._check(kwargs["noise"], kwargs.get("cross_attn"))
        conds = super().extra_conds(**kwargs)
        conds["frame_rate"] = comfy.conds.CONDConstant(kwargs.get("frame_rate", self.variant.recipe.fps))
        if kwargs.get("cross_attn") is not None:
            conds["c_crossattn"] = comfy.conds.CONDRegular(kwargs["cross_attn"])
        if kwargs.get("pooled_output") is not None:
            conds["y"] = comfy.conds.CONDRegular(kwargs["pooled_output"])
        if kwargs.get("attention_mask") is not None:
            conds["attention_mask"] = comfy.conds.CONDRegular(kwargs["attention_mask"])
        if self.variant.knowns.clean and kwargs.get("denoise_mask") is not None:
            conds["denoise_mask"] = comfy.conds.CONDRegular(kwargs["denoise_mask"])
        return conds

    def concat_cond(self, **kwargs: Any) -> torch.Tensor | None:
        """Known content as further channels, for the networks that take it so."""
        noise, latent = kwargs["noise"], kwargs.get("latent_image")
        known = torch.zeros_like(noise) if latent is None else latent.expand_as(noise)
        given = self.variant.knowns.channels(
            known, kwargs.get("denoise_mask"), self._control(noise, kwargs.get(CONTROL))
        )
        return None if given is None else given.to(kwargs["device"])

    def _control(self, noise: torch.Tensor, control: torch.Tensor | None) -> torch.Tensor | None:
        """The control clip's latents, as long as the noise: what was put in front of that begins it, too."""
        if control is None:
            return None
        if not self.variant.knowns.controlled:
            raise ValueError(
                f"{self.variant.name} takes no control clip: load a CogVideoX-Fun Control or Pose model, or leave "
                "Control Video out."
            )
        control = control.to(noise)
        control = torch.cat([control[:, :, :1]] * (noise.shape[2] - control.shape[2]) + [control], dim=2)
        if control.shape[1:] != noise.shape[1:]:
            raise ValueError(
                f"The control clip has latents {list(control.shape[1:])}, the shot {list(noise.shape[1:])} (channels, "
                "frames, height, width): connect the same latent to Control Video and to the sampler."
            )
        return control

    def process_timestep(
        self, timestep: torch.Tensor, denoise_mask: torch.Tensor | None = None, **_: Any
    ) -> torch.Tensor:
        if not self.family.levels:
            # Some of ComfyUI's ModelSampling nodes count time from 0 to 1.
            timestep = timestep * (TIMESTEPS / getattr(self.model_sampling, "multiplier", 1.0))
        return self.variant.knowns.timestep(timestep, denoise_mask)

    def _apply_model(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        c_concat: torch.Tensor | None = None,
        c_crossattn: torch.Tensor | None = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Denoised x at level t, also of a piece of a clip (Context Windows), for which older ComfyUI cuts nothing."""
        options, frames = transformer_options or {}, x.shape[2]
        span = self.variant.grid.patch[0]
        if frames % span:
            raise ValueError(
                f"{self.variant.name} takes {span} latent frames as one token, but was given {frames}: in Context "
                f"Windows, set a context length (and overlap) that {span} divides, and no causal_window_fix."
            )

        def cut(whole: torch.Tensor | None) -> torch.Tensor | None:
            fits = whole is None or whole.shape[2] in (1, frames)
            return whole if fits else options["context_window"].get_tensor(whole, dim=2)

        if kwargs.get("denoise_mask") is not None:
            kwargs["denoise_mask"] = cut(kwargs["denoise_mask"])
        denoised = super()._apply_model(x, t, cut(c_concat), c_crossattn, control, options, **kwargs)
        if self.family.levels and t.max() >= self.model_sampling.sigma_max:
            return self._from_pure_noise(denoised, x, t, options)
        return denoised

    def _from_pure_noise(
        self, denoised: torch.Tensor, x: torch.Tensor, sigma: torch.Tensor, options: dict[str, Any]
    ) -> torch.Tensor:
        """What makes the step out of the highest sigma the one that pure noise, whose sigma is infinite, would take.

        From infinity, v-prediction gives the denoised clip without any of x, and a step to sigma' leads to denoised +
        sigma' * noise. Steps to sigma' go (1 - sigma' / sigma) of the way, so the clip is made that much larger.
        """
        sigma = sigma.view(-1, 1, 1, 1, 1)
        lower = [level for level in options.get("sample_sigmas", sigma).flatten().tolist() if level < sigma.min()]
        following = max(lower, default=0.0)
        return (denoised - x / (sigma**2 + 1)) / (1 - following / sigma)

    def scale_latent_inpaint(
        self, *, sigma: torch.Tensor, noise: torch.Tensor, latent_image: torch.Tensor, **kwargs: Any
    ):
        """What stands in place of known content at a step of level sigma."""
        if self.variant.knowns.clean:
            return latent_image
        return super().scale_latent_inpaint(sigma=sigma, noise=noise, latent_image=latent_image, **kwargs)

    def _check(self, noise: torch.Tensor, text: torch.Tensor | None) -> None:
        """Say in words what would otherwise be a shape error deep in the network."""
        channels, width = self.variant.grid.channels, self.variant.text.channels
        if noise.ndim != 5 or noise.shape[1] != channels:
            raise ValueError(
                f"This latent has shape {list(noise.shape)}, but {self.variant.name} samples video latents with "
                f"{channels} channels [batch, channels, frames, height, width]. It belongs to another model: make it "
                "with Empty Video Latent from this model, or encode with this model's VAE."
            )
        if any(side % self.variant.grid.patch[1] for side in noise.shape[3:]):
            raise ValueError(
                f"This latent is {noise.shape[4]} x {noise.shape[3]} latent pixels, but {self.variant.name} needs "
                f"multiples of {self.variant.grid.patch[1]}: clips whose width and height are multiples of "
                f"{self.variant.grid.legal_side(1)} pixels."
            )
        if text is not None and text.shape[-1] != width:
            raise ValueError(
                f"This conditioning is {text.shape[-1]} wide, but {self.variant.name} reads text {width} wide. It "
                "comes from another model's text encoder: encode the prompt with the CLIP of the same Load Video Model "
                "node."
            )


def video_model(model: comfy.model_patcher.ModelPatcher) -> VideoModel:
    """The VideoModel inside a MODEL. Raises ValueError when another loader made it."""
    if not isinstance(model.model, VideoModel):
        raise ValueError(
            f"This MODEL ({type(model.model).__name__}) was not loaded by Load Video Model, so its legal sizes and "
            "schedule are not known here. Load it with Load Video Model, or use ComfyUI's own nodes for it."
        )
    return model.model


def _model_config(family: Family, variant: Variant) -> comfy.supported_models_base.BASE:
    recipe, grid = variant.recipe, variant.grid
    shift = variant.scheduler.get("shift", 1.0)
    if variant.scheduler.get("use_dynamic_shifting"):
        # For ComfyUI's own schedulers, which know no token count: the shift at the recommended size.
        shift = math.exp(
            shift_of_tokens(
                variant.scheduler, math.prod(grid.latent_shape(recipe.width, recipe.height, recipe.frames)[2:])
            )
        )
    width = variant.network.get("num_attention_heads", 32) * variant.network.get("attention_head_dim", 64)

    class Config(comfy.supported_models_base.BASE):
        unet_config = {"disable_unet_model_creation": True}
        sampling_settings = {"shift": shift, "multiplier": TIMESTEPS}
        latent_format = _latent_format(family, variant)
        # ComfyUI's figure for its own LTXV network, which is 2048 wide, has a token for each latent pixel.
        memory_usage_factor = 5.5 * width / 2048 / (grid.patch[0] * grid.patch[1] ** 2)

    return Config(Config.unet_config)


def _colours(family: Family, variant: Variant) -> Colours:
    """What latents look like: as fitted to this checkpoint, as ComfyUI shows the family's, or in false colours."""
    core = getattr(comfy.latent_formats, family.preview, comfy.latent_formats.LatentFormat)()
    channels = variant.grid.channels
    if variant.colours is not None:
        return variant.colours
    if core.latent_rgb_factors is None or core.latent_channels != channels:
        return false_colours(channels)
    return Colours(core.latent_rgb_factors, core.latent_rgb_factors_bias or (0.0, 0.0, 0.0))


def _latent_format(family: Family, variant: Variant) -> type[comfy.latent_formats.LatentFormat]:
    """Latents of a variant's grid, left as they are; previews show the frame that its `preview_frame` names."""
    colours, grid = _colours(family, variant), variant.grid

    class VideoLatent(comfy.latent_formats.LatentFormat):
        latent_channels = grid.channels
        latent_dimensions = 3
        temporal_downscale_ratio = grid.temporal
        spacial_downscale_ratio = grid.spatial
        latent_rgb_factors = colours.factors
        latent_rgb_factors_bias = colours.bias
        preview_frame = 0

        def latent_rgb_factors_reshape(self, x: torch.Tensor) -> torch.Tensor:
            """The frame of a clip [B, C, T, h, w] that ComfyUI's preview is to show, as a picture's latent."""
            return x[:, :, min(self.preview_frame, x.shape[2] - 1)] if x.ndim == 5 else x

    return VideoLatent


def shift_of_tokens(scheduler: Any, tokens: int) -> float:
    """Flow matching's mu for a sequence of `tokens` tokens: linear between the scheduler's two reference lengths."""
    low, high = scheduler["base_image_seq_len"], scheduler["max_image_seq_len"]
    slope = (scheduler["max_shift"] - scheduler["base_shift"]) / (high - low)
    return scheduler["base_shift"] + slope * (tokens - low)


def choose_dtypes(choice: str, weights: State, dtypes: tuple[str, ...]) -> tuple[torch.dtype, torch.dtype]:
    """(storage, compute) dtypes for weights on this machine, computing in one of `dtypes` (best first).

    choice: "default" lets ComfyUI decide from the device and its memory, otherwise a torch dtype's name.
    """
    supported = [getattr(torch, name) for name in dtypes]
    device, found = memory.get_torch_device(), comfy.utils.weight_dtype(weights)
    if choice == "default":
        params = sum(w.numel() for w in weights.values())
        storage = memory.unet_dtype(device=device, model_params=params, supported_dtypes=supported, weight_dtype=found)
    else:
        storage = getattr(torch, choice)
    compute = memory.unet_manual_cast(storage, device, supported) or storage
    if compute not in supported:
        # ComfyUI computes in float16 where it is asked to and the device can; of a format that nothing computes in, it
        # takes the best one of ours.
        compute = memory.unet_manual_cast(torch.float8_e4m3fn, device, supported)
    return storage, compute


@contextmanager
def without_weights() -> Iterator[None]:
    """Networks made inside have shapes only (meta device), and no time goes into their initial values."""
    with torch.device("meta"), _WithoutInitialValues():
        yield


class _WithoutInitialValues(torch.overrides.TorchFunctionMode):
    """Makes the functions of torch.nn.init return the tensor as it is, in this thread only."""

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)


def load_weights(network: torch.nn.Module, weights: State, storage: torch.dtype, compute: torch.dtype) -> None:
    """Fill a network made on the meta device; weights already in the right dtype are not copied.

    `weights` is emptied on the way, so that a conversion never holds both copies. Only matrices are stored in
    `storage`: they are nearly all of the memory, and their layers cast them when used. Norms, biases and tables are
    kept in `compute`, because networks mix them with activations directly. Quantised matrices stay as they are.
    Raises CheckpointError when keys are missing or left over.
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
    given = ready.keys() | quantised.keys()
    missing, unexpected = names - given, given - names
    if missing or unexpected:
        raise CheckpointError(
            f"The weights do not fit {type(network).__name__}: {_some(missing)} missing, {_some(unexpected)} not known."
            " The file is incomplete or of a variant that is not supported."
        )
    try:
        network.load_state_dict(ready, strict=not quantised, assign=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"The weights do not fit {type(network).__name__}: {str(error).splitlines()[-1].strip()} They belong to "
            "another variant than their config.json says."
        ) from error
    network.requires_grad_(False).eval()
    _keep_quantised(network, quantised)
    _make_castable(network, comfy.ops.manual_cast if storage != compute else comfy.ops.disable_weight_init)


def _some(keys: set[str]) -> str:
    shown = ", ".join(sorted(keys)[:3])
    return f"{len(keys)} ({shown}{', ...' if len(keys) > 3 else ''})" if keys else "none"


class _QuantisedLinear(comfy.ops.manual_cast.Linear):
    """A layer whose weight stays in a GGUF file's bytes, uint8 [outputs, bytes], and becomes numbers when it is used.

    ComfyUI patches weights through `convert_weight` and `set_weight`. A layer that is loaded whole keeps the patched
    weight in eight bits a number, or the memory that ComfyUI counted on would not do.
    """

    kind: str

    def forward_comfy_cast_weights(self, input: torch.Tensor) -> torch.Tensor:
        weight = self.convert_weight(self.weight.to(input.device)).to(input.dtype)
        for patch in self.weight_function:
            weight = patch(weight)
        bias = None if self.bias is None else self.bias.to(input)
        for patch in self.bias_function:
            bias = patch(bias)
        return torch.nn.functional.linear(input, weight, bias)

    def convert_weight(self, weight: torch.Tensor, inplace: bool = False) -> torch.Tensor:
        """Bytes (in any dtype: ComfyUI may have cast them) -> numbers; numbers stay."""
        columns = weight.shape[-1]
        if columns == self.in_features:
            return weight
        patched = columns == self.in_features // EIGHT_BIT_BLOCK * (EIGHT_BIT_BLOCK + 2)
        return numbers(weight.to(torch.uint8), EIGHT_BITS if patched else self.kind)

    def set_weight(
        self, weight: torch.Tensor, inplace_update: bool = False, seed: Any = None, return_weight: bool = False
    ) -> torch.Tensor | None:
        if return_weight:
            return weight
        self.weight = torch.nn.Parameter(in_eight_bits(weight), requires_grad=False)
        return None


def _keep_quantised(network: torch.nn.Module, weights: State) -> None:
    """Give layers their quantised weights. Raises CheckpointError when these have another size."""
    for key, weight in weights.items():
        layer = network.get_submodule(key.removesuffix(".weight"))
        expected = layer.out_features, layer.in_features
        if weight.numbers_shape != expected:
            raise CheckpointError(
                f"{key} is {weight.numbers_shape}, expected was {expected}: the file is of another size."
            )
        layer.__class__, layer.kind = _QuantisedLinear, weight.kind
        rows = weight.bytes() if layer.weight.is_meta else weight.bytes().to(layer.weight.device)
        layer.weight = torch.nn.Parameter(rows, requires_grad=False)


def _make_castable(network: torch.nn.Module, ops: Any) -> None:
    """Turn plain torch layers into ComfyUI's twins of them: offloaded one by one, cast when used.

    Only exact types: a subclass with a forward of its own would lose it.
    """
    layers = (
        torch.nn.Linear,
        torch.nn.Conv1d,
        torch.nn.Conv2d,
        torch.nn.Conv3d,
        torch.nn.LayerNorm,
        torch.nn.GroupNorm,
    )
    for module in network.modules():
        if type(module) in (*layers, torch.nn.Embedding, torch.nn.RMSNorm):
            if type(module) is torch.nn.RMSNorm:
                module.bias = None  # the twin asks for one
            module.__class__ = getattr(ops, type(module).__name__)


def call_network(
    network: torch.nn.Module, forward: Callable, *args: Any, transformer_options: dict, **kwargs: Any
) -> torch.Tensor:
    """Run a network's forward inside the wrappers that other nodes hang there (EasyCache, LazyCache, ...).

    args: the latent first.
    """
    _bring_along(network, args[0].device)
    wrappers = comfy.patcher_extension.get_all_wrappers(
        comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, transformer_options
    )
    executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(forward, network, wrappers)
    return executor.execute(*args, transformer_options=transformer_options, **kwargs)


def _uncast(network: torch.nn.Module) -> list[tuple[torch.nn.Module, str]]:
    """(module, name) of the parameters and buffers that no layer of ComfyUI's casts: tables, norms of other classes."""
    return [
        (module, name)
        for module in network.modules()
        if not hasattr(module, "comfy_cast_weights")
        for name, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    ]


def _bring_along(network: torch.nn.Module, device: torch.device) -> None:
    """Move to `device` what ComfyUI leaves behind when it loads a network in part; it is little."""
    for module, name in getattr(network, "uncast", ()):
        tensor = getattr(module, name)
        if tensor.device != device:
            moved = tensor.to(device)
            parameter = name in module._parameters
            setattr(module, name, torch.nn.Parameter(moved, requires_grad=False) if parameter else moved)


def make_model(
    family: Family, variant: Variant, network: torch.nn.Module, dtype: torch.dtype, reload: tuple[Callable, tuple]
) -> comfy.model_patcher.ModelPatcher:
    """The MODEL. `reload`: (factory, arguments) with which newer ComfyUI makes it again (hooks, compile, multi-GPU)."""
    model = VideoModel(family, variant, network, dtype)
    network.uncast = _uncast(network)
    if hasattr(memory, "archive_model_dtypes"):
        memory.archive_model_dtypes(network)
    quantised = any(isinstance(layer, _QuantisedLinear) for layer in network.modules())
    kind = comfy.model_patcher.ModelPatcher if quantised else _patcher_class()
    patcher = _patched(kind, model, memory.get_torch_device(), memory.unet_offload_device())
    patcher.cached_patcher_init = reload
    return patcher


def _patched(kind: type, model: VideoModel, device: Any, offload: Any) -> comfy.model_patcher.ModelPatcher:
    patcher = kind(model, load_device=device, offload_device=offload)
    patcher.add_wrapper(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, _with_preview)
    patcher.add_wrapper(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, _with_prompts_over_time)
    patcher.add_wrapper(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, _with_whole_tokens)
    patcher.add_wrapper(comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE, _with_enforced_mask)
    patcher.add_wrapper(comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE, _with_own_sampler)
    return patcher


def _with_preview(
    sample: Callable,
    noise: torch.Tensor,
    latent: torch.Tensor,
    sampler: Any,
    sigmas: torch.Tensor,
    mask: torch.Tensor | None = None,
    callback: Callable | None = None,
    *others: Any,
    **options: Any,
) -> torch.Tensor:
    """Sample while the node plays what there is so far, where ComfyUI's own previews are on and somebody watches."""
    send, model = _sender(), sample.class_obj.model_patcher.model
    if send is None or callback is None:
        return sample(noise, latent, sampler, sigmas, mask, callback, *others, **options)
    entries = [entry for conds in sample.class_obj.conds.values() for entry in conds]
    looks, shown = _colours(model.family, model.variant), model.latent_format

    def report(step: int, denoised: torch.Tensor, x: torch.Tensor, steps: int) -> None:
        player.play(pictures(denoised, looks))
        shown.preview_frame = player.index
        callback(step, denoised, x, steps)

    with Player(send, model.variant.grid.temporal / _frame_rate(entries, model.variant)) as player:
        try:
            return sample(noise, latent, sampler, sigmas, mask, report, *others, **options)
        finally:
            shown.preview_frame = 0


def _sender() -> Callable[[torch.Tensor], None] | None:
    """Sends a picture, uint8 [h, w, 3], to the node that runs now; None where previews are off or no node runs."""
    running, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if latent_preview.args.preview_method == latent_preview.LatentPreviewMethod.NoPreviews or None in (running, server):
        return None
    registry, client, size = get_progress_state(), server.client_id, latent_preview.MAX_PREVIEW_RESOLUTION

    def send(picture: torch.Tensor) -> None:
        image = ("JPEG", Image.fromarray(picture.numpy()), size)
        state = registry.nodes.get(running.node_id)
        if state is not None:  # its progress as it stands, with a picture
            told = running.node_id, state["value"], state["max"], state, running.prompt_id, image
            for handler in [handler for handler in registry.handlers.values() if handler.enabled]:
                handler.update_handler(*told)
        if not feature_flags.supports_feature(server.sockets_metadata, client, "supports_preview_metadata"):
            server.send_sync(BinaryEventTypes.UNENCODED_PREVIEW_IMAGE, image, client)

    return send


def _with_prompts_over_time(sample: Callable, noise: torch.Tensor, *others: Any, **options: Any) -> torch.Tensor:
    """Sample with a mask over time on each prompt that has a span: ComfyUI mixes what the prompts make of each frame.

    A prompt of which no latent frame is seen costs nothing. Families with a sampler of their own switch prompts there.
    """
    guider = sample.class_obj
    model = guider.model_patcher.model
    if model.family.sample is None and noise.ndim == 5:
        guider.conds = {
            name: _masked_over_time(entries, model.variant, noise.shape[2]) for name, entries in guider.conds.items()
        }
    return sample(noise, *others, **options)


def _masked_over_time(entries: list[dict[str, Any]], variant: Variant, count: int) -> list[dict[str, Any]]:
    """ComfyUI's conditioning with masks [1, T, 1, 1] over `count` latent frames and those added for whole tokens."""
    if not any(SPAN in entry for entry in entries):
        return entries
    rate = _frame_rate(entries, variant)
    moments = [variant.grid.moment(frame, rate) for frame in range(-(-count % variant.grid.patch[0]), count)]
    rows = shares(entries, moments)
    return [
        {**entry, "mask": torch.tensor(row).view(1, -1, 1, 1)}
        for entry, row in zip(entries, rows, strict=True)
        if any(row)
    ]


def _with_whole_tokens(
    sample: Callable,
    noise: torch.Tensor,
    latent: torch.Tensor,
    sampler: Any,
    sigmas: torch.Tensor,
    mask: torch.Tensor | None = None,
    callback: Callable | None = None,
    disable_pbar: bool = False,
    seed: int | None = None,
    **options: Any,
) -> torch.Tensor:
    """Sample with latent frames added in front, where the network's tokens span several and they do not come out even.

    As the reference pipeline does: known content begins with its first frame again, and what was made there is dropped.
    """
    span = sample.class_obj.model_patcher.model.variant.grid.patch[0]
    lead = -noise.shape[2] % span if noise.ndim == 5 else 0
    if not lead:
        return sample(noise, latent, sampler, sigmas, mask, callback, disable_pbar, seed, **options)

    def begun_again(clip: torch.Tensor) -> torch.Tensor:
        return torch.cat([clip[:, :, :1]] * lead + [clip], dim=2)

    def report(step: int, denoised: torch.Tensor, x: torch.Tensor, steps: int) -> None:
        callback(step, denoised[:, :, lead:], x[:, :, lead:], steps)

    noise, latent = torch.cat([noise_in_front(noise, lead, seed), noise], dim=2), begun_again(latent)
    if mask is not None and mask.ndim == 5:
        mask = begun_again(mask)
    if "latent_shapes" in options:
        options["latent_shapes"] = [latent.shape]
    made = sample(noise, latent, sampler, sigmas, mask, callback and report, disable_pbar, seed, **options)
    return made[:, :, lead:]


def noise_in_front(noise: torch.Tensor, frames: int, seed: int | None) -> torch.Tensor:
    """Noise [B, C, frames, H, W] to go before that of a clip; none where the clip gets none."""
    batch, channels, _, *size = noise.shape
    # Another seed than the clip's own: the same would repeat its first values.
    generator = torch.Generator().manual_seed((seed or 0) ^ 1)
    drawn = torch.randn(batch, channels, frames, *size, generator=generator, dtype=noise.dtype)
    return drawn.to(noise.device) * bool(noise.any())


def _with_enforced_mask(
    sample: Callable,
    guider: Any,
    sigmas: torch.Tensor,
    extra_args: dict,
    callback: Callable | None,
    noise: torch.Tensor,
    latent: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    *others: Any,
) -> torch.Tensor:
    """Run a sampler with only the part of the mask that it has to keep: some networks keep known frames themselves."""
    model = guider.inner_model
    _check_sampling(model)
    mask = model.variant.knowns.enforced(mask)
    if model.family.levels and sigmas[0] >= model.model_sampling.sigma_max:
        # This sigma stands for an infinite one: pure noise has no trace of the latent it replaces.
        latent = torch.zeros_like(latent) if mask is None else latent * (mask < 1)
    return sample(guider, sigmas, extra_args, callback, noise, latent, mask, *others)


def _check_sampling(model: VideoModel) -> None:
    """Say so where a ModelSampling node set the other kind of prediction: it would only make noise."""
    expected = comfy.model_sampling.V_PREDICTION if model.family.levels else comfy.model_sampling.CONST
    if not isinstance(model.model_sampling, expected):
        kind = "v-prediction" if model.family.levels else "flow matching"
        raise ValueError(
            f"{model.variant.name} was trained with {kind}, but a ModelSampling node in front of the sampler set "
            f"something else ({', '.join(base.__name__ for base in type(model.model_sampling).__bases__)}). Remove it."
        )


def _with_own_sampler(
    sample: Callable,
    guider: Any,
    sigmas: torch.Tensor,
    extra_args: dict,
    callback: Callable | None,
    noise: torch.Tensor,
    latent: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    *others: Any,
) -> torch.Tensor:
    """Run the family's sampler instead of the chosen one, where it has its own: of the sigmas, their number counts."""
    family, variant = guider.inner_model.family, guider.inner_model.variant
    if family.sample is None:
        return sample(guider, sigmas, extra_args, callback, noise, latent, mask, *others)
    guidance, conds, seed = getattr(guider, "cfg", 1.0), guider.conds, extra_args.get("seed")

    def prepare(frame: int, guidance: float, seen: dict[str, Any]) -> Callable[[torch.Tensor, float], torch.Tensor]:
        held = {name: _at_frame(entries, variant, frame) for name, entries in conds.items()}
        options = _for_another_size(extra_args["model_options"], guider.inner_model.model_sampling, seen)

        def velocity(x: torch.Tensor, timestep: float) -> torch.Tensor:
            guider.cfg, guider.conds = guidance, held
            sigma = x.new_full(x.shape[:1], timestep / 1000)
            denoised = guider(x, sigma, model_options=options, seed=seed)
            return (x - denoised) / sigma.view(-1, 1, 1, 1, 1)

        return velocity

    def report(progress: Any) -> None:
        memory.throw_exception_if_processing_interrupted()
        if callback is not None:
            shown = progress.finished if progress.finished.shape[2] else progress.x
            callback(progress.step - 1, shown, progress.x, progress.steps)

    try:
        return family.sample(
            variant,
            prepare,
            noise,
            latent,
            mask,
            steps=len(sigmas) - 1,
            guidance=guidance,
            seed=seed or 0,
            callback=report,
        )
    finally:
        guider.cfg, guider.conds = guidance, conds


def _at_frame(entries: list[dict[str, Any]], variant: Variant, frame: int) -> list[dict[str, Any]]:
    """Of ComfyUI's conditioning, the entries that hold when a latent frame is seen."""
    return holding(entries, variant.grid.moment(frame, _frame_rate(entries, variant)))


def _frame_rate(entries: list[dict[str, Any]], variant: Variant) -> float:
    """What the conditioning says, else what the model's authors recommend."""
    return next((entry["frame_rate"] for entry in entries if "frame_rate" in entry), variant.recipe.fps)


def _for_another_size(options: dict[str, Any], sampling: Any, told: dict[str, Any]) -> dict[str, Any]:
    """Model options with `told` among those of the transformer, for latents of another size than before.

    EasyCache and LazyCache compare each step with the last one: they begin anew.
    """
    transformer = {**options.get("transformer_options", {}), **told}
    if "easycache" in transformer:
        transformer["easycache"] = transformer["easycache"].clone().prepare_timesteps(sampling)
    return {**options, "transformer_options": transformer}


def introduce(patcher: comfy.model_patcher.ModelPatcher, vae: comfy.sd.VAE) -> comfy.model_patcher.ModelPatcher:
    """The MODEL, knowing of its VAE what its way with known frames needs."""
    model = patcher.model
    known = model.variant.knowns.introduced(vae.encode)
    if known is not model.variant.knowns:
        model.variant = replace(model.variant, knowns=known)
        patcher.cached_patcher_init = (_introduced, (*patcher.cached_patcher_init, model.variant))
    return patcher


def _introduced(factory: Callable, args: tuple, variant: Variant, **options: Any) -> comfy.model_patcher.ModelPatcher:
    patcher = factory(*args, **options)
    patcher.model.variant = variant
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


def _patcher_class() -> type:
    # Looked up when called: newer ComfyUI sets CoreModelPatcher to its dynamic-VRAM patcher at start-up.
    return getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)


# ------------------------------------------------------------------------------------------------ LoRA

NETWORK_PREFIX = "diffusion_model."


def weight_shapes(model: comfy.model_patcher.ModelPatcher) -> dict[str, Shape]:
    """The shapes of a MODEL's weights, by the names they have in its network."""
    network = model.model.diffusion_model
    shapes = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    quantised = {name: layer for name, layer in network.named_modules() if isinstance(layer, _QuantisedLinear)}
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


# ------------------------------------------------------------------------------------------------ VAE


def make_vae(autoencoder: torch.nn.Module) -> comfy.sd.VAE:
    """The VAE over a family's autoencoder (see Family.autoencoder), usable by every core VAE node."""
    grid = autoencoder.grid
    with _without_warning("No VAE weights detected"):
        vae = comfy.sd.VAE(sd={})  # gets every attribute the running version has; ours are set on top
    vae.first_stage_model = _FirstStage(autoencoder).eval().requires_grad_(False)
    vae.latent_channels, vae.latent_dim, vae.output_channels = grid.channels, 3, 3
    vae.upscale_ratio = (lambda t: max(0, grid.frames(t)), grid.spatial, grid.spatial)
    vae.upscale_index_formula = (grid.temporal, grid.spatial, grid.spatial)
    vae.downscale_ratio = (lambda f: max(0, (f + grid.temporal - 1) // grid.temporal), grid.spatial, grid.spatial)
    vae.downscale_index_formula = (grid.temporal, grid.spatial, grid.spatial)
    vae.process_output = lambda pixels: pixels.add_(1.0).div_(2.0).clamp_(0.0, 1.0)  # in place and returned: see DESIGN
    # Counted from the end: a picture's latent of four dimensions is still to reach the decoder, which names the fault.
    vae.memory_used_decode = lambda shape, dtype: (
        autoencoder.decode_values * shape[-2] * shape[-1] * grid.spatial**2 * memory.dtype_size(dtype)
    )
    vae.memory_used_encode = lambda shape, dtype: (
        autoencoder.encode_values * shape[-2] * shape[-1] * memory.dtype_size(dtype)
    )
    vae.working_dtypes = [torch.bfloat16, torch.float32]
    vae.device, offload = memory.vae_device(), memory.vae_offload_device()
    vae.vae_dtype = memory.vae_dtype(vae.device, vae.working_dtypes)
    vae.first_stage_model.to(vae.vae_dtype)
    vae.output_device = memory.intermediate_device()
    vae.patcher = _patcher_class()(vae.first_stage_model, load_device=vae.device, offload_device=offload)
    vae.size = memory.module_size(vae.first_stage_model)
    return vae


def vae_grid(vae: comfy.sd.VAE) -> Grid:
    """The grid of a VAE made here. Raises ValueError for another loader's."""
    if not isinstance(vae.first_stage_model, _FirstStage):
        raise ValueError(
            "This VAE was not loaded by Load Video Model. Use the VAE output of the same Load Video Model node."
        )
    return vae.first_stage_model.autoencoder.grid


def resized(images: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Images [N, H, W, C] scaled to cover width x height and cropped in the middle, as [N, height, width, 3]."""
    pixels = images[..., :3].movedim(-1, 1)
    return comfy.utils.common_upscale(pixels, width, height, "lanczos", "center").movedim(1, -1)


def decode(vae: comfy.sd.VAE, samples: torch.Tensor) -> torch.Tensor:
    """Latents [B, C, T, h, w] -> frames [B * F, H, W, 3] in 0..1, the clips of a batch one after the other."""
    return torch.cat(list(decode_stream(vae, samples)))


def decode_stream(vae: comfy.sd.VAE, samples: torch.Tensor) -> Iterator[torch.Tensor]:
    """Latents [B, C, T, h, w] -> frames [f, H, W, 3] in 0..1 in main memory, some at a time, clip after clip.

    Memory does not depend on the clips' length. Another loader's VAE decodes each clip in one go.
    """
    if not isinstance(vae.first_stage_model, _FirstStage):
        for clip in samples.split(1):
            images = vae.decode(clip)
            yield _checked(images.reshape(-1, *images.shape[-3:]))
        return
    first_stage = vae.first_stage_model
    first_stage.check(samples)
    frames = first_stage.autoencoder.grid.frames(samples.shape[2])
    progress = comfy.utils.ProgressBar(len(samples) * frames)
    memory.load_models_gpu([vae.patcher], memory_required=vae.memory_used_decode(samples.shape, vae.vae_dtype))
    for clip in samples.split(1):
        for pixels in first_stage.decoded(clip.to(vae.device, vae.vae_dtype)):
            chunk = vae.process_output(pixels.float())[0].movedim(0, -1)
            progress.update(len(chunk))
            yield _checked(chunk)


def encode_stream(vae: comfy.sd.VAE, frames: Iterable[torch.Tensor], count: int) -> torch.Tensor:
    """Frames [f, H, W, 3] in 0..1, any number at a time, `count` in all -> latents [1, C, T, h, w].

    `count` and the sides must be legal for the VAE's grid. Memory does not depend on the length, unless the family's
    encoder must see a clip whole, or the VAE is another loader's.
    """
    if not isinstance(vae.first_stage_model, _FirstStage):
        return vae.encode(torch.cat(list(frames))[:count])
    source = iter(frames)
    first = next(source)
    size, first_stage = tuple(first.shape[1:3]), vae.first_stage_model
    progress = comfy.utils.ProgressBar(count)
    needed = vae.memory_used_encode(size, vae.vae_dtype)
    memory.load_models_gpu([vae.patcher], memory_required=needed)

    def pixels() -> Iterator[torch.Tensor]:
        for chunk in itertools.chain([first], source):
            memory.throw_exception_if_processing_interrupted()
            yield vae.process_input(chunk[..., :3].movedim(-1, 0)[None]).to(vae.device, vae.vae_dtype)
            progress.update(len(chunk))

    autoencoder = first_stage.autoencoder
    tile = first_stage.tile(autoencoder.encode_values, size, vae.device, vae.vae_dtype)
    return streaming.encode(autoencoder, pixels(), count, size, tile).to(vae.output_device).float()


def _checked(images: torch.Tensor) -> torch.Tensor:
    _check_finite(
        images,
        "The VAE decoded frames that are not numbers (NaN). Its weights are damaged (download them again), or its "
        "16-bit format overflowed: start ComfyUI with --fp32-vae.",
    )
    return images


def frames_of(vae: comfy.sd.VAE, samples: torch.Tensor) -> torch.Tensor:
    """Latents [B, C, T, h, w] -> frames [B, F, H, W, 3] in 0..1, each clip for itself."""
    return decode(vae, samples).unflatten(0, (len(samples), -1))


def encode(vae: comfy.sd.VAE, frames: torch.Tensor) -> torch.Tensor:
    """Frames [B, F, H, W, 3] in 0..1, F and the sides legal for the VAE's grid -> latents [B, C, T, h, w]."""
    return torch.cat([encode_stream(vae, [clip], len(clip)) for clip in frames])


class _FirstStage(torch.nn.Module):
    """An autoencoder under the two calls ComfyUI makes; shapes are checked where a person still understands them."""

    def __init__(self, autoencoder: torch.nn.Module) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels [B, 3, F, H, W] in -1..1 -> latents [B, C, T, h, w]. A few frames too many are left out."""
        grid, frames = self.autoencoder.grid, pixels.shape[2]
        legal = (frames - 1) // grid.temporal * grid.temporal + 1
        if legal != frames:
            logging.warning(
                "Atelier: this VAE takes 1, %d, %d, ... frames; of %d the first %d are encoded.",
                1 + grid.temporal,
                1 + 2 * grid.temporal,
                frames,
                legal,
            )
        pixels, size = pixels[:, :, :legal], tuple(pixels.shape[3:])
        tile = self.tile(self.autoencoder.encode_values, size, pixels.device, pixels.dtype)
        while True:
            try:
                return streaming.encode(self.autoencoder, [pixels], legal, size, tile)
            except memory.OOM_EXCEPTION as error:
                tile = self.smaller(tile, size, error)

    def decode(self, latents: torch.Tensor, **_: Any) -> torch.Tensor:
        """Latents [B, C, T, h, w] -> pixels [B, 3, F, H, W] in -1..1, in main memory."""
        self.check(latents)
        return torch.cat(list(self.decoded(latents)), dim=2)

    def check(self, latents: torch.Tensor) -> None:
        """Raises ValueError for latents that this autoencoder did not make."""
        channels = self.autoencoder.grid.channels
        if latents.ndim != 5 or latents.shape[1] != channels:
            raise ValueError(
                f"This latent has shape {list(latents.shape)}, but this VAE decodes video latents with {channels} "
                "channels [batch, channels, frames, height, width]. It was made by another model: decode it with that "
                "model's VAE."
            )

    def decoded(self, latents: torch.Tensor) -> Iterator[torch.Tensor]:
        """Latents [B, C, T, h, w] -> pixels [B, 3, f, H, W] in -1..1, some frames at a time, in main memory.

        Where memory does not suffice, the clip is begun again in smaller tiles; what is done already is not lost.
        """
        size = tuple(side * self.autoencoder.grid.spatial for side in latents.shape[3:])
        tile = self.tile(self.autoencoder.decode_values, size, latents.device, latents.dtype)
        done = 0
        while True:
            position = 0
            try:
                for pixels in streaming.decode(self.autoencoder, latents, tile):
                    memory.throw_exception_if_processing_interrupted()
                    position += pixels.shape[2]
                    if position > done:
                        yield pixels[:, :, done - position :].cpu()
                        done = position
                return
            except memory.OOM_EXCEPTION as error:
                tile = self.smaller(tile, size, error)

    def tile(self, values: float, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> int | None:
        """Side of the tiles that fit into free memory; None when the whole picture (height, width) does."""
        free = memory.get_free_memory(device) / (values * memory.dtype_size(dtype))
        if size[0] * size[1] <= free:
            return None
        side = self._whole_quarters(math.sqrt(free))
        return side if side < max(size) else None

    def smaller(self, tile: int | None, size: tuple[int, int], error: Exception) -> int:
        """The next smaller tile after running out of memory. Raises the error when there is none."""
        memory.soft_empty_cache()
        side = self._whole_quarters((tile or max(size)) / 2)
        if side >= (tile or max(size)):
            raise error
        logging.warning("Atelier: out of memory in the VAE; going on in tiles of %d x %d pixels.", side, side)
        return side

    def _whole_quarters(self, side: float) -> int:
        """A side whose quarters are whole latent pixels, as overlapping tiles need; not below the smallest."""
        step = 4 * self.autoencoder.grid.spatial
        return max(math.ceil(SMALLEST_TILE / step), int(side // step)) * step


@contextmanager
def _without_warning(text: str):
    def keep(record: logging.LogRecord) -> bool:
        return text not in record.getMessage()

    logger = logging.getLogger()
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


# ------------------------------------------------------------------------------------------------ CLIP

PADDING = 0  # T5's token for it


def make_t5_clip(
    weights: State, tokenizer: Path | None, text: Text, pooled: dict[str, State] | None = None
) -> comfy.sd.CLIP:
    """The CLIP over a T5 encoder of any size, as diffusers' video pipelines use it.

    The prompt is padded to `text.tokens` tokens (cut there when longer); where the network does not see the padding,
    the mask [1, tokens] goes with the embedding [1, tokens, width]. tokenizer: a folder, or None for T5's own, which
    ComfyUI carries. pooled: the weights of the CLIP encoders ("clip_l", "clip_g") whose pooled outputs go with it.
    Raises CheckpointError when the weights are no T5 encoder.
    """
    pooled = pooled or {}
    config = t5_config({key: shape_of(weight) for key, weight in weights.items()})
    if hasattr(comfy.utils, "convert_old_quants"):  # newer ComfyUI describes scaled fp8 in metadata
        weights, _ = comfy.utils.convert_old_quants(weights, model_prefix="", metadata={})
    target = SimpleNamespace(
        params={},
        clip=_with_pooled(
            comfy.text_encoders.genmo.mochi_te(**comfy.text_encoders.sd3_clip.t5_xxl_detect(weights)),
            tuple(pooled),
            text.pooled_projected,
        ),
        tokenizer=_with_clip_tokens(_t5_tokenizer(tokenizer, text), tuple(pooled)),
    )
    options = {f"{name}_model_config": clip_config(state) for name, state in pooled.items()}
    states = [weights, *pooled.values()]
    # Newer ComfyUI loads a CLIP's weights while making it and moves it to its device; 0.3.75 lets us do it afterwards.
    parameters = inspect.signature(comfy.sd.CLIP.__init__).parameters
    takes_weights = "state_dict" in parameters
    quantised = any(isinstance(weight, Quantised) for weight in weights.values())
    static = {"disable_dynamic": True} if quantised and "disable_dynamic" in parameters else {}
    clip = comfy.sd.CLIP(
        target,
        parameters=sum(weight.numel() for state in states for weight in state.values()),
        model_options={"t5xxl_model_config": config, **options},
        **({"state_dict": states} if takes_weights else {}),
        **static,
    )
    if not takes_weights:
        for state in states:
            clip.load_sd(state)
    encoder = clip.cond_stage_model.t5xxl
    encoder.enable_attention_masks = not text.encoder_sees_padding
    encoder.return_attention_masks = not text.network_sees_padding
    if text.empty_is_nothing:
        encoder.process_tokens = partial(_process_tokens, encoder.process_tokens)
    return clip


def clip_config(state: State) -> dict[str, Any]:
    """A CLIP text encoder's dimensions, read from its weights. Raises CheckpointError when these are none."""
    stem = "text_model.encoder.layers."
    if f"{stem}0.mlp.fc1.weight" not in state:
        raise CheckpointError(f"This is no CLIP text encoder (found {', '.join(list(state)[:3])}, ...).")
    feed_forward, width = state[f"{stem}0.mlp.fc1.weight"].shape
    return {
        "hidden_size": width,
        "num_attention_heads": width // 64,
        "num_hidden_layers": sum(f"{stem}{n}.mlp.fc1.weight" in state for n in range(64)),
        "intermediate_size": feed_forward,
    }


POOLED_TOKENS = {"clip_l": "l", "clip_g": "g"}


def _with_pooled(base: type, names: tuple[str, ...], projected: bool) -> type:
    """A T5 text model with CLIP encoders beside it; their pooled outputs [1, width] are joined in this order."""
    encoders = {
        "clip_l": partial(comfy.sd1_clip.SDClipModel, return_projected_pooled=projected),
        "clip_g": comfy.sdxl_clip.SDXLClipG,
    }

    class TextModel(base):
        def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: dict | None = None) -> None:
            options = model_options or {}
            super().__init__(device=device, dtype=dtype, model_options=options)
            for name in names:
                self.add_module(name, encoders[name](device=device, dtype=dtype, model_options=options))

        def encode_token_weights(self, tokens: dict[str, list]) -> tuple:
            embeds, pooled, *rest = super().encode_token_weights(tokens)
            vectors = [getattr(self, n).encode_token_weights(tokens[POOLED_TOKENS[n]])[1] for n in names]
            return embeds, torch.cat(vectors, dim=-1) if vectors else pooled, *rest

        def load_sd(self, state: State) -> Any:
            if "text_model.embeddings.token_embedding.weight" not in state:
                return self._load_t5(state)
            layers = clip_config(state)["num_hidden_layers"]
            return next(getattr(self, n) for n in names if getattr(self, n).num_layers == layers).load_sd(state)

        def _load_t5(self, state: State) -> tuple[list[str], list[str]]:
            given = {key: weight for key, weight in state.items() if isinstance(weight, Quantised)}
            kept = {key: weight for key, weight in given.items() if key != "shared.weight"}  # looked up, not multiplied
            plain = {key: weight for key, weight in state.items() if key not in given}
            plain |= {key: weight.numbers(torch.float16) for key, weight in given.items() if key not in kept}
            missing, unexpected = super().load_sd(plain)
            _keep_quantised(self.t5xxl.transformer, kept)
            return [key for key in missing if key not in kept], unexpected

    return TextModel


def _with_clip_tokens(base: type, names: tuple[str, ...]) -> type:
    tokenizers = {"clip_l": comfy.sd1_clip.SDTokenizer, "clip_g": comfy.sdxl_clip.SDXLClipGTokenizer}

    class Tokenizers(base):
        def __init__(self, embedding_directory: str | None = None, tokenizer_data: dict | None = None) -> None:
            super().__init__(embedding_directory, tokenizer_data)
            self.clips = {
                POOLED_TOKENS[n]: tokenizers[n](
                    embedding_directory=embedding_directory, tokenizer_data=tokenizer_data or {}
                )
                for n in names
            }

        def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **kwargs: Any) -> dict[str, list]:
            tokens = super().tokenize_with_weights(text, return_word_ids, **kwargs)
            # A CLIP reads its first 77 tokens; ComfyUI would make further ones another, unused batch.
            clips = {
                key: clip.tokenize_with_weights(text, return_word_ids, **kwargs)[:1] for key, clip in self.clips.items()
            }
            return tokens | clips

    return Tokenizers


def _process_tokens(process: Callable, tokens: list[list], device: torch.device) -> tuple:
    """ComfyUI's T5 marks everything up to the end token as prompt: with no end token in it, nothing is."""
    embeds, mask, *rest = process(tokens, device)
    for row, ids in enumerate(tokens):
        if all(isinstance(token, int) and token == PADDING for token in ids):
            mask[row] = 0
    return embeds, mask, *rest


def t5_config(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """A T5 encoder's dimensions, read from its weights' shapes, in the names ComfyUI's T5 uses.

    Raises CheckpointError when these are not the weights of a T5 encoder, or not all of them.
    """
    block, attention, feed_forward = "encoder.block.{}.", "layer.0.SelfAttention.", "layer.1.DenseReluDense."
    bias, first = block.format(0) + attention + "relative_attention_bias.weight", block.format(0)
    if bias not in shapes or "shared.weight" not in shapes:
        raise CheckpointError(
            "This text encoder is no T5 encoder in the layout of transformers (found "
            f"{', '.join(list(shapes)[:3])}, ...). Expected: T5-XXL, for example t5xxl_fp16.safetensors or "
            "t5xxl_fp8_e4m3fn_scaled.safetensors in models/text_encoders."
        )
    gated = first + feed_forward + "wi_0.weight" in shapes
    layers = sum(f"{block.format(n)}layer.0.layer_norm.weight" in shapes for n in range(256))
    parts = [attention + part for part in "qkvo"] + [
        feed_forward + part for part in (("wi_0", "wi_1", "wo") if gated else ("wi", "wo"))
    ]
    expected = {f"{block.format(n)}{part}.weight" for n in range(layers) for part in [*parts, "layer.1.layer_norm"]}
    missing = (expected | {"encoder.final_layer_norm.weight"}) - shapes.keys()
    if missing:
        raise CheckpointError(f"The text encoder's file is incomplete: {_some(missing)} missing. Download it again.")
    heads = shapes[bias][1]
    return {
        "d_model": shapes["shared.weight"][1],
        "vocab_size": shapes["shared.weight"][0],
        "num_layers": layers,
        "num_heads": heads,
        "d_kv": shapes[first + attention + "q.weight"][0] // heads,
        "d_ff": shapes[first + feed_forward + ("wi_0" if gated else "wi") + ".weight"][0],
        "is_gated_act": gated,
        "dense_act_fn": "gelu_pytorch_tanh" if gated else "relu",
        "model_type": "t5",
    }


def _t5_tokenizer(folder: Path | None, expected: Text) -> type:
    from transformers import AutoTokenizer, T5TokenizerFast

    path = folder or Path(comfy.text_encoders.sd3_clip.__file__).with_name("t5_tokenizer")

    class Tokenizer(comfy.sd1_clip.SDTokenizer):
        def __init__(self, embedding_directory: str | None = None, tokenizer_data: dict | None = None) -> None:
            super().__init__(
                str(path),
                embedding_directory=embedding_directory,
                embedding_size=expected.channels,
                embedding_key="t5xxl",
                tokenizer_class=AutoTokenizer if folder else T5TokenizerFast,
                tokenizer_data=tokenizer_data or {},
                pad_with_end=False,
                has_start_token=False,
                pad_to_max_length=False,
                max_length=99999999,
                min_length=expected.tokens,
            )

        def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **kwargs: Any) -> list:
            (batch,) = super().tokenize_with_weights(text, return_word_ids, **kwargs)
            self.unread = max(0, len(batch) - expected.tokens)
            if expected.empty_is_nothing and not text:
                return [[(PADDING, *others) for _, *others in batch]]
            return [batch[: expected.tokens - 1] + batch[-1:] if self.unread else batch]

    class Tokenizers(comfy.sd1_clip.SD1Tokenizer):
        def __init__(self, embedding_directory: str | None = None, tokenizer_data: dict | None = None) -> None:
            super().__init__(embedding_directory, tokenizer_data or {}, name="t5xxl", tokenizer=Tokenizer)

    return Tokenizers


def encode_text(clip: comfy.sd.CLIP, text: str) -> tuple[list, int]:
    """CONDITIONING of a prompt, and how many of its tokens were past what the model reads."""
    tokens = clip.tokenize(text)
    unread = getattr(getattr(clip.tokenizer, "t5xxl", None), "unread", 0)
    return clip.encode_from_tokens_scheduled(tokens), unread


# ------------------------------------------------------------------------------------------------ sampling


def empty_latent(shape: Shape, frame_rate: float) -> dict:
    """A LATENT of which nothing is known; its frame rate travels with it to the sampler and the decoder."""
    return {"samples": torch.zeros(shape, device=memory.intermediate_device()), "frame_rate": frame_rate}


def control(vae: comfy.sd.VAE, images: torch.Tensor, latent: dict) -> dict[str, torch.Tensor]:
    """What conditioning needs to carry a control clip: images [N, H, W, C] at the size and length of a LATENT.

    Images past its end are left out; where they are too few, the last one is held.
    """
    grid, samples = vae_grid(vae), latent["samples"]
    height, width = (side * grid.spatial for side in samples.shape[3:])
    chosen = torch.arange(grid.frames(samples.shape[2])).clamp(max=len(images) - 1)
    return {CONTROL: vae.encode(resized(images, width, height)[chosen])}


def with_options(conditioning: list, added: dict[str, Any]) -> list:
    """CONDITIONING with further entries beside each text."""
    return [[text, {**options, **added}] for text, options in conditioning]


def with_frame_rate(conditioning: list, latent: dict) -> list:
    """CONDITIONING that tells the network the latent's frame rate, where the latent has one."""
    rate = {"frame_rate": float(latent["frame_rate"])} if "frame_rate" in latent else {}
    return with_options(conditioning, rate)


def remarks(model: comfy.model_patcher.ModelPatcher, latent: dict, positive: list) -> list[str]:
    """What an artist should know of a shot before it is sampled: what of it this variant was not trained for."""
    variant = video_model(model).variant
    mask, knowns = mask_of(latent), variant.knowns
    if knowns.controlled and not any(CONTROL in options for _, options in positive):
        return [f"no control clip: {variant.name} was\ntrained to follow one (Control Video)"]
    if knowns.about and mask.lt(1).any() and knowns.enforced(mask) is not None:
        return [f"{variant.name} was\n{knowns.about}"]
    return []


def sample(
    model: comfy.model_patcher.ModelPatcher,
    latent: dict,
    positive: list,
    negative: list,
    *,
    seed: int,
    sigmas: torch.Tensor,
    guidance: float,
) -> dict:
    """Sample a LATENT with Euler steps over `sigmas`; progress, preview and interrupt are ComfyUI's. A new LATENT."""
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
    noise = comfy.sample.prepare_noise(samples, seed, latent.get("batch_index"))
    made = comfy.sample.sample_custom(
        model,
        noise,
        guidance,
        comfy.samplers.sampler_object("euler"),
        sigmas,
        positive,
        negative,
        samples,
        noise_mask=latent.get("noise_mask"),
        callback=latent_preview.prepare_callback(model, sigmas.shape[-1] - 1),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
    _check_finite(
        made,
        "Sampling gave values that are not numbers (NaN). Either the model's file is damaged (download it again), or "
        "its number format overflows here: choose weight_dtype 'bfloat16' or 'float32' in Load Video Model.",
    )
    return {**latent, "samples": made}


def _check_finite(values: torch.Tensor, complaint: str) -> None:
    if not torch.isfinite(values).all():
        raise ValueError(complaint)


# ------------------------------------------------------------------------------------------------ the running graph


def progress(total: int) -> Callable[[int], None]:
    """A function to call with how many of `total` are done: ComfyUI shows it, and there its interrupt is raised."""
    bar = comfy.utils.ProgressBar(total)

    def report(done: int) -> None:
        memory.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return report


def output_is_used(place: int) -> bool:
    """Whether another node takes that output of the node that is running; True where nobody can know.

    Not read from the hidden prompt and id, because a node's fingerprint, which has neither, needs the same answer: else
    ComfyUI would give out the cached result of a run in which the output was not wanted. A node made while the graph
    runs (a loop) is not in the graph that was queued.
    """
    running, server = get_executing_context(), getattr(PromptServer, "instance", None)
    queued = server.prompt_queue.get_current_queue()[0] if server is not None else []
    graph = next((item[2] for item in queued if running and item[1] == running.prompt_id), {})
    if running is None or running.node_id not in graph:
        return True
    links = (value for node in graph.values() for value in node["inputs"].values() if isinstance(value, list))
    return any(link == [running.node_id, place] for link in links)


def metadata(prompt: dict | None, extra: dict | None) -> dict[str, Any]:
    """The graph that goes into every file made with it, under the names ComfyUI reads; nothing where it must not.

    What ComfyUI notes in the prompt while it runs ("is_changed": for some nodes the paths of files) stays out.
    """
    if args.disable_metadata:
        return {}
    queued = {
        name: {key: value for key, value in node.items() if key != "is_changed"}
        for name, node in (prompt or {}).items()
    }
    return ({"prompt": queued} if queued else {}) | dict(extra or {})
