"""Sounds for tests."""

from __future__ import annotations

import struct

import numpy as np


def tone(seconds: float, rate: int = 16_000, channels: int = 1, broken: bool = False) -> bytes:
    """A WAV of 32-bit floats: a tone of 440 Hz."""
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate).astype("<f4")
    if broken:
        wave[::100] = np.nan
    frames = np.repeat(wave, channels).tobytes()
    head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 3, channels, rate, rate * channels * 4, channels * 4, 32)
    body = head + b"data" + struct.pack("<I", len(frames)) + frames
    return b"RIFF" + struct.pack("<I", len(body)) + body
