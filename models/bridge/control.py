"""A control clip that the whole shot follows: its conditioning, and whether a MODEL can follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..contract.grid import Grid
from ..contract.guides import Guide
from .vae import reads_keyframes, resized, vae_grid
from .video_model import CONTROL, GUIDES, IN_CONTEXT, NOT_CONTROLLED, REFERENCE, video_model

if TYPE_CHECKING:
    import comfy.model_patcher
    import comfy.sd


CROPPED = 0.05
"""The share of a control clip that may be cut off unsaid, as rounding to legal sizes does."""


def control(
    vae: comfy.sd.VAE, images: torch.Tensor, latent: dict, strength: float = 1.0, scale: int = 1
) -> dict[str, Any]:
    """The conditioning entry of a control clip: images [N, H, W, C], resized and encoded to match a LATENT.

    Images past its end are dropped. If there are too few, the last one is repeated. For networks that read clips
    beside the shot, it is a Guide over the whole shot: strength 1 keeps it clean, and its sides are `scale` times
    smaller than the shot's. Raises ValueError if these would not be whole latent pixels.
    """
    grid, samples = vae_grid(vae), latent["samples"]
    if any(side % scale for side in samples.shape[3:]):
        raise ValueError(
            f"The LoRA follows a control clip that is {scale} times smaller than the shot, whose latents are "
            f"{samples.shape[4]} x {samples.shape[3]}. Make the shot's width and height multiples of "
            f"{scale * grid.spatial} pixels."
        )
    height, width = (side // scale * grid.spatial for side in samples.shape[3:])
    chosen = torch.arange(grid.frames(samples.shape[2])).clamp(max=len(images) - 1)
    encoded = vae.encode(resized(images, width, height)[chosen])
    if reads_keyframes(vae):
        return {GUIDES: (Guide(encoded, 0, strength, scale),), REFERENCE: scale}
    return {CONTROL: encoded}


def reference_scale(model: comfy.model_patcher.ModelPatcher | None) -> int:
    """How many times smaller than the shot a control clip is to be for the IC-LoRA of a MODEL; 1 without a MODEL.

    Raises ValueError if the MODEL follows no control clip.
    """
    if model is None:
        return 1
    variant, scale = video_model(model).variant, model.get_attachment(IN_CONTEXT)
    if scale is None and not variant.known_frames.controlled:
        raise ValueError(NOT_CONTROLLED.format(variant.name))
    return scale or 1


def control_notes(
    control: dict[str, Any], images: torch.Tensor, latent: dict, strength: float, grid: Grid, size: tuple[int, int]
) -> list[str]:
    """What an artist may not expect of a control clip: its length, its shape, and a strength that has no effect.

    size: its own width and height.
    """
    notes, frames = [], grid.frames(latent["samples"].shape[2])
    shot = tuple(side * grid.spatial for side in latent["samples"].shape[:2:-1])
    if abs(size[0] * shot[1] / (size[1] * shot[0]) - 1) > CROPPED:
        sides = "sides are" if size[0] * shot[1] > size[1] * shot[0] else "top and bottom are"
        notes.append(f"the control clip is {size[0]} x {size[1]}, the shot {shot[0]} x {shot[1]}: its {sides} cut off")
    if len(images) != frames:
        used = f"the first {frames} are used" if len(images) > frames else "the last one is repeated"
        notes.append(f"the control clip has {len(images)} frames, the shot {frames}: {used}")
    if CONTROL in control and strength < 1:
        notes.append("strength changes nothing here: it is for IC-LoRAs of LTX Video and LTX-2")
    return notes
