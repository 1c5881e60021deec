"""The sound of a clip of which a part is known as waves: there it is heard as it was given, elsewhere the VAE decodes.

Lightricks' pipeline for a given sound does the same: it is better than what an audio VAE gives back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..models.timeline.sound import PlacedSound

FADE = 0.01
"""Seconds over which a decoded sound passes into a given one, and back."""


def with_placed(
    sound: torch.Tensor,
    latents_per_second: float,
    placed: Sequence[PlacedSound],
    decoded: Callable[[], tuple[torch.Tensor, int]],
) -> tuple[torch.Tensor, int]:
    """The waves [B, 2, samples] of a clip's sound [B, C, L, bins], and their samples per second.

    decoded: decodes it. It is not called for a sound that is known as a whole. The result has the rate of the given
    sounds if that is higher.
    """
    kept = [(each, where) for each in placed if (where := each.kept(sound)).any()]
    if not kept:
        return decoded()
    rate, seconds = max(each.rate for each, _ in kept), sound.shape[2] / latents_per_second
    if torch.stack([where for _, where in kept]).any(dim=0).all():
        waves = torch.zeros(len(sound), 2, round(seconds * rate))
    else:
        waves, own = decoded()
        rate = max(rate, own)
        waves = as_long(_resampled(waves, own, rate), round(seconds * rate))
    given, known = torch.zeros_like(waves), torch.zeros_like(waves[:, :1], dtype=torch.bool)
    for each, where in kept:
        heard, here = _laid_out(each, where, waves.shape[-1], rate, latents_per_second)
        given, known = torch.where(here, heard, given), known | here
    return torch.lerp(waves, given, _faded(known, round(rate * FADE / 2))), rate


def as_long(waves: torch.Tensor, count: int) -> torch.Tensor:
    """Waves [..., samples] cut, or followed by silence, to `count` samples."""
    return torch.nn.functional.pad(waves[..., :count], (0, max(0, count - waves.shape[-1])))


def _laid_out(
    placed: PlacedSound, where: torch.Tensor, total: int, rate: int, latents_per_second: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """A given sound at its place among `total` samples, and at which of them it is heard, [B, 1, total].

    where: the latents that stand for it, [B, L]. It may begin and end within those beside them. After one that ends
    within the last latent, where the picture ends, silence is heard.
    """
    first = round(placed.begin * rate)
    given = _resampled(placed.waves, placed.rate, rate)[..., : max(0, total - first)]
    near = torch.nn.functional.max_pool1d(where[:, None].float(), 3, stride=1, padding=1) > 0
    at = (torch.arange(total) / rate * latents_per_second).long().clamp(max=where.shape[1] - 1)
    here = near[:, :, at]
    end = first + given.shape[-1]
    here[..., :first] = False
    if total - end > rate / latents_per_second:
        here[..., end:] = False
    return as_long(torch.nn.functional.pad(given, (first, 0)), total), here


def _faded(known: torch.Tensor, half: int) -> torch.Tensor:
    """The share of given sound, 0..1, which falls to 0 within what is known. The ends of the clip are not faded."""
    window = {"kernel_size": 2 * half + 1, "stride": 1}
    inside = -torch.nn.functional.max_pool1d(-_padded(known.float(), half), **window)
    return torch.nn.functional.avg_pool1d(_padded(inside, half), **window)


def _padded(share: torch.Tensor, half: int) -> torch.Tensor:
    return torch.nn.functional.pad(share, (half, half), mode="replicate")


def _resampled(waves: torch.Tensor, rate: int, wanted: int) -> torch.Tensor:
    if rate == wanted:
        return waves
    import torchaudio

    return torchaudio.functional.resample(waves, rate, wanted)
