"""Decodes a LATENT to frames: each scene by itself, and a loop as a circle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from ..models.bridge.vae import decode_sound, decode_stream, encode, frames_of, vae_grid
from ..models.contract.grid import Grid
from ..models.timeline.latent import (
    CUTS,
    LOOP,
    PLACED,
    frame_rate_of,
    length,
    picture_of,
    sound_of,
    sound_rate_of,
)
from ..models.timeline.openings import openings_of
from ..models.timeline.sound import Stretch, edited
from ..models.weights.errors import CheckpointError
from .placed_sound import as_long, with_placed

if TYPE_CHECKING:
    import comfy.sd

DECODED = 4
"""Latent frames of context that a decoder gets on either side of a frame that is needed."""


def frames(vae: comfy.sd.VAE, latent: dict) -> Iterator[torch.Tensor]:
    """A LATENT's frames as chunks [f, H, W, 3] in 0..1, clip after clip.

    A loop is decoded as a circle, with its last latent frames before its first and its first after its last, because a
    decoder's frame depends on its neighbours on both sides.
    """
    samples = picture_of(latent)
    if LOOP not in latent:
        yield from scenes_apart(vae, samples, latent.get(CUTS, ()))
        return
    grid, turn = vae_grid(vae), samples[:, :, 1:]
    context = min(DECODED, turn.shape[2])
    around = torch.cat([samples[:, :, :1], turn[:, :, -context:], turn, turn[:, :, :context]], dim=2)
    first = grid.temporal * context + latent[LOOP]
    for clip in around.split(1):
        yield from _between(decode_stream(vae, clip), first, first + length(latent, grid))


def sound(vae: comfy.sd.VAE, latent: dict) -> dict | None:
    """A LATENT's sound as ComfyUI's AUDIO, exactly as long as its frames, clip after clip; None if it has no sound.

    Where a placed sound was kept, it is heard as it was given. A decoder's sound ends up to 30 ms before the picture,
    where silence follows. A loop is decoded twice in a row, and the second time is taken, because what a decoder makes
    depends on what came before.
    """
    latents, placed, skipped = sound_of(latent["samples"]), latent.get(PLACED, ()), 0
    if latents is None:
        return None
    frame_rate, shown = frame_rate_of(latent), vae_grid(vae).frames(picture_of(latent).shape[2])
    if LOOP in latent:
        turn = Stretch(shown - 1, 1)
        thrice, skipped = edited([latent], [turn, turn, turn]), turn.frames + latent[LOOP] - 1
        latents, placed, shown = thrice.latents, thrice.placed, length(latent, vae_grid(vae))
    waves, rate = with_placed(latents, sound_rate_of(latent), placed, lambda: decode_sound(vae, latents))
    first, count = round(skipped / frame_rate * rate), round(shown / frame_rate * rate)
    waves = as_long(waves[..., first:], count)
    return {"waveform": torch.cat(list(waves), dim=-1)[None], "sample_rate": rate}


def scenes_apart(vae: comfy.sd.VAE, samples: torch.Tensor, cuts: Sequence[int]) -> Iterator[torch.Tensor]:
    """The frames of clips [B, C, T, h, w], each scene decoded by itself: a decoder would mix both sides of a cut."""
    if not cuts:
        yield from decode_stream(vae, samples)
        return
    openings = openings_of(samples)
    for number, clip in enumerate(samples.split(1)):
        for start, scene, shown in scenes(clip, cuts, vae_grid(vae)):
            if shown.start:
                opening = openings[start][number, None] if start in openings else before(vae, scene)
                scene = torch.cat([opening.to(scene), scene[:, :, 1:]], dim=2)
            yield from _between(decode_stream(vae, scene), shown.start, shown.stop)


def scenes(clip: torch.Tensor, cuts: Sequence[int], grid: Grid) -> Iterator[tuple[int, torch.Tensor, range]]:
    """The scenes of a clip [B, C, T, h, w]: their first latent frames, themselves as clips for the decoder, and the
    ranges of these clips' frames to show.

    The first latent frame of a clip stands for a single frame, so a later scene gets its first latent frame twice.
    """
    inner = sorted({cut for cut in cuts if 0 < cut < clip.shape[2]})
    for start, end in pairwise([0, *inner, clip.shape[2]]):
        scene, lead = clip[:, :, start:end], int(start > 0)
        count = lead + end - start
        padded = [scene[:, :, :1]] * lead + [scene] + [scene[:, :, -1:]] * (-(count - 1) % grid.group)
        yield start, torch.cat(padded, dim=2), range(lead, grid.frames(count))


def before(vae: comfy.sd.VAE, scene: torch.Tensor) -> torch.Tensor:
    """What to put before a later scene whose opening is not known: its first frame, encoded as a picture.

    scene: with its first latent frame twice. A decoder reads a clip's first latent frame as a single frame. What it
    makes of one that stands for several is not what comes before, and the next frame suffers. With the picture it is
    nearer to what was encoded, by the median of ten real clips from each family's pocket model: .1 dB for LTX, .3 for
    CogVideoX, .4 for Mochi, 1.1 for Pyramid Flow. If the VAE has no encoder, the first latent frame remains.
    """
    first = frames_of(vae, scene[:, :, : 1 + vae_grid(vae).group])[:, 1:2]
    try:
        return encode(vae, first)
    except CheckpointError:
        return scene[:, :, :1]


def _between(chunks: Iterator[torch.Tensor], first: int, end: int) -> Iterator[torch.Tensor]:
    """Frames `first` to `end` - 1 of chunks [f, H, W, 3]."""
    place = 0
    for chunk in chunks:
        if place + len(chunk) > first:
            yield chunk[max(0, first - place) : end - place]
        place += len(chunk)
        if place >= end:
            return
