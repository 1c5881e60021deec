"""What a clip will look like, while it is being made: its latent frames in colours that cost nothing, played as a film.

No picture format and no ComfyUI here: bridge sends the frames to the node that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Thread

import torch

# A latent frame stands for several frames; where they are far apart the film runs faster than the clip will.
LONGEST_INTERVAL = 0.25


@dataclass(frozen=True)
class Colours:
    """Latent channels to red, green and blue in about -1..1: factors [channels][3] and bias [3]."""

    factors: Sequence[Sequence[float]]
    bias: Sequence[float] = (0.0, 0.0, 0.0)


def false_colours(channels: int) -> Colours:
    """For latents of about unit variance whose colours nobody has fitted: thirds of the channels as red, green, blue.

    Shapes and motion can be seen, the colours mean nothing.
    """
    size = (channels + 2) // 3
    strength = 0.5 / size**0.5  # a third's sum then has a standard deviation of a quarter of the range
    return Colours([[strength * (channel // size == colour) for colour in range(3)] for channel in range(channels)])


def pictures(latents: torch.Tensor, colours: Colours) -> torch.Tensor:
    """The first clip of latents [B, C, T, h, w] in colour: uint8 [T, h, w, 3], in main memory."""
    factors, bias = (torch.tensor(numbers).to(latents) for numbers in (colours.factors, colours.bias))
    coloured = torch.nn.functional.linear(latents[0].movedim(0, -1), factors.T, bias)
    return ((coloured + 1) / 2).clamp(0, 1).mul(255).to("cpu", torch.uint8)


class Player:
    """Plays the newest version of a clip over and over, until it is closed, in a thread of its own.

    show(picture): called for one frame [h, w, 3] after the other, every `interval` seconds. A single frame is not
    played. `index` is the frame shown now.
    """

    def __init__(self, show: Callable[[torch.Tensor], None], interval: float) -> None:
        self.show, self.interval, self.index = show, min(interval, LONGEST_INTERVAL), 0
        self.clip: torch.Tensor | None = None
        self._closed = Event()
        self._thread = Thread(target=self._run, name="Atelier preview", daemon=True)

    def play(self, clip: torch.Tensor) -> None:
        """From now on show this clip, uint8 [T, h, w, 3], from the frame that is due."""
        self.clip = clip

    def _run(self) -> None:
        while not self._closed.wait(self.interval):
            clip = self.clip
            if clip is not None and len(clip) > 1:
                self.index = (self.index + 1) % len(clip)
                self.show(clip[self.index])

    def __enter__(self) -> Player:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._closed.set()
        self._thread.join()
