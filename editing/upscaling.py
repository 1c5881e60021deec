"""Upscales a clip as latents, to a larger size or twice its frames, with everything that its LATENT carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ..models.bridge.upscaler import check_family, network_of, reads_enlarged, upscale
from ..models.contract.family import Variant
from ..models.contract.guidance import SecondPass
from ..models.timeline.keyframes import Keyframe, over, with_keyframes
from ..models.timeline.latent import (
    CUTS,
    KEYFRAMES,
    finished,
    frame_rate_of,
    mask_of,
    sound_mask_of,
    sound_of,
    sound_rate_of,
    with_mask,
    with_streams,
)

if TYPE_CHECKING:
    import comfy.sd


def upscaled(latent: dict, upscale_model: Any, vae: comfy.sd.VAE, adain: float, tone_map: float, largest: int) -> dict:
    """The clip at a larger width and height, or with twice its frame rate, depending on the upscale model.

    Its mask and cuts are carried along, and its sound stays as it is. largest: the most pixels of a side. Raises
    ValueError for a clip that the upscale model cannot read, of one latent frame for a temporal one, or that would
    become too large.
    """
    samples = finished(latent)
    _check(latent, samples, upscale_model, vae, largest)
    made = upscale(upscale_model, vae, samples, adain, tone_map)
    longer, larger = made.shape[2] != samples.shape[2], dict(latent)
    if longer:
        larger["frame_rate"] = 2 * frame_rate_of(latent)
    if longer and CUTS in latent:
        larger[CUTS] = [2 * cut - 1 for cut in latent[CUTS]]
    sound, sound_mask = sound_of(latent["samples"]), None
    if sound is not None:
        sound, sound_mask = _sound(larger, vae.upscale_ratio[0](made.shape[2]) if longer else 0)
    larger["samples"] = with_streams(latent["samples"], made, sound)
    if "noise_mask" in latent:
        larger = with_mask(larger, _mask_like(mask_of(latent), made), sound_mask)
    if latent.get(KEYFRAMES):
        mask, count = mask_of(larger), 2 if longer else 1
        keyframes = [
            _keyframe(each, count, lambda clip: upscale(upscale_model, vae, clip, adain, tone_map))
            for each in latent[KEYFRAMES]
        ]
        return with_keyframes(larger, over(keyframes, made, mask))
    return larger


def as_published(variant: Variant | None, adain: float, tone_map: float) -> tuple[float, float, list[str]]:
    """`adain` and `tone_map` for `upscaled`, where a value below 0 is that of a variant's authors; and notes on these.

    Raises ValueError for such a value without a variant.
    """
    if adain >= 0 and tone_map >= 0:
        return adain, tone_map, []
    if variant is None:
        raise ValueError(
            "A value of -1 is the one that the model's authors publish. Connect the MODEL of Load Video Model to "
            "'model', or write values from 0 to 1."
        )
    published = variant.second_pass or SecondPass(())
    note = f"AdaIN {published.adain:g}, tone map {published.tone_map:g}, as published"
    if variant.second_pass is None:
        note = f"{variant.name} was published without a second pass: AdaIN 1, no tone map"
    adain, tone_map = (published.adain if adain < 0 else adain), (published.tone_map if tone_map < 0 else tone_map)
    return adain, tone_map, [note]


def _check(latent: dict, samples: torch.Tensor, upscale_model: Any, vae: comfy.sd.VAE, largest: int) -> None:
    """Raise ValueError for a clip that cannot be upscaled."""
    network = network_of(upscale_model)
    check_family(upscale_model, vae)
    if samples.shape[1] != network.in_channels:
        raise ValueError(
            f"This latent has {samples.shape[1]} channels, but the upscale model reads {network.in_channels}. It "
            "upscales clips of LTX-2, or of LTX Video 0.9.5 or later: connect the latent and the VAE of such a model."
        )
    if not reads_enlarged(vae):
        raise ValueError(
            "This VAE is that of LTX Video 0.9.0 or 0.9.1, whose latents the upscalers do not read. Connect the latent "
            "and the VAE of LTX Video 0.9.5 or later."
        )
    if network.temporal_upsample and samples.shape[2] < 2:
        raise ValueError(
            "This latent is a single frame, and a temporal upscaler makes frames between frames. Connect a clip, or "
            "use a spatial upscaler."
        )
    scale = network.spatial_scale if network.spatial_upsample else 1
    side = round(vae.upscale_ratio[1] * max(samples.shape[3:]) * scale)
    if side > largest:
        raise ValueError(
            f"The upscaled clip would be {side} pixels on its longer side; the most is {largest}. Make the first pass "
            "smaller."
        )


def _sound(latent: dict, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The sound of a LATENT and its mask. frames: cut to the sound of so many frames at its frame rate; 0: as it is."""
    sound, mask = sound_of(latent["samples"]), sound_mask_of(latent)
    end = round(frames / frame_rate_of(latent) * sound_rate_of(latent)) if frames else sound.shape[2]
    return sound[:, :, :end], mask[:, :, :end]


def _keyframe(keyframe: Keyframe, count: int, upscaled: Callable[[torch.Tensor], torch.Tensor]) -> Keyframe:
    """A keyframe of the upscaled clip, which has `count` latent frames for each after the first; a still stays one."""
    latents = keyframe.latents
    still = latents.shape[2] == 1 and count > 1
    start, end = (count * (at - 1) + 1 for at in (keyframe.start, keyframe.end))
    frame = None if keyframe.frame is None else count * keyframe.frame
    return replace(keyframe, latents=latents if still else upscaled(latents), start=start, end=end, frame=frame)


def _mask_like(mask: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """A mask [B, 1, T, h, w] for the upscaled latents: each value is repeated. The first latent frame stays one."""
    if made.shape[2] != mask.shape[2]:
        mask = mask.repeat_interleave(2, dim=2)[:, :, 1:]
    for dim in (3, 4):
        had, has = mask.shape[dim], made.shape[dim]
        mask = mask.index_select(dim, torch.arange(has) * had // has)
    return mask
