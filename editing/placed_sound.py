"""The sound of a clip in which a sound was placed: there the sound as it was given, elsewhere what the VAE decodes.

Lightricks' pipeline for a given sound does the same: it is better than what an audio VAE gives back.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..models.timeline.latent import PLACED, sound_of, sound_rate_of
from ..models.timeline.sound import PlacedSound

FADE = 0.01
"""Seconds over which a given sound and a decoded one pass into each other."""


def with_placed(latent: dict, decoded: Callable[[], tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, int]:
    """The waves [B, 2, samples] of a LATENT's sound, and their samples per second.

    decoded: decodes it. It is not called for a sound that was given as a whole. The result has the rate of the given
    sound if that is higher.
    """
    sound = sound_of(latent["samples"])
    kept = [(placed, placed.kept(sound)) for placed in latent.get(PLACED, ())]
    kept = [(placed, where) for placed, where in kept if where.any()]
    if not kept:
        return decoded()
    rate, seconds = max(placed.rate for placed, _ in kept), sound.shape[2] / sound_rate_of(latent)
    if any(where.all() for _, where in kept):
        waves = torch.zeros(len(sound), 2, round(seconds * rate))
    else:
        waves, own = decoded()
        rate = max(rate, own)
        waves = as_long(_resampled(waves, own, rate), round(seconds * rate))
    for placed, where in kept:
        waves = _laid_over(waves, rate, placed, where, sound_rate_of(latent))
    return waves, rate


def as_long(waves: torch.Tensor, count: int) -> torch.Tensor:
    """Waves [..., samples] cut, or followed by silence, to `count` samples."""
    return torch.nn.functional.pad(waves[..., :count], (0, max(0, count - waves.shape[-1])))


def _laid_over(
    waves: torch.Tensor, rate: int, placed: PlacedSound, where: torch.Tensor, latents_per_second: float
) -> torch.Tensor:
    """Waves [B, 2, samples] with a placed sound where it was kept, [B, L], and faded at both ends of that."""
    total, first = waves.shape[-1], round(placed.start / latents_per_second * rate)
    given = _resampled(placed.waves, placed.rate, rate)[..., : total - first]
    at = (torch.arange(total) / rate * latents_per_second).long().clamp(max=where.shape[1] - 1)
    share = where[:, None, at].float()
    if not where.all():
        share[..., first + given.shape[-1] :] = 0.0
    half = round(rate * FADE / 2)
    share = torch.nn.functional.pad(share, (half, half), mode="replicate")
    share = torch.nn.functional.avg_pool1d(share, 2 * half + 1, stride=1)
    given = as_long(torch.nn.functional.pad(given, (first, 0)), total)
    return torch.lerp(waves, given.expand_as(waves), share)


def _resampled(waves: torch.Tensor, rate: int, wanted: int) -> torch.Tensor:
    if rate == wanted:
        return waves
    import torchaudio

    return torchaudio.functional.resample(waves, rate, wanted)
