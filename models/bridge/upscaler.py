"""A latent upscaler as ComfyUI's LATENT_UPSCALE_MODEL: a patcher around a network of raw latents, run on its device."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import comfy.model_management as memory
import comfy.model_patcher
import torch

from .job import check_finite
from .patcher import patcher_class
from .weights import bring_along, uncast

if TYPE_CHECKING:
    import comfy.sd

COPIES = 8
"""Roughly how many times an upscaled clip's features are in memory at once."""


class LatentUpscaler(torch.nn.Module):
    """diffusers' upscaler of raw latents under the names that ComfyUI's LTXVLatentUpsampler and its patcher read.

    spatial_scale: how many times larger it makes width and height, if it does. latents_of: the family whose latents
    it reads.
    """

    def __init__(self, network: torch.nn.Module, spatial_scale: float, latents_of: str) -> None:
        super().__init__()
        self.network, self.spatial_scale, self.latents_of = network, spatial_scale, latents_of
        self.in_channels, self.mid_channels = network.config.in_channels, network.config.mid_channels
        self.spatial_upsample = network.config.spatial_upsample
        self.temporal_upsample = network.config.temporal_upsample

    def get_dtype(self) -> torch.dtype:
        return self.network.initial_conv.weight.dtype

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Raw latents [B, C, T, h, w] -> [B, C, T or 2T - 1, h or h * scale, w or w * scale]."""
        return self.network(latents)


def upscaler_dtype() -> torch.dtype:
    """The dtype in which upscalers compute: the VAE's, as in ComfyUI's own loader."""
    return memory.vae_dtype(memory.get_torch_device(), [torch.bfloat16, torch.float32])


def make_upscaler(network: torch.nn.Module) -> comfy.model_patcher.ModelPatcher:
    """The LATENT_UPSCALE_MODEL of a network, which ComfyUI's LTXVLatentUpsampler can use too.

    network: a LatentUpscaler.
    """
    device, offload = memory.get_torch_device(), memory.unet_offload_device()
    return patcher_class()(network, load_device=device, offload_device=offload)


def network_of(upscale_model: Any) -> torch.nn.Module:
    """The network of a LATENT_UPSCALE_MODEL. Raises ValueError if it is another model's, such as HunyuanVideo's."""
    network = getattr(upscale_model, "model", None)
    if not isinstance(network, torch.nn.Module) or not hasattr(network, "temporal_upsample"):
        raise ValueError(
            f"This upscale model ({type(upscale_model).__name__}) is not one of LTX Video or LTX-2. Load one with Load "
            "Video Upscale Model, for example ltxv-spatial-upscaler-0.9.8.safetensors."
        )
    return network


def statistics_of(vae: comfy.sd.VAE) -> Any:
    """`normalize` and `un_normalize` of a VAE's latents, of our loader's or ComfyUI's. Raises ValueError without."""
    statistics = getattr(vae.first_stage_model, "per_channel_statistics", None)
    if statistics is None:
        raise ValueError(
            "This VAE has no statistics of its latents, so it is not one of LTX Video or LTX-2. Upscaling in latents "
            "is only possible with LTX-2, and with LTX Video 0.9.5 or later: connect that model's VAE."
        )
    return statistics


def check_family(upscale_model: Any, vae: comfy.sd.VAE) -> None:
    """Raise ValueError for an upscale model and a VAE of our loaders that are of two families."""
    reads = getattr(network_of(upscale_model), "latents_of", "")
    given = getattr(getattr(vae.first_stage_model, "autoencoder", None), "latents_of", "")
    if reads and given and reads != given:
        raise ValueError(
            f"This upscale model reads latents of {reads}, but the VAE is one of {given}: the clip would be noise. "
            f"Load an upscale model of {given}."
        )


def reads_enlarged(vae: comfy.sd.VAE) -> bool:
    """Whether a VAE's latents are those that upscalers read, of 0.9.5 and later; True if ComfyUI's does not say."""
    autoencoder = getattr(vae.first_stage_model, "autoencoder", None)
    return getattr(autoencoder, "keyframes", True)


def upscale(
    upscale_model: Any, vae: comfy.sd.VAE, samples: torch.Tensor, adain: float, tone_map: float
) -> torch.Tensor:
    """Latents [B, C, T, h, w] -> upscaled ones, on ComfyUI's intermediate device.

    adain: how far each channel's mean and deviation are set to those of the given clip (0..1). tone_map: how much
    values far from 0 are compressed (0..1). Both act on raw latents, as in diffusers' LTXLatentUpsamplePipeline.
    """
    network, statistics = network_of(upscale_model), statistics_of(vae)
    dtype, given = network.get_dtype(), samples.dtype
    features = getattr(network, "mid_channels", 512) * math.prod(samples.shape[2:]) * 4
    memory.load_models_gpu([upscale_model], memory_required=COPIES * len(samples) * features * dtype.itemsize)
    bring_along(uncast(network), upscale_model.load_device)
    with torch.no_grad():
        raw = statistics.un_normalize(samples.to(upscale_model.load_device, dtype))
        larger = network(raw)
        larger = tone_mapped(with_statistics_of(larger, raw, adain) if adain else larger, tone_map)
        made = statistics.normalize(larger).to(memory.intermediate_device(), given)
    check_finite(made, "The upscaler gave values that are not numbers (NaN): its file is damaged. Download it again.")
    return made


def with_statistics_of(latents: torch.Tensor, source: torch.Tensor, strength: float) -> torch.Tensor:
    """Adaptive instance normalisation: each clip's channels get the mean and deviation that they have in `source`.

    A channel without any deviation gets the mean alone.
    """
    deviation, mean = torch.std_mean(latents, dim=(2, 3, 4), keepdim=True)
    wanted_deviation, wanted_mean = torch.std_mean(source, dim=(2, 3, 4), keepdim=True)
    deviation = deviation.clamp_min(torch.finfo(latents.dtype).tiny)
    return torch.lerp(latents, (latents - mean) / deviation * wanted_deviation + wanted_mean, strength)


def tone_mapped(latents: torch.Tensor, compression: float) -> torch.Tensor:
    """Compress values far from 0 (compression 0..1; 0 changes nothing), as the authors do for 0.9.8."""
    if not compression:
        return latents
    scale = 0.75 * compression
    return latents * (1 - 0.8 * scale * torch.sigmoid(4 * scale * (latents.abs() - 1)))
