"""A family's network as a ComfyUI model: its conditioning, known frames and latent format."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import comfy.conds
import comfy.model_base
import comfy.model_patcher
import comfy.supported_models_base
import comfy.utils
import torch
from comfy.model_base import ModelType

from ..contract.family import Family, Variant
from ..contract.grid import Shape, State
from ..contract.guides import Appended
from ..contract.memory import usage_factor
from ..contract.schedule import shift_of_tokens
from ..timeline.relay import RELAY
from .adapters import ELSEWHERE, NETWORK_PREFIX
from .hooks.unserved import Unserved, explaining
from .host_mask import HostMask, rows_of
from .latent_format import latent_format_of

TIMESTEPS = 1000.0
# Conditioning keys of latents [B, C, T, H, W]: a control clip, and the known frames encoded in one go.
CONTROL, IN_ONE_GO = "control_latent", "atelier_in_one_go"
# Conditioning keys of guides (contract.guides): a sequence of Guide, and while sampling, the Appended tokens.
# The marker of a control clip that is a guide over the whole shot: its scale.
REFERENCE = "atelier_reference"
GUIDES, APPENDED = "atelier_guides", "atelier_appended"
# Attachments of a MODEL: how many times smaller than the shot the reference of its IC-LoRA is, and under ComfyUI's name
# the metadata of the LoRA that was loaded last.
IN_CONTEXT, LORA_METADATA = "atelier_in_context", "lora_metadata"
NOT_CONTROLLED = (
    "{} cannot use a control clip. Load a CogVideoX-Fun Control or Pose model, or LTX Video 13B 0.9.7 or 0.9.8 or "
    "LTX-2 and, with Load Video LoRA, an IC-LoRA for it such as ltxv-097-ic-lora-depth-control-comfyui; or remove "
    "Control Video."
)
READS_PADDING = (
    "the prompt came without a mask of its padding: {} reads that as words. Encode it with the CLIP of Load Video "
    "Model, or set the type of CLIPLoader to this model's"
)


NO_SOUND = (
    "{0} generates picture and sound together, but this latent has only a picture. Create it with Empty Video Latent "
    "from this model, or with Encode Video."
)


def reads_padding(variant: Variant, options: Mapping[str, Any]) -> bool:
    """Whether a text lacks the padding mask that the network needs, as from a CLIPLoader of another type."""
    return not variant.text.network_sees_padding and options.get("attention_mask") is None


class VideoModel(comfy.model_base.BaseModel):
    """A family's network as a ComfyUI model. It passes conditioning and known frames to the network.

    Nodes read `family` and `variant` here. read_lora(MODEL, state): the patches of a LoRA file's tensors, and what is
    wrong with these or "".
    """

    read_lora: Callable[[Any, State], tuple[dict[str, Any], str]] | None = None

    def __init__(self, family: Family, variant: Variant, network: torch.nn.Module, dtype: torch.dtype) -> None:
        super().__init__(_model_config(family, variant), ModelType.V_PREDICTION if family.levels else ModelType.FLOW)
        if family.levels:
            self.model_sampling.set_sigmas(family.levels(variant))
        self.family, self.variant, self.diffusion_model = family, variant, network
        self._unserved = Unserved(variant.name, network)
        setattr(network, ELSEWHERE, torch.empty(0))
        self._dtype = dtype

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        """The weights, and the name by which ComfyUI's LoRA loaders hand over what they do not know."""
        state = super().state_dict(*args, **kwargs)
        state[NETWORK_PREFIX + ELSEWHERE] = getattr(self.diffusion_model, ELSEWHERE)
        return state

    def get_dtype(self) -> torch.dtype:
        """The dtype in which the network computes. Its weights may be stored in a smaller one."""
        return self._dtype

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """The network's inputs besides the latent: text, its mask, the frame rate, the mask of known frames."""
        shapes = kwargs["latent_shapes"] if self.variant.sound else [kwargs["noise"].shape]
        self._check(shapes[0], shapes[1] if len(shapes) > 1 else None, kwargs.get("cross_attn"))
        conds = super().extra_conds(**kwargs)
        conds["frame_rate"] = comfy.conds.CONDConstant(kwargs.get("frame_rate", self.variant.recipe.fps))
        conds["first_frame"] = comfy.conds.CONDConstant(kwargs.get("first_frame", 0))
        if self.variant.sound is not None:
            conds["latent_shapes"] = comfy.conds.CONDConstant(kwargs["latent_shapes"])
            conds["streams_with_known"] = comfy.conds.CONDConstant(_streams_with_known(kwargs))
        if kwargs.get("cross_attn") is not None:
            conds["c_crossattn"] = comfy.conds.CONDRegular(self._text(kwargs))
        if kwargs.get("pooled_output") is not None:
            conds["y"] = comfy.conds.CONDRegular(kwargs["pooled_output"])
        if kwargs.get("cross_attn") is not None and reads_padding(self.variant, kwargs):
            logging.warning("Atelier: %s", READS_PADDING.format(self.variant.name).replace("\n", " "))
        if kwargs.get("attention_mask") is not None:
            conds["attention_mask"] = comfy.conds.CONDRegular(kwargs["attention_mask"])
            conds["host_mask"] = HostMask(rows_of(kwargs["attention_mask"]))
        if self.variant.known_frames.clean and kwargs.get("denoise_mask") is not None:
            conds["denoise_mask"] = comfy.conds.CONDRegular(kwargs["denoise_mask"])
        if kwargs.get(RELAY) is not None:
            if not self.variant.text.relayed:
                raise ValueError(
                    f"{self.variant.name} cannot use Prompt Relay, which LTX Video can. Set 'flow' of Storyboard to "
                    "'windows'."
                )
            conds["relay"] = comfy.conds.CONDRegular(kwargs[RELAY])
        if kwargs.get(APPENDED) is not None:
            conds.update(_guide_conds(kwargs[APPENDED]))
        return conds

    def _text(self, given: dict[str, Any]) -> torch.Tensor:
        """The text as the network's `denoise` gets it."""
        return self.diffusion_model.prepared_text(given["cross_attn"], given)

    def concat_cond(self, **kwargs: Any) -> torch.Tensor | None:
        """The extra input channels with known frames or a control clip; None for a network without such channels."""
        noise, latent = kwargs["noise"], kwargs.get("latent_image")
        known = torch.zeros_like(noise) if latent is None else latent.expand_as(noise)
        whole = kwargs.get(IN_ONE_GO)
        clip = self._control(noise, kwargs.get(CONTROL)) if whole is None else self._as_long(whole, noise)
        channels = self.variant.known_frames.channels(known, kwargs.get("denoise_mask"), clip)
        return None if channels is None else channels.to(kwargs["device"])

    def _control(self, noise: torch.Tensor, control: torch.Tensor | None) -> torch.Tensor | None:
        """The control clip's latents, extended to the length of the noise."""
        if control is None:
            return None
        if not self.variant.known_frames.controlled:
            raise ValueError(NOT_CONTROLLED.format(self.variant.name))
        control = self._as_long(control, noise)
        if control.shape[1:] != noise.shape[1:]:
            raise ValueError(
                f"The control clip has latents {list(control.shape[1:])}, the shot {list(noise.shape[1:])} (channels, "
                "frames, height, width). Connect the same latent to Control Video and to the sampler."
            )
        return control

    def _as_long(self, clip: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Latents of a clip, extended to the length of the noise as `with_whole_tokens` extends it."""
        clip, lacking = clip.to(noise), noise.shape[2] - clip.shape[2]
        if self.variant.grid.whole_tokens:
            return torch.cat([clip] + [clip[:, :, -1:]] * lacking, dim=2)
        return torch.cat([clip[:, :, :1]] * lacking + [clip], dim=2)

    def process_timestep(
        self,
        timestep: torch.Tensor,
        denoise_mask: torch.Tensor | None = None,
        guide_levels: torch.Tensor | None = None,
        **conditions: Any,
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """The network's timesteps, 0..TIMESTEPS. guide_levels: [B, n], the highest levels of the last n tokens.

        With sound: that of the step, the picture's and the sound's.
        """
        if not self.family.levels:
            # Some of ComfyUI's ModelSampling nodes have timesteps from 0 to 1.
            timestep = timestep * (TIMESTEPS / getattr(self.model_sampling, "multiplier", 1.0))
        if self.variant.sound is not None:
            return timestep, *self._timesteps_of_streams(timestep, denoise_mask, **conditions)
        timesteps = self.variant.known_frames.timestep(timestep, denoise_mask)
        if guide_levels is None:
            return timesteps
        clip, guides = timesteps.tensor_split([timesteps.shape[1] - guide_levels.shape[1]], dim=1)
        return torch.cat([clip, guides.minimum(guide_levels.to(guides) * TIMESTEPS)], dim=1)

    def _timesteps_of_streams(
        self,
        timestep: torch.Tensor,
        mask: torch.Tensor | None,
        *,
        latent_shapes: list[Shape],
        streams_with_known: tuple[bool, ...],
        **_: Any,
    ) -> list[torch.Tensor]:
        masks: list[torch.Tensor | None] = [None] * len(latent_shapes)
        if mask is not None:
            rows = comfy.utils.unpack_latents(mask, latent_shapes)
            masks = [row if known else None for row, known in zip(rows, streams_with_known, strict=True)]
        return [self.variant.known_frames.timestep(timestep, mask) for mask in masks]

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
        """Denoised x at level t. For Context Windows, cut mask and channels to the window: older ComfyUI does not."""
        options, frames = self._unserved.taken_off(transformer_options or {}), x.shape[2]
        span = self.variant.grid.patch[0]
        if frames % span:
            raise ValueError(
                f"{self.variant.name} reads {span} latent frames as one token, but this clip has {frames}. In Context "
                f"Windows, set a context length and overlap that are multiples of {span}, and causal_window_fix off."
            )

        if "context_window" in options and "guide_places" in kwargs:
            raise ValueError(
                "Context Windows would cut off this clip's guides. Remove Context Windows or the guides (LTXVAddGuide)."
            )

        def cut(whole: torch.Tensor | None) -> torch.Tensor | None:
            fits = whole is None or whole.shape[2] in (1, frames)
            return whole if fits else options["context_window"].get_tensor(whole, dim=2)

        if kwargs.get("denoise_mask") is not None:
            kwargs["denoise_mask"] = cut(kwargs["denoise_mask"])
        with explaining(self.variant.name, self.diffusion_model):
            denoised = super()._apply_model(x, t, cut(c_concat), c_crossattn, control, options, **kwargs)
        if not self.family.levels:
            return denoised
        return torch.where(self._at_the_top(t), self._from_pure_noise(denoised, x, t, options), denoised)

    def of_no_prediction(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """What x at level sigma [B] is denoised to if the network predicts zeros."""
        if not self.family.levels:
            return x
        return torch.where(self._at_the_top(sigma), 0, x / (sigma.view(-1, 1, 1, 1, 1) ** 2 + 1))

    def _at_the_top(self, sigma: torch.Tensor) -> torch.Tensor:
        """Whether sigma [B] is the highest, [B, 1, 1, 1, 1] on its device: to ask it would make every step wait."""
        return (sigma >= self.model_sampling.sigma_max).view(-1, 1, 1, 1, 1)

    def _from_pure_noise(
        self, denoised: torch.Tensor, x: torch.Tensor, sigma: torch.Tensor, options: dict[str, Any]
    ) -> torch.Tensor:
        """The denoised clip, corrected so that a step from the highest sigma equals a step from pure noise.

        Pure noise has an infinite sigma. There, v-prediction returns the denoised clip without any of x, and a step to
        sigma' leads to denoised + sigma' * noise. A sampler's step from sigma to sigma' covers (1 - sigma' / sigma) of
        the way, so the denoised clip is divided by that.
        """
        sigma = sigma.view(-1, 1, 1, 1, 1)
        levels = options.get("sample_sigmas", sigma).flatten().to(sigma.device)
        following = torch.where(levels < sigma.min(), levels, 0).max()
        return (denoised - x / (sigma**2 + 1)) / (1 - following / sigma)

    def scale_latent_inpaint(
        self, *, sigma: torch.Tensor, noise: torch.Tensor, latent_image: torch.Tensor, **kwargs: Any
    ):
        """What replaces known frames at a step of level sigma: clean latents, or re-noised ones."""
        if self.variant.known_frames.clean:
            return latent_image
        return super().scale_latent_inpaint(sigma=sigma, noise=noise, latent_image=latent_image, **kwargs)

    def _check(self, shape: Shape, sound: Shape | None, text: torch.Tensor | None) -> None:
        """Raises ValueError in words for what would be a shape error deep in the network.

        shape, sound: those of the latent's picture, and of its sound if it has any.
        """
        channels, width = self.variant.grid.channels, self.variant.text.channels
        if len(shape) != 5 or shape[1] != channels:
            raise ValueError(
                f"This latent has shape {list(shape)}, but {self.variant.name} samples video latents with "
                f"{channels} channels [batch, channels, frames, height, width]. It belongs to another model. Create it "
                "with Empty Video Latent from this model, or encode with this model's VAE."
            )
        expected = self.variant.sound
        if expected and sound is None:
            raise ValueError(NO_SOUND.format(self.variant.name))
        if expected and (len(sound) != 4 or (sound[1], sound[3]) != (expected.channels, expected.bins)):
            raise ValueError(
                f"The sound of this latent has shape {list(sound)}, but {self.variant.name} samples sound latents "
                f"[batch, {expected.channels}, length, {expected.bins}]. It belongs to another model. Create it with "
                "Empty Video Latent from this model."
            )
        if any(side % self.variant.grid.patch[1] for side in shape[3:]):
            raise ValueError(
                f"This latent is {shape[4]} x {shape[3]} latent pixels, but {self.variant.name} needs "
                f"multiples of {self.variant.grid.patch[1]}: clips whose width and height are multiples of "
                f"{self.variant.grid.legal_side(1)} pixels."
            )
        if text is not None and text.shape[-1] not in (width, *self.diffusion_model.text_widths):
            raise ValueError(
                f"This conditioning is {text.shape[-1]} wide, but {self.variant.name} reads text {width} wide. It "
                "comes from another model's text encoder: encode the prompt with the CLIP of the same Load Video Model "
                "node."
            )


def _guide_conds(appended: Appended) -> dict[str, comfy.conds.CONDRegular]:
    """The network's inputs about the guides' tokens, each with a batch dimension."""
    read = appended.read
    inputs = {
        "guide_places": appended.places,
        "guide_ends": appended.ends,
        "guide_read": None if read is None else read[None],
        "guide_weights": appended.weights,
        "guide_levels": None if appended.levels is None else appended.levels.flatten(1),
    }
    return {name: comfy.conds.CONDRegular(tensor) for name, tensor in inputs.items() if tensor is not None}


def video_model(model: comfy.model_patcher.ModelPatcher) -> VideoModel:
    """The VideoModel inside a MODEL. Raises ValueError if another loader made it."""
    if not isinstance(model.model, VideoModel):
        raise ValueError(
            f"This MODEL ({type(model.model).__name__}) was not loaded by Load Video Model, so its legal sizes and "
            "schedule are unknown. Load it with Load Video Model, or use ComfyUI's own nodes for it."
        )
    return model.model


def _streams_with_known(given: dict[str, Any]) -> tuple[bool, ...]:
    """Which streams have known parts. Asked once before sampling: at a step, the device would be waited for."""
    mask, shapes = given.get("denoise_mask"), given["latent_shapes"]
    if mask is None:
        return (False,) * len(shapes)
    return tuple(bool((row < 1).any()) for row in comfy.utils.unpack_latents(mask, shapes))


def _model_config(family: Family, variant: Variant) -> comfy.supported_models_base.BASE:
    recipe, grid = variant.recipe, variant.grid
    shift = variant.scheduler.get("shift", 1.0)
    if variant.scheduler.get("use_dynamic_shifting"):
        # For ComfyUI's own schedulers, which do not know the token count: the shift at the recommended size.
        shift = math.exp(
            shift_of_tokens(
                variant.scheduler, math.prod(grid.latent_shape(recipe.width, recipe.height, recipe.frames)[2:])
            )
        )

    class Config(comfy.supported_models_base.BASE):
        unet_config = {"disable_unet_model_creation": True}
        sampling_settings = {"shift": shift, "multiplier": TIMESTEPS}
        latent_format = latent_format_of(family, variant)
        # Picture and sound are sampled as one row, in which every number counts as a latent pixel.
        memory_usage_factor = usage_factor(variant) / (grid.channels if variant.sound else 1)

    return Config(Config.unet_config)
