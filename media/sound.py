"""Sound beside the frames: blocks of samples that are written in step with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import av
import numpy as np
import torch

LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
BLOCK = 48_000
"""Samples at once."""


@dataclass(frozen=True)
class Sound:
    """Samples per second, channels, and `blocks()`: float32 arrays [channels, samples], each time from the start."""

    rate: int
    channels: int
    blocks: Callable[[], Iterator[np.ndarray]]

    @property
    def layout(self) -> str:
        """FFmpeg's name for this many channels."""
        return LAYOUTS[self.channels]

    def reversed(self) -> Sound:
        """The same backwards. It is held whole while it is read: 23 MB for a minute of stereo."""

        def backwards() -> Iterator[np.ndarray]:
            whole = np.concatenate(list(self.blocks()), axis=1)[:, ::-1]
            yield from (whole[:, n : n + BLOCK] for n in range(0, whole.shape[1], BLOCK))

        return Sound(self.rate, self.channels, backwards)

    def converted(self, rate: int, channels: int) -> Sound:
        """The same with so many samples per second and channels."""
        if (rate, channels) == (self.rate, self.channels):
            return self

        def blocks() -> Iterator[np.ndarray]:
            resampler = av.AudioResampler(format="fltp", layout=LAYOUTS[channels], rate=rate)
            for block in self.blocks():
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=self.layout)
                frame.sample_rate = self.rate
                yield from (piece.to_ndarray() for piece in resampler.resample(frame))
            yield from (piece.to_ndarray() for piece in resampler.resample(None))

        return Sound(rate, channels, blocks)


def of_waveform(waveform: torch.Tensor, rate: int) -> Sound:
    """Sound of a waveform [C, samples] or [1, C, samples]; more than eight channels become their mean."""
    samples = waveform.reshape(-1, waveform.shape[-1]) if waveform.ndim < 3 else waveform[0]
    if len(samples) not in LAYOUTS:
        samples = samples.mean(dim=0, keepdim=True)

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, samples.shape[1], BLOCK):
            yield samples[:, start : start + BLOCK].float().cpu().contiguous().numpy()

    return Sound(int(rate), len(samples), blocks)


def cut(sound: Sound, start: float, end: float) -> Sound:
    """The seconds from `start` to `end` of a sound."""

    def blocks() -> Iterator[np.ndarray]:
        first, last, at = round(start * sound.rate), round(end * sound.rate), 0
        for block in sound.blocks():
            if at >= last:
                return
            wanted = block[:, max(0, first - at) : last - at]
            at += block.shape[1]
            if wanted.shape[1]:
                yield wanted

    return Sound(sound.rate, sound.channels, blocks)


def joined(parts: Sequence[tuple[Sound | None, float]]) -> Sound | None:
    """Sounds one after the other, each cut or followed by silence to its length in seconds; None where all are silent.

    Samples per second are those of the first that is heard, channels those of the one with most.
    """
    heard = [sound for sound, _ in parts if sound]
    if not heard:
        return None
    rate, channels = heard[0].rate, max(sound.channels for sound in heard)

    def blocks() -> Iterator[np.ndarray]:
        for sound, seconds in parts:
            due = round(seconds * rate)
            for block in sound.converted(rate, channels).blocks() if sound else ():
                if block[:, :due].shape[1]:
                    yield block[:, :due]
                due -= block[:, :due].shape[1]
            for start in range(0, due, BLOCK):
                yield np.zeros((channels, min(BLOCK, due - start)), np.float32)

    return Sound(rate, channels, blocks)
