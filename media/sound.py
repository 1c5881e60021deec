"""Sound: blocks of samples that are read and written in step with the frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import av
import numpy as np
import torch

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""Number of channels -> a layout that AAC, Opus, FLAC and PCM all take. Opus has no 2.1, so three are 3.0."""
BLOCK = 48_000
"""Samples in a block."""
LOUD = 1.12
"""The peak above which a note reports clipping. Lossy codecs overshoot full scale by up to 1 dB (1.12)."""
SAMPLES = "flt"
"""Interleaved float32. PyAV's planar arrays stop at seven channels."""


@dataclass(frozen=True)
class Sound:
    """rate: samples per second. blocks(): float32 arrays [channels, samples]; each call begins at the start."""

    rate: int
    channels: int
    blocks: Callable[[], Iterator[np.ndarray]]

    @property
    def layout(self) -> str:
        """FFmpeg's layout for this number of channels."""
        return LAYOUTS[self.channels]

    def frame(self, block: np.ndarray) -> av.AudioFrame:
        """A block [channels, samples] as a frame for FFmpeg."""
        packed = np.ascontiguousarray(block.T, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format=SAMPLES, layout=self.layout)
        frame.sample_rate = self.rate
        return frame

    def reversed(self) -> Sound:
        """The sound backwards. It is all in memory while it is read: 23 MB for a minute of stereo."""

        def backwards() -> Iterator[np.ndarray]:
            whole = np.concatenate(list(self.blocks()), axis=1)[:, ::-1]
            yield from (whole[:, n : n + BLOCK] for n in range(0, whole.shape[1], BLOCK))

        return Sound(self.rate, self.channels, backwards)

    def converted(self, rate: int, channels: int) -> Sound:
        """The sound resampled to `rate` samples per second and `channels`."""
        if (rate, channels) == (self.rate, self.channels):
            return self

        def blocks() -> Iterator[np.ndarray]:
            resampler = av.AudioResampler(format=SAMPLES, layout=LAYOUTS[channels], rate=rate)
            for block in self.blocks():
                yield from map(block_of, resampler.resample(self.frame(block)))
            yield from map(block_of, resampler.resample(None))

        return Sound(rate, channels, blocks)


def block_of(frame: av.AudioFrame) -> np.ndarray:
    """A frame in format SAMPLES as a block [channels, samples]."""
    return frame.to_ndarray().reshape(frame.samples, -1).T


@dataclass
class Repairs:
    """Cleans blocks for an encoder, which refuses NaN, and counts what was changed."""

    broken: int = 0
    peak: float = 0.0

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """The block in -1..1: samples that are not finite become silent, larger ones are clipped."""
        finite = np.isfinite(block)
        self.broken += block.size - int(finite.sum())
        block = np.where(finite, block, 0)
        self.peak = max(self.peak, float(np.abs(block).max(initial=0)))
        return block.clip(-1, 1)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the artist on the repairs so far."""
        broken = f"invalid samples in its sound (NaN, infinite), now silent: {self.broken}"
        loud = f"its sound peaked at {self.peak:.3g} times full scale and was clipped"
        return (*([broken] if self.broken else []), *([loud] if self.peak > LOUD else []))


def of_waveform(waveform: torch.Tensor, rate: int) -> Sound:
    """The sound of a waveform [C, samples] or [1, C, samples]. More than eight channels are mixed to mono."""
    samples = waveform.reshape(-1, waveform.shape[-1]) if waveform.ndim < 3 else waveform[0]
    if len(samples) not in LAYOUTS:
        samples = samples.mean(dim=0, keepdim=True)

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, samples.shape[1], BLOCK):
            yield samples[:, start : start + BLOCK].float().cpu().contiguous().numpy()

    return Sound(int(rate), len(samples), blocks)


def cut(sound: Sound, start: float, end: float) -> Sound:
    """A sound from `start` to `end` seconds."""

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
    """Sounds one after the other, each cut or padded with silence to its length in seconds; None if there is no sound.

    The result has the sample rate of the first sound and the channels of the one with most.
    """
    sounds = [sound for sound, _ in parts if sound]
    if not sounds:
        return None
    rate, channels = sounds[0].rate, max(sound.channels for sound in sounds)

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
