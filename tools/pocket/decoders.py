"""Trains decoders whose encoders are solved for: the loop that all families share."""

import copy
import functools
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pocket.optim import Muon
from pocket.training import Run, average, learning_rate
from pocket.world import clips

POOL = 1024  # clips that a decoder trains on
CHUNK = 64  # clips of a seed


class Examples(NamedTuple):
    """Clips [B, 3, T, H, W] in -1..1, or parts of them, and their clean latents; kind: a suffix of their figure's name.

    It has one if a step trains on whole clips or on parts, whose errors differ in size.
    """

    video: Tensor
    latents: Tensor
    kind: str = ""


class Plan(NamedTuple):
    """How a decoder trains. noise: of the latents at most; it makes the decoder robust to the transformer's errors."""

    noise: float
    lr: float
    adam_lr: float


class Pool:
    """The clips that a decoder trains on, and their latents: made when the first are drawn, kept in memory."""

    def __init__(self, encode: Callable[[Tensor], Tensor], **size: float) -> None:
        """encode: clips [B, 3, T, H, W] in -1..1 -> latents. size: as for `world.render`."""
        self._encode, self._size = encode, size

    def draw(self, rng: random.Random, count: int) -> Examples:
        """So many different clips."""
        video, latents = self._made
        chosen = rng.sample(range(len(video)), count)
        return Examples(video[chosen].float(), latents[chosen])

    @functools.cached_property
    def _made(self) -> tuple[Tensor, Tensor]:
        video = torch.cat([clips(CHUNK, seed, **self._size).video.half() for seed in range(POOL // CHUNK)])
        return video, torch.cat([self._encode(part.float()) for part in video.split(CHUNK)])


def loss_of(decode: Callable[[Tensor], Tensor], examples: Examples, noise: float) -> tuple[Tensor, Tensor]:
    """Training loss and squared error of clips that are decoded from their latents and a little noise."""
    strength = noise * torch.rand(len(examples.latents), 1, 1, 1, 1)
    error = decode(examples.latents + strength * torch.randn_like(examples.latents)) - examples.video
    return (error.abs() + 4 * error * error).mean(), error.detach().pow(2).mean()


def train(
    work: Path,
    minutes: float,
    part: nn.Module,
    decode: Callable[[Tensor], Tensor],
    draw: Callable[[random.Random], Examples],
    plan: Plan,
) -> None:
    """Trains `part`, through which `decode` leads from latents to pixels, and leaves the average in it."""
    mean = copy.deepcopy(part).requires_grad_(False)
    optimiser = Muon(part.parameters(), lr=plan.lr, adam_lr=plan.adam_lr)
    run = Run(work, "vae", minutes, part=part, mean=mean, optimiser=optimiser)
    for step in run:
        optimiser.scale_lr(learning_rate(run.fraction, step))
        examples = draw(run.rng)
        loss, error = loss_of(decode, examples, plan.noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average(mean, part, step, 0.99)
        run.record(loss=loss.item(), **{f"psnr{examples.kind}": 10 * math.log10(4 / error.item())})
    part.load_state_dict(mean.state_dict())
