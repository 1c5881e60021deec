"""A network -> MODEL, an autoencoder -> VAE, a T5 -> CLIP: ComfyUI's own objects, and sampling with them.

The only room that knows ComfyUI's internals and where its versions (0.3.75 and newer) differ.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.conds
import comfy.latent_formats
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
from comfy.model_base import ModelType

from .family import Family, Grid, Shape, State, Text, Variant
from .files import CheckpointError
from .knowns import mask_of

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
        latent_format = _latent_format(family.preview, grid)
        # ComfyUI's figure for its own LTXV network, which is 2048 wide, has a token for each latent pixel.
        memory_usage_factor = 5.5 * width / 2048 / (grid.patch[0] * grid.patch[1] ** 2)

    return Config(Config.unet_config)


def _latent_format(preview: str, grid: Grid) -> type[comfy.latent_formats.LatentFormat]:
    """Latents of a grid, left as they are, with the preview colours of one of ComfyUI's own formats."""
    core = getattr(comfy.latent_formats, preview, comfy.latent_formats.LatentFormat)()
    colours = {name: getattr(core, name, None) for name in ("latent_rgb_factors", "latent_rgb_factors_bias")}
    if core.latent_channels != grid.channels:
        colours = {}
    return type(
        "VideoLatent",
        (comfy.latent_formats.LatentFormat,),
        {
            "latent_channels": grid.channels,
            "latent_dimensions": 3,
            "temporal_downscale_ratio": grid.temporal,
            "spacial_downscale_ratio": grid.spatial,
            **colours,
        },
    )


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
    return storage, memory.unet_manual_cast(storage, device, supported) or storage


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
    kept in `compute`, because networks mix them with activations directly. Raises CheckpointError when keys are
    missing or left over.
    """
    matrices = {f"{name}.weight" for name, module in network.named_modules() if type(module) is torch.nn.Linear}
    ready = {}
    for key in list(weights):
        weight = weights.pop(key)
        ready[key] = weight.to(storage if key in matrices else compute) if weight.is_floating_point() else weight
    names = set(network.state_dict())
    missing, unexpected = names - ready.keys(), ready.keys() - names
    if missing or unexpected:
        raise CheckpointError(
            f"The weights do not fit {type(network).__name__}: {_some(missing)} missing, {_some(unexpected)} not known."
            " The file is incomplete or of a variant that is not supported."
        )
    try:
        network.load_state_dict(ready, assign=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"The weights do not fit {type(network).__name__}: {str(error).splitlines()[-1].strip()} They belong to "
            "another variant than their config.json says."
        ) from error
    network.requires_grad_(False).eval()
    _make_castable(network, comfy.ops.manual_cast if storage != compute else comfy.ops.disable_weight_init)


def _some(keys: set[str]) -> str:
    shown = ", ".join(sorted(keys)[:3])
    return f"{len(keys)} ({shown}{', ...' if len(keys) > 3 else ''})" if keys else "none"


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
    """Run a network's forward inside the wrappers that other nodes hang there (EasyCache, LazyCache, ...)."""
    wrappers = comfy.patcher_extension.get_all_wrappers(
        comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, transformer_options
    )
    executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(forward, network, wrappers)
    return executor.execute(*args, transformer_options=transformer_options, **kwargs)


def make_model(
    family: Family, variant: Variant, network: torch.nn.Module, dtype: torch.dtype, reload: tuple[Callable, tuple]
) -> comfy.model_patcher.ModelPatcher:
    """The MODEL. `reload`: (factory, arguments) with which newer ComfyUI makes it again (hooks, compile, multi-GPU)."""
    model = VideoModel(family, variant, network, dtype)
    if hasattr(memory, "archive_model_dtypes"):
        memory.archive_model_dtypes(network)
    patcher = _patched(_patcher_class(), model, memory.get_torch_device(), memory.unet_offload_device())
    patcher.cached_patcher_init = reload
    return patcher


def _patched(kind: type, model: VideoModel, device: Any, offload: Any) -> comfy.model_patcher.ModelPatcher:
    patcher = kind(model, load_device=device, offload_device=offload)
    patcher.add_wrapper(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, _with_whole_tokens)
    patcher.add_wrapper(comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE, _with_enforced_mask)
    patcher.add_wrapper(comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE, _with_own_sampler)
    return patcher


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
    guidance, options, seed = getattr(guider, "cfg", 1.0), extra_args["model_options"], extra_args.get("seed")

    def velocity(x: torch.Tensor, timestep: float, guidance: float, seen: dict[str, Any]) -> torch.Tensor:
        guider.cfg = guidance
        sigma = x.new_full(x.shape[:1], timestep / 1000)
        told = {**options, "transformer_options": {**options.get("transformer_options", {}), **seen}}
        denoised = guider(x, sigma, model_options=told, seed=seed)
        return (x - denoised) / sigma.view(-1, 1, 1, 1, 1)

    def report(progress: Any) -> None:
        memory.throw_exception_if_processing_interrupted()
        if callback is not None:
            shown = progress.finished if progress.finished.shape[2] else progress.x
            callback(progress.step - 1, shown, progress.x, progress.steps)

    try:
        return family.sample(
            variant,
            velocity,
            noise,
            latent,
            mask,
            steps=len(sigmas) - 1,
            guidance=guidance,
            seed=seed or 0,
            callback=report,
        )
    finally:
        guider.cfg = guidance


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
        autoencoder.decode_values
        * min(shape[-3] * grid.temporal, autoencoder.frames_at_once)
        * (shape[-2] * shape[-1] * grid.spatial**2 * memory.dtype_size(dtype))
    )
    vae.memory_used_encode = lambda shape, dtype: (
        autoencoder.encode_values
        * min(max(shape[-3], 7), autoencoder.frames_at_once)
        * (shape[-2] * shape[-1] * memory.dtype_size(dtype))
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
    images = vae.decode(samples)
    _check_finite(
        images,
        "The VAE decoded frames that are not numbers (NaN). Its weights are damaged (download them again), or its "
        "16-bit format overflowed: start ComfyUI with --fp32-vae.",
    )
    return images.reshape(-1, *images.shape[-3:])


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
        return self.autoencoder.encode(pixels[:, :, :legal])

    def decode(self, latents: torch.Tensor, **_: Any) -> torch.Tensor:
        """Latents [B, C, T, h, w] -> pixels [B, 3, F, H, W] in -1..1."""
        channels = self.autoencoder.grid.channels
        if latents.ndim != 5 or latents.shape[1] != channels:
            raise ValueError(
                f"This latent has shape {list(latents.shape)}, but this VAE decodes video latents with {channels} "
                "channels [batch, channels, frames, height, width]. It was made by another model: decode it with that "
                "model's VAE."
            )
        return self.autoencoder.decode(latents)


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
    config = t5_config({key: tuple(weight.shape) for key, weight in weights.items()})
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
    takes_weights = "state_dict" in inspect.signature(comfy.sd.CLIP.__init__).parameters
    clip = comfy.sd.CLIP(
        target,
        parameters=sum(weight.numel() for state in states for weight in state.values()),
        model_options={"t5xxl_model_config": config, **options},
        **({"state_dict": states} if takes_weights else {}),
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
                return super().load_sd(state)
            layers = clip_config(state)["num_hidden_layers"]
            return next(getattr(self, n) for n in names if getattr(self, n).num_layers == layers).load_sd(state)

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
