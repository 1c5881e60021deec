"""Sample a video with Pyramid Flow: each frame from the earlier ones, and each frame stage by stage.

These are plain functions from tensors to tensors. `prepare` supplies the network, `noise` and `block_noise` supply the
random numbers, and `callback` reports progress and may cancel. Source: arXiv 2410.05954, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch.nn.functional import avg_pool3d, interpolate

from .schedule import GAMMA, Stage, pyramid_stages, stage_sigmas

STAGES = pyramid_stages()

# (x [B, C, 1, h, w], timestep in 0..1000) -> velocity like x, guidance included.
Velocity = Callable[[torch.Tensor, float], torch.Tensor]
# (index of the frame, its clean history, shape of x) -> Velocity. Called once per stage, to prepare tables and prompts.
Prepare = Callable[[int, list[torch.Tensor], torch.Size], Velocity]
# Shape [B, C, 1, h, w] -> noise correlated in blocks (see `block_correlated`); `seeded_block_noise` makes one.
BlockNoise = Callable[[torch.Size], torch.Tensor]


@dataclass(frozen=True)
class Settings:
    """Steps of each stage, and guidance, for a video's first frame and for the frames after it.

    The defaults are the authors' for text to video; for image to video they recommend a guidance of 4.
    """

    first_steps: tuple[int, ...] = (20, 20, 20)
    steps: tuple[int, ...] = (10, 10, 10)
    first_guidance: float = 7.0
    guidance: float = 5.0

    def steps_of(self, frame: int) -> tuple[int, ...]:
        return self.steps if frame else self.first_steps

    def guidance_of(self, frame: int) -> float:
        return self.guidance if frame else self.first_guidance


@dataclass(frozen=True)
class Progress:
    """The argument of `callback` after each step.

    step, steps: counted over all frames and stages. x: [B, C, 1, h', w'], the frame after this step, at the stage's
    size. finished: [B, C, frames, h, w], the frames before it. Raise in the callback to cancel.
    """

    step: int
    steps: int
    x: torch.Tensor
    finished: torch.Tensor


def sample(
    prepare: Prepare,
    noise: torch.Tensor,
    settings: Settings,
    block_noise: BlockNoise,
    known: torch.Tensor | None = None,
    make: Sequence[bool] | None = None,
    callback: Callable[[Progress], None] | None = None,
) -> torch.Tensor:
    """Latents [B, C, T, h, w] of a video, normalised as the network reads them, from normal `noise` of that shape.

    known: latents [B, C, T, h, w]; `make` tells for each frame whether it is generated (True), or kept as history for
    the frames after it. Sides h and w must be multiples of 8: two halvings and a patch of 2.
    """
    total = noise.shape[2]
    make = [True] * total if make is None else make
    steps = sum(sum(settings.steps_of(frame)) for frame in range(total) if make[frame])
    starts = iter(coarsest_noise(noise).split(1, dim=2))
    video = torch.zeros_like(noise) if known is None else known.to(noise, copy=True)
    pyramids: list[list[torch.Tensor]] = []
    step = 0
    for frame in range(total):
        here = video[:, :, frame : frame + 1]
        if make[frame]:
            for x in make_frame(prepare, next(starts), frame, pyramids, settings, block_noise):
                step += 1
                if callback:
                    callback(Progress(step, steps, x, video[:, :, :frame]))
            here.copy_(x)
        pyramids.append(pyramid(here))
    return video


def make_frame(
    prepare: Prepare,
    start: torch.Tensor,
    frame: int,
    pyramids: Sequence[Sequence[torch.Tensor]],
    settings: Settings,
    block_noise: BlockNoise,
) -> Iterator[torch.Tensor]:
    """Sample one frame through all stages. Yields it after each step, at last as [B, C, 1, h, w].

    start: noise [B, C, 1, h / 4, w / 4]. frame: its index in the video. pyramids: of every frame before it.
    """
    x = start
    for stage, steps in zip(STAGES, settings.steps_of(frame), strict=True):
        if stage.index:
            x = next_stage(x, stage, block_noise)
        velocity = prepare(frame, history(pyramids, stage), x.shape)
        for denoised in euler(velocity, x, stage, steps):
            yield denoised
        x = denoised


def euler(velocity: Velocity, x: torch.Tensor, stage: Stage, steps: int) -> Iterator[torch.Tensor]:
    """Yields the latent x [B, C, 1, h, w] after each Euler step of one stage."""
    sigmas = stage_sigmas(steps)
    for timestep, (sigma, following) in zip(stage.timesteps(steps), pairwise(sigmas), strict=True):
        x = x + (following - sigma) * velocity(x, timestep).to(x)
        yield x


def pyramid(clip: torch.Tensor) -> list[torch.Tensor]:
    """A clip [B, C, T, h, w] at the size of every stage, coarsest first: means of 2 x 2 pixels."""
    levels = [clip]
    for _ in STAGES[1:]:
        levels.insert(0, avg_pool3d(levels[0], (1, 2, 2)))
    return levels


def coarsest_noise(noise: torch.Tensor) -> torch.Tensor:
    """Normal noise [B, C, T, h, w] at the size of the first stage, still of unit variance."""
    halvings = len(STAGES) - 1
    return pyramid(noise)[0] * 2**halvings


def history(pyramids: Sequence[Sequence[torch.Tensor]], stage: Stage) -> list[torch.Tensor]:
    """Clips [B, C, T, h', w'] of the finished frames, oldest first, as a stage reads them: the older, the coarser.

    pyramids: of each finished frame. The newest frame has the stage's own size, each older one is a level coarser, and
    all frames at the coarsest level are one clip.
    """
    near = min(stage.index, len(pyramids))
    old, recent = pyramids[: len(pyramids) - near], pyramids[len(pyramids) - near :]
    clips = [torch.cat([levels[0] for levels in old], dim=2)] if old else []
    sizes = range(stage.index - near + 1, stage.index + 1)
    return clips + [levels[size] for levels, size in zip(recent, sizes, strict=True)]


def next_stage(x: torch.Tensor, stage: Stage, block_noise: BlockNoise) -> torch.Tensor:
    """The end of the stage before [B, C, 1, h, w] -> the start of this one [B, C, 1, 2 h, 2 w].

    Enlarging leaves blocks of four equal pixels; noise correlated in the opposite way makes them independent again.
    """
    x = interpolate(x, scale_factor=(1, 2, 2), mode="nearest")
    return stage.keep * x + stage.renoise * block_noise(x.shape).to(x)


def block_correlated(noise: torch.Tensor) -> torch.Tensor:
    """iid normal noise [B, C, T, h, w] -> unit variance, covariance -GAMMA within each 2 x 2 block, blocks independent.

    For GAMMA = 1/3 the sum of a block is always 0: its mean is subtracted, and the rest is scaled to unit variance.
    """
    means = interpolate(avg_pool3d(noise, (1, 2, 2)), scale_factor=(1, 2, 2), mode="nearest")
    return (noise - means) * math.sqrt(1 + GAMMA)


def seeded_block_noise(seed: int, device: torch.device | str = "cpu") -> BlockNoise:
    """Block noise from a seed: the same on every run, and on every machine if it is drawn on the CPU."""
    generator = torch.Generator(device).manual_seed(seed)

    def draw(shape: torch.Size) -> torch.Tensor:
        return block_correlated(torch.randn(shape, generator=generator, device=device))

    return draw
