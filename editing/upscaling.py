"""Upscales a clip as latents, to twice its size or twice its frames, with everything that its LATENT carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ..models.bridge.upscaler import network_of, upscale
from ..models.timeline.keyframes import Keyframe, over
from ..models.timeline.latent import CUTS, KEYFRAMES, finished, frame_rate_of, mask_of, sound_of

if TYPE_CHECKING:
    import comfy.sd


def upscaled(latent: dict, upscale_model: Any, vae: comfy.sd.VAE, adain: float, tone_map: float, largest: int) -> dict:
    """The clip at twice its width and height, or with twice its frame rate, depending on the upscale model.

    Its mask and cuts are carried along. largest: the most pixels of a side. Raises ValueError for a clip that the
    upscale model cannot read, of one latent frame for a temporal one, or that would become too large.
    """
    samples, network = finished(latent), network_of(upscale_model)
    if sound_of(latent["samples"]) is not None:
        raise ValueError(
            "This latent has sound, so it is of LTX-2, whose upscalers are not supported yet. Sample it at the size "
            "that you want (Empty Video Latent)."
        )
    if samples.shape[1] != network.in_channels:
        raise ValueError(
            f"This latent has {samples.shape[1]} channels, but the upscale model reads {network.in_channels}. It "
            "upscales clips of LTX Video 0.9.5 or later: connect the latent and the VAE of such a model."
        )
    if network.temporal_upsample and samples.shape[2] < 2:
        raise ValueError(
            "This latent is a single frame, and a temporal upscaler makes frames between frames. Connect a clip, or "
            "use a spatial upscaler."
        )
    side = vae.upscale_ratio[1] * max(samples.shape[3:]) * (2 if network.spatial_upsample else 1)
    if side > largest:
        raise ValueError(
            f"The upscaled clip would be {side} pixels on its longer side; the most is {largest}. Make the first pass "
            "smaller."
        )
    made = upscale(upscale_model, vae, samples, adain, tone_map)
    changes: dict[str, Any] = {"samples": made}
    longer = made.shape[2] != samples.shape[2]
    if longer:
        changes["frame_rate"] = 2 * frame_rate_of(latent)
    if longer and CUTS in latent:
        changes[CUTS] = [2 * cut - 1 for cut in latent[CUTS]]
    if "noise_mask" in latent:
        changes["noise_mask"] = _mask_like(mask_of(latent), made)
    if latent.get(KEYFRAMES):
        mask, count = mask_of({**latent, **changes}), 2 if longer else 1
        larger = [
            _keyframe(each, count, lambda clip: upscale(upscale_model, vae, clip, adain, tone_map))
            for each in latent[KEYFRAMES]
        ]
        changes[KEYFRAMES] = over(larger, made, mask)
    return {**latent, **changes}


def _keyframe(keyframe: Keyframe, count: int, upscaled: Callable[[torch.Tensor], torch.Tensor]) -> Keyframe:
    """A keyframe of the upscaled clip, which has `count` latent frames for each after the first; a still stays one."""
    latents = keyframe.latents
    still = latents.shape[2] == 1 and count > 1
    start, end = (count * (at - 1) + 1 for at in (keyframe.start, keyframe.end))
    frame = None if keyframe.frame is None else count * keyframe.frame
    return replace(keyframe, latents=latents if still else upscaled(latents), start=start, end=end, frame=frame)


def _mask_like(mask: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """A mask [B, 1, T, h, w] for the upscaled latents: each value is repeated. The first latent frame stays one."""
    for dim, (had, has) in enumerate(zip(mask.shape[2:], made.shape[2:], strict=True), 2):
        if had != has:
            mask = mask.repeat_interleave(2, dim=dim)
    return mask[:, :, mask.shape[2] - made.shape[2] :]
