"""Sample a shot with Pyramid Flow's own sampler: map its steps, guidance and mask, and warn of what it cannot do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from ...contract.family import Variant
from . import sampler
from .autoencoder import GRID
from .known_frames import frames_to_make
from .network import OPTION, StageContext


def settings(steps: int, guidance: float) -> sampler.Settings:
    """Per-stage steps and guidance from the node's two numbers, which are those of the frames after the first.

    The first frame gets twice the steps, and stronger guidance as with the authors: 7 where the others get 5, and none
    where the others get none (1).
    """
    return sampler.Settings((2 * steps,) * 3, (steps,) * 3, 1 + 1.5 * (guidance - 1), guidance)


def sample_shot(
    variant: Variant,
    prepare: Callable[[int, float, dict[str, Any]], sampler.Velocity],
    noise: torch.Tensor,
    known: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    steps: int,
    guidance: float,
    seed: int,
    callback: Callable[[sampler.Progress], None],
) -> torch.Tensor:
    """Fill the holes of a shot: latents [B, C, T, h, w] from noise of that shape, frame by frame.

    prepare(frame, guidance, options) -> the guided network with the frame's prompts and with `options` in its
    transformer_options. known, mask: as in LATENT, mask [B, 1 or C, T, h, w] or None. `frames_to_make` tells which
    frames are kept, as history for those after them; what it cannot follow of a mask is not said here, but by
    `History.unmet`. Raises ValueError if the image model gets more than one frame.
    """
    _check_length(variant, noise.shape[2])
    if mask is None and known.any():
        logging.warning(
            "Atelier: %s generates a clip frame by frame and cannot change a given one: it generates a new clip. Keep "
            "frames with Place Frames.",
            variant.name,
        )
    logging.info(
        "Atelier: %s takes %d steps at each of its %d resolutions for every latent frame, twice as many for the first "
        "one. It has its own sampler and schedule: the chosen sampler, scheduler and denoise are not used.",
        variant.name,
        steps,
        len(sampler.STAGES),
    )
    chosen = settings(steps, guidance)
    make = None if mask is None else frames_to_make(mask)

    def prepare_stage(frame: int, history: list[torch.Tensor], shape: torch.Size) -> sampler.Velocity:
        return prepare(frame, chosen.guidance_of(frame), {OPTION: StageContext(history)})

    # Not the seed of the shot's noise, which would repeat the first values of that noise.
    block_noise = sampler.seeded_block_noise(seed ^ 1)
    return sampler.sample(prepare_stage, noise, chosen, block_noise, known, make, callback)


def _check_length(variant: Variant, frames: int) -> None:
    trained = variant.scheduler["trained_frames"]
    if frames > trained == 1:
        raise ValueError(
            f"{variant.name} makes single pictures, but this latent has {frames} frames. Set frames to 1, or load a "
            "video model (384p, 768p)."
        )
    if frames > trained:
        logging.warning(
            "Atelier: %s was trained on clips of up to %d frames. This one has %d: the later frames may drift.",
            variant.name,
            GRID.frames(trained),
            GRID.frames(frames),
        )
