"""Trains a transformer that denoises whole clips: the loop that CogVideoX and Mochi share.

These networks read one noise level for a whole clip, so there are no known frames to train on.
"""

import copy
import random
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from pocket.optim import Muon
from pocket.training import Run, average, learning_rate, warm_start
from pocket.world import Scene

BATCH = 32
Loss = Callable[[Tensor, list[Scene], random.Random], Tensor]
"""From clean latents [B, C, T, h, w], their scenes and a generator of captions to the loss of a step."""


def open_gates(module: nn.Linear, parts: int, gates: tuple[int, ...], value: float) -> None:
    """Prepares a layer that makes `parts` modulations: weak ones, and gates that let each block contribute at once."""
    module.weight.data.mul_(0.3)
    module.bias.data.zero_()
    for gate in gates:
        module.bias.data.chunk(parts)[gate].fill_(value)


def train(
    work: Path,
    minutes: float,
    release: Path | None,
    net: nn.Module,
    data: tuple[Tensor, list[Scene]],
    loss_of: Loss,
    adam_only: list[Tensor],
) -> None:
    """Trains `net` with `loss_of` on cached latents, and saves the average in `work`/transformer."""
    latents, scenes = data
    factor = warm_start(net, release)
    mean = copy.deepcopy(net).requires_grad_(False)
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimiser = Muon(trained, lr=0.01, adam_lr=2e-3, weight_decay=0.01, adam_only=adam_only)
    run = Run(work, "transformer", minutes, net=net, mean=mean, optimiser=optimiser)
    for step in run:
        optimiser.scale_lr(factor * learning_rate(run.fraction, step))
        chosen = run.rng.sample(range(len(scenes)), BATCH)
        loss = loss_of(latents[chosen].float(), [scenes[i] for i in chosen], run.rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average(mean, net, step)
        run.record(loss=loss.item())
    mean.save_pretrained(work / "transformer")
