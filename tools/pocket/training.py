"""Shared by all training stages: a clock, a checkpoint to continue from, a progress bar and a log.

The stage's name and the step's number seed all randomness of a step, so a resumed run draws the same numbers as an
uninterrupted one.
"""

import json
import os
import random
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from tqdm import tqdm

SAVE_EVERY = 60.0  # seconds
LOG_EVERY = 50  # steps
WARM_LR = 0.4  # share of the learning rates of a start from scratch
BAR = "{desc}: {percentage:3.0f}%|{bar:20}| {n:.1f} of {total:.0f} min{postfix}"


def learning_rate(fraction: float, step: int, warmup: int = 40, flat: float = 0.35) -> float:
    """Factor on the learning rate: a short warm-up, flat, then a linear fall to 1 % at the end of the time."""
    return min(1.0, (step + 1) / warmup) * (1.0 if fraction < flat else max(0.01, (1 - fraction) / (1 - flat)))


def average(target: nn.Module, source: nn.Module, step: int, decay: float = 0.998) -> None:
    """Moves `target` towards `source`: an exponential moving average that starts fast."""
    decay = min(decay, (step + 1) / (step + 20))
    with torch.no_grad():
        torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), 1 - decay)


def warm_start(module: nn.Module, part: Path | None) -> float:
    """Loads the weights that match by name and shape from a released part's folder, if one is given.

    Returns the factor on the learning rates: at full rates, training would destroy much of those weights.
    """
    if part is None:
        return 1.0
    state, own = {}, module.state_dict()
    for file in part.glob("*.safetensors"):
        state |= load_file(file)
    fitting = {key: value.float() for key, value in state.items() if key in own and own[key].shape == value.shape}
    module.load_state_dict(fitting, strict=False)
    return WARM_LR


class Run:
    """A training stage. Iterate over it for step numbers; it stops after `minutes` of training.

    Each step may draw from torch's generator and from `rng`, both seeded with the stage's name and the step's number.
    `parts` are the modules and optimisers, by name, that make up its state. Time spent in earlier, interrupted runs
    counts, so `fraction` goes from 0 to 1 once however often the run is resumed.
    """

    def __init__(self, folder: Path, name: str, minutes: float, **parts: nn.Module | torch.optim.Optimizer) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name, self.minutes, self.parts = name, minutes, parts
        self.checkpoint, self.log = folder / f"{name}.pt", folder / f"{name}.jsonl"
        self.step, self.elapsed = 0, 0.0
        self.rng = random.Random()
        self._sums: dict[str, list[float]] = {}
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, map_location="cpu")
            self.step, self.elapsed = state["step"], state["elapsed"]
            for part, module in parts.items():
                module.load_state_dict(state[part])

    @property
    def fraction(self) -> float:
        """The elapsed share of the training time, 0..1."""
        return min(1.0, self.elapsed / (self.minutes * 60))

    def __iter__(self) -> Iterator[int]:
        saved = last = time.monotonic()
        bar = tqdm(total=self.minutes, desc=self.name, bar_format=BAR, mininterval=1)
        while self.elapsed < self.minutes * 60:
            seed = zlib.crc32(f"{self.name} {self.step}".encode())
            torch.manual_seed(seed)
            self.rng = random.Random(seed)
            yield self.step
            self.step += 1
            now = time.monotonic()
            self.elapsed += now - last
            bar.update(min(self.elapsed / 60, self.minutes) - bar.n)
            last = now
            if self.step % LOG_EVERY == 0:
                bar.set_postfix(step=self.step, **self._write_log())
            if now - saved > SAVE_EVERY:
                self.save()
                saved = now
        bar.close()
        self.save()

    def record(self, **metrics: float) -> None:
        """Adds metrics of this step; their means go to the log every `LOG_EVERY` steps."""
        for key, value in metrics.items():
            self._sums.setdefault(key, []).append(value)

    def save(self) -> None:
        """Writes the checkpoint; a crash while writing leaves the old one."""
        state = {"step": self.step, "elapsed": self.elapsed}
        state |= {part: module.state_dict() for part, module in self.parts.items()}
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)

    def _write_log(self) -> dict[str, float]:
        means = {key: round(sum(values) / len(values), 4) for key, values in self._sums.items()}
        self._sums.clear()
        with self.log.open("a") as file:
            file.write(json.dumps({"step": self.step, "minutes": round(self.elapsed / 60, 2), **means}) + "\n")
        return means
