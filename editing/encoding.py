"""Encodes footage into a model's LATENT, at a size and length that the model can take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..media import read
from ..media.sound import Repairs, Sound
from ..models.bridge.vae import encode_sound, encode_stream, sound_grid, two_streams, vae_grid
from ..models.timeline.latent import PLACED
from ..models.timeline.sound import PlacedSound

if TYPE_CHECKING:
    import comfy.sd


@dataclass(frozen=True)
class Encoded:
    """The LATENT of a clip.

    asked, size: (width, height) in pixels, as requested and as encoded. given, count: frames of the clip, and how many
    of them are encoded. rate: frames per second.
    """

    latent: dict
    asked: tuple[int, int]
    size: tuple[int, int]
    given: int
    count: int
    rate: Fraction


def encode_clip(
    vae: comfy.sd.VAE,
    clip: read.Clip,
    start: float,
    end: float,
    width: int,
    height: int,
    fit: str,
    rate: Fraction,
) -> Encoded:
    """Encode the clip from `start` to `end` seconds, piece by piece.

    width, height: pixels; 0 for one keeps the aspect ratio, 0 for both the clip's size. fit: one of read.FITS. The size
    moves to the nearest that the model can take, the length to the longest.
    """
    grid, wanted = vae_grid(vae), read.frames_at(clip, rate, start, end)
    asked = _sides(clip, width, height)
    size = (grid.legal_side(asked[0]), grid.legal_side(asked[1]))
    count = grid.legal_frames(len(wanted))
    count -= grid.temporal * grid.group if count > len(wanted) else 0
    samples = encode_stream(vae, partial(read.read, clip, wanted[:count], size, fit), size[::-1], count)
    latent = {"samples": samples, "frame_rate": float(rate)}
    sounds = sound_grid(vae)
    if sounds is not None:
        heard = clip.sound(start, start + float(count / rate))
        waves, samples_per_second = (waves_of(heard), heard.rate) if heard else (torch.zeros(1, 1, 1), SILENT_RATE)
        sound = encode_sound(vae, waves, samples_per_second, sounds.length(count, float(rate)))
        latent |= {"samples": two_streams(samples, sound), "sound_rate": sounds.per_second}
        if heard:
            latent[PLACED] = (PlacedSound(waves, samples_per_second, sound, 0, 0.0),)
    return Encoded(latent, asked, size, len(wanted), count, rate)


SILENT_RATE = 16_000
"""Samples per second of the silence that is encoded for a clip without sound."""


def waves_of(sound: Sound, repairs: Repairs | None = None) -> torch.Tensor:
    """A sound as waves [1, 1 or 2 channels, samples]. More channels are mixed to stereo, as players do.

    repairs: cleans its samples and counts what was changed.
    """
    clean = replace(sound, blocks=partial(_repaired, sound, repairs or Repairs()))
    if sound.channels > STEREO:
        clean = clean.converted(sound.rate, STEREO)
    blocks = [torch.from_numpy(np.ascontiguousarray(block)) for block in clean.blocks()]
    return (torch.cat(blocks, dim=1) if blocks else torch.zeros(clean.channels, 1))[None]


STEREO = 2


def _repaired(sound: Sound, repairs: Repairs) -> Iterator[np.ndarray]:
    yield from map(repairs, sound.blocks())


def _sides(clip: read.Clip, width: int, height: int) -> tuple[int, int]:
    """Width and height; 0 for one keeps the aspect ratio, 0 for both the clip's size."""
    wide = width or (round(height * clip.width / clip.height) if height else clip.width)
    high = height or (round(width * clip.height / clip.width) if width else clip.height)
    return wide, high
