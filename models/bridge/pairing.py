"""Pair a MODEL with its VAE: sampling and previews can then encode frames."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import comfy.model_patcher
import comfy.sd
import torch

from ..contract.known_frames import HOLES, LAST, STILL
from .vae import decode_stream, encode_stream, vae_grid
from .video_model import IN_ONE_GO

PIXEL_SEED = 4
"""Combined with the seed, so that the noise of known pixels differs from the clip's."""


def pair(patcher: comfy.model_patcher.ModelPatcher, vae: comfy.sd.VAE) -> comfy.model_patcher.ModelPatcher:
    """The MODEL, able to encode known frames and to fit preview colours with its VAE."""
    latent_format, known_frames = patcher.model.latent_format, patcher.model.variant.known_frames
    ways = {HOLES: partial(with_black_holes, noise=known_frames.noise), STILL: still, LAST: last_alone}
    if known_frames.encoded:
        patcher.set_attachments(IN_ONE_GO, partial(ways[known_frames.encoded], vae))
    latent_format.encode = vae.encode if latent_format.known is None else None
    patcher.cached_patcher_init = (_paired, (*patcher.cached_patcher_init, latent_format))
    return patcher


def _paired(factory: Callable, args: tuple, latent_format: Any, **options: Any) -> comfy.model_patcher.ModelPatcher:
    patcher = factory(*args, **options)
    patcher.model.latent_format = latent_format
    return patcher


def still(vae: comfy.sd.VAE, latents: torch.Tensor, mask: torch.Tensor, seed: int) -> torch.Tensor:
    """Latents [B, C, T, h, w] of clips that repeat the first frame of `latents`. `mask` and `seed` are not used."""
    grid = vae_grid(vae)
    count, size = grid.frames(latents.shape[2]), tuple(side * grid.spatial for side in latents.shape[3:])
    firsts = [torch.cat(list(decode_stream(vae, clip))) for clip in latents[:, :, :1].split(1)]
    return torch.cat([encode_stream(vae, partial(itertools.repeat, first, count), size, count) for first in firsts])


def last_alone(vae: comfy.sd.VAE, latents: torch.Tensor, mask: torch.Tensor, seed: int) -> torch.Tensor:
    """Latents [B, C, 1, h, w] of the last frame of each clip of `latents`, as a picture. `seed` is not used.

    A clip's last latent frame stands for several frames. It is decoded behind itself, as the end of a still clip, since
    the frames in front of it are not known.
    """
    ends = latents[:, :, -1:]
    if mask[:, :, -1:].eq(1).all():
        return ends
    behind_itself = ends.expand(-1, -1, 3, -1, -1).split(1)
    return torch.cat([vae.encode(list(decode_stream(vae, clip))[-1][-1:]) for clip in behind_itself])


def with_black_holes(
    vae: comfy.sd.VAE, latents: torch.Tensor, mask: torch.Tensor, seed: int, noise: float = 0.0
) -> torch.Tensor:
    """Decode the clips of `latents`, blacken them where mask [B, 1, T, h, w] is 1, and re-encode -> [B, C, T, h, w].

    The autoencoder codes several frames together, so blackening changes the latents of neighbouring frames too. noise:
    the standard deviation of the noise, from `seed`, that is added to pixels (-1..1) that are not black.
    """
    clips = zip(latents.split(1), mask.expand(len(latents), -1, -1, -1, -1).split(1), strict=True)
    grid = vae_grid(vae)
    count, size = grid.frames(latents.shape[2]), tuple(side * grid.spatial for side in latents.shape[3:])

    def encoded(number: int, clip: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
        def frames() -> Iterator[torch.Tensor]:
            # Seeded on each call, because an encoder may read the clip twice. The sampler's noise has another seed.
            generator = torch.Generator().manual_seed(((seed ^ PIXEL_SEED) + number) % 2**63)
            for part in _blackened(vae, clip, hole):
                added = torch.randn(part.shape, generator=generator).to(part) * (noise / 2) if noise else 0.0
                yield part + added * (part != 0)

        return encode_stream(vae, frames, size, count)

    return torch.cat([encoded(number, *clip) for number, clip in enumerate(clips)])


def _blackened(vae: comfy.sd.VAE, clip: torch.Tensor, hole: torch.Tensor) -> Iterator[torch.Tensor]:
    """Decoded frames [f, H, W, 3] of one clip, some at a time, with black holes."""
    grid, start = vae_grid(vae), 0
    for frames in decode_stream(vae, clip):
        at = -(-torch.arange(start, start + len(frames)) // grid.temporal)  # a latent frame ends with frame 4n
        kept = 1 - hole[0, 0, at].to(frames)
        for dim in (1, 2):
            kept = kept.repeat_interleave(grid.spatial, dim)
        yield frames * kept[..., None]
        start += len(frames)
