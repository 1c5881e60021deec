"""The noise levels of Pyramid Flow: three stages at 1/4, 1/2 and 1 of the size, each with a straight path.

Sources: arXiv 2410.05954, section 3; the published scheduler settings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

TRAINING_STEPS = 1000
# The noise added between stages has a correlation of -GAMMA within each block of 2 x 2 pixels. 1/3 is the largest value
# that is possible in a block of four; each block then sums to zero.
GAMMA = 1 / 3


@dataclass(frozen=True)
class Stage:
    """One resolution of the pyramid: its timesteps, and how it starts from the stage before.

    first_timestep, last_timestep: the network's timestep at the beginning and at the end of the stage.
    keep, renoise: the stage starts at keep * (the enlarged end of the stage before) + renoise * block noise.
    """

    index: int
    first_timestep: float
    last_timestep: float
    keep: float = 1.0
    renoise: float = 0.0

    def timesteps(self, steps: int) -> list[float]:
        """The network's timestep at each of `steps` steps, 0..1000."""
        return torch.linspace(self.first_timestep, self.last_timestep, steps, dtype=torch.float64).tolist()


def stage_sigmas(steps: int) -> list[float]:
    """Levels of a stage's own path, the same for every stage: 1 at its start, 0 at its end; steps + 1 of them.

    The last step begins at 0.001, so it changes next to nothing. This is the authors' schedule.
    """
    return [*torch.linspace(1, 0.001, steps, dtype=torch.float64).tolist(), 0.0]


def pyramid_stages(count: int = 3) -> tuple[Stage, ...]:
    """The stages, coarsest first.

    Stage i of n covers the noise levels from 1 - i/n down to 1 - (i+1)/n. Enlarging the end of the stage before makes
    blocks of four equal pixels; noise that is correlated in blocks makes them independent again. To leave room for that
    noise, a stage starts at a higher level than the one before ended at. Timesteps are spread over these longer stages.
    """
    bounds = [int(i * TRAINING_STEPS / count) for i in range(count + 1)]
    levels = [1 - bound / TRAINING_STEPS for bound in bounds]
    mixes = [(1.0, 0.0), *(_renoising(level) for level in levels[1:-1])]
    starts = [1.0, *(1 - keep * (1 - level) for (keep, _), level in zip(mixes[1:], levels[1:-1], strict=True))]
    lengths = [start - end for start, end in zip(starts, levels[1:], strict=True)]
    along = [sum(lengths[:i]) / sum(lengths) for i in range(count + 1)]
    ends = [TRAINING_STEPS - min(int(part * TRAINING_STEPS), TRAINING_STEPS - 1) for part in along]
    return tuple(
        # Each stage was trained on 1000 timesteps from its own end up to, but not including, the next one's.
        Stage(i, ends[i], ends[i + 1] + (ends[i] - ends[i + 1]) / TRAINING_STEPS, *mixes[i])
        for i in range(count)
    )


def _renoising(level: float) -> tuple[float, float]:
    """(keep, renoise) of a stage if the one before it ended at this noise level."""
    signal = 1 - level
    keep = 1 / (math.sqrt(1 + 1 / GAMMA) * level + signal)
    return keep, keep * level / math.sqrt(GAMMA)
