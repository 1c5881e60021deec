"""Sound beside the frames: blocks of samples that are written in step with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import av
import numpy as np
import torch

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""Layouts by number of channels that AAC, Opus, FLAC and PCM all take: Opus has no 2.1."""
BLOCK = 48_000
"""Samples at once."""
LOUD = 1.12
"""The peak from which clipping is worth a word: lossy codecs overshoot full scale by up to 1 dB."""
SAMPLES = "flt"
"""Channels side by side, as PyAV hands them over: its arrays with a plane a channel end at seven channels."""


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

    def frame(self, block: np.ndarray) -> av.AudioFrame:
        """A block as FFmpeg takes it."""
        packed = np.ascontiguousarray(block.T, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format=SAMPLES, layout=self.layout)
        frame.sample_rate = self.rate
        return frame

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
            resampler = av.AudioResampler(format=SAMPLES, layout=LAYOUTS[channels], rate=rate)
            for block in self.blocks():
                yield from map(block_of, resampler.resample(self.frame(block)))
            yield from map(block_of, resampler.resample(None))

        return Sound(rate, channels, blocks)


def block_of(frame: av.AudioFrame) -> np.ndarray:
    """A frame in the format SAMPLES as a block [channels, samples]."""
    return frame.to_ndarray().reshape(frame.samples, -1).T


@dataclass
class Repairs:
    """Makes blocks fit for an encoder, which refuses NaN, and counts what that took."""

    broken: int = 0
    peak: float = 0.0

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """The block in -1..1: what is not a finite number is silent, what is beyond is clipped."""
        finite = np.isfinite(block)
        self.broken += block.size - int(finite.sum())
        block = np.where(finite, block, 0)
        self.peak = max(self.peak, float(np.abs(block).max(initial=0)))
        return block.clip(-1, 1)

    @property
    def notes(self) -> tuple[str, ...]:
        """What an artist should know of it."""
        broken = f"invalid samples in its sound (NaN, infinite), now silent: {self.broken}"
        loud = f"its sound was up to {self.peak:.3g} times full scale: clipped"
        return (*([broken] if self.broken else []), *([loud] if self.peak > LOUD else []))


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


def in_a_row(parts: Sequence[tuple[Sound | None, float]]) -> Sound | None:
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
