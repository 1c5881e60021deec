"""Puts images and sound into a shot: encodes them, and writes them into its latent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..media.sound import Repairs, of_waveform
from ..models.bridge.vae import encode_sound, reads_keyframes, resized, vae_grid
from ..models.contract.grid import Grid
from ..models.timeline.keyframes import with_keyframe
from ..models.timeline.latent import (
    PLACED,
    SOUND_RATE,
    frame_rate_of,
    mask_of,
    picture_of,
    sound_mask_of,
    sound_of,
    sound_rate_of,
    with_mask,
    with_streams,
)
from ..models.timeline.placing import clip_for, place
from ..models.timeline.sound import PlacedSound
from .encoding import STEREO, waves_of

if TYPE_CHECKING:
    import comfy.sd


def place_images(
    vae: comfy.sd.VAE, latent: dict, images: torch.Tensor, start: int, frame: int, strength: float
) -> tuple[dict, int]:
    """The shot with images [N, H, W, 3] placed from latent frame `start` on, and the number of the latent frame after.

    frame: the frame of the shot that a single image is, from 0; a clip begins where a latent frame does. strength: 1
    keeps the images unchanged, 0 ignores them.
    """
    grid = vae_grid(vae)
    height, width = (side * grid.spatial for side in picture_of(latent).shape[3:])
    content = vae.encode(resized(images[clip_for(len(images), start, grid)], width, height))
    inside = content[:, :, min(start, 1) :]
    end = min(start + inside.shape[2], picture_of(latent).shape[2])
    placed = place(latent, inside, start, strength)
    single = len(images) == 1
    if start < (1 if single else 2) or not reads_keyframes(vae):
        return placed, end
    where = {"start": start, "frame": frame if single else None, "strength": strength}
    return with_keyframe(latent, placed, _as_keyframe(vae, content, images, (width, height), grid), end, **where), end


def _as_keyframe(
    vae: comfy.sd.VAE, content: torch.Tensor, images: torch.Tensor, size: tuple[int, int], grid: Grid
) -> torch.Tensor:
    """Images as a clip that begins with the first of them. content: as `clip_for` encodes them, one extra in front.

    The first latent frame of a clip depends on its first frame alone, so a single image is encoded already. Images too
    few for two latent frames keep the extra one.
    """
    if len(images) == 1:
        return content[:, :, :1]
    if len(images) <= grid.temporal:
        return content
    return vae.encode(resized(images[clip_for(len(images), 0, grid)], *size))


def place_sound(
    vae: comfy.sd.VAE, latent: dict, waveform: torch.Tensor, samples_per_second: int, time: float, strength: float
) -> tuple[dict, float, float, tuple[str, ...]]:
    """The shot with a sound from `time` seconds on, where it begins and ends in seconds, and notes on what was changed.

    waveform: [B or 1, channels, samples], as in AUDIO. It is cut where the shot ends. strength: 1 keeps it unchanged,
    and its own wave is in the decoded clip, not what the VAE makes of it; 0 ignores it. Raises ValueError for a shot
    without sound, and for a time after its end.
    """
    picture, sound, rate = picture_of(latent), sound_of(latent["samples"]), sound_rate_of(latent)
    if sound is None:
        raise ValueError(
            "This latent has no sound: its model makes none. Place Sound needs the Empty Video Latent of LTX-2. For "
            "other models, connect the sound to 'audio' of Decode Video."
        )
    _check_sound(waveform, samples_per_second, len(picture))
    start, seconds = round(time * rate), waveform.shape[-1] / samples_per_second
    total, length = sound.shape[2], seconds_of(latent, vae)
    if start >= total:
        raise ValueError(f"The sound is to begin at {time:g} s, but the shot ends at {length:.2f} s. Begin earlier.")
    count = min(total - start, max(1, round(seconds * rate)))
    repairs = Repairs()
    waves = torch.cat([waves_of(of_waveform(one, samples_per_second), repairs) for one in waveform])
    content = encode_sound(vae, waves, samples_per_second, count)
    new, mask = sound.clone(), sound_mask_of(latent)
    new[:, :, start : start + count] = content.to(new)
    mask[:, :, start : start + count] = 1.0 - strength
    placed = {**latent, "samples": with_streams(latent["samples"], picture, new)}
    if strength == 1:
        heard = waves[..., : round((count + 1) / rate * samples_per_second)]
        given = PlacedSound(heard, samples_per_second, content, start, start / rate)
        placed[PLACED] = (*latent.get(PLACED, ()), given)
    notes = _notes(waveform, samples_per_second, repairs, late=time + seconds - length)
    return with_mask(placed, mask_of(latent), mask), start / rate, (start + count) / rate, notes


SILENT = 1e-4
"""The peak below which a sound is silent: -80 dB."""
TRAINED_RATE = 16_000
"""Samples per second of the sounds that networks were trained on; more are filtered out."""


def _check_sound(waveform: torch.Tensor, samples_per_second: int, batch: int) -> None:
    """Raise ValueError for an AUDIO that cannot be placed in `batch` clips."""
    if not waveform.shape[-1]:
        raise ValueError("The sound is empty: it has no samples.")
    if samples_per_second <= 0:
        raise ValueError(f"The sound has {samples_per_second} samples a second, which is not a rate. Load it again.")
    if len(waveform) not in (1, batch):
        raise ValueError(
            f"There are {len(waveform)} sounds and {batch} clips. Connect one sound for all, or one for each clip."
        )


def _notes(waveform: torch.Tensor, samples_per_second: int, repairs: Repairs, late: float) -> tuple[str, ...]:
    """What an artist should know of a sound. late: the seconds of it behind the shot's end."""
    notes = [*repairs.notes]
    if late > 1 / SOUND_RATE:
        notes.append(f"its last {late:.2f} s are cut off: the shot ends")
    if repairs.peak < SILENT:
        notes.append("it is silent: the picture follows silence")
    if waveform.shape[1] > STEREO:
        notes.append(f"its {waveform.shape[1]} channels are mixed to two")
    if samples_per_second < TRAINED_RATE:
        limit = samples_per_second / 2000
        notes.append(f"it has {samples_per_second} samples a second, so nothing above {limit:g} kHz")
    return tuple(notes)


def seconds_of(latent: dict, vae: comfy.sd.VAE) -> float:
    """How long a clip is, in seconds."""
    return vae_grid(vae).frames(picture_of(latent).shape[2]) / frame_rate_of(latent)
