"""LTX-2's front end from wave to spectrogram, beside the formulas of Lightricks' AudioProcessor."""

from __future__ import annotations

import case_ltx2
import numpy as np
import pytest
import torch
from atelier.models.bridge.vae import encode_sound
from case_ltx2 import relative

RATE, WINDOW, HOP, BINS, FLOOR = 16_000, 1024, 160, 64, 1e-5


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> case_ltx2.Made:
    return case_ltx2.made("2.0", tmp_path_factory.mktemp("ltx2"))


def hertz(mel: np.ndarray) -> np.ndarray:
    """Slaney's scale: 200 Hz for 3 mel up to 1 kHz, then 27 mel for each factor of 6.4."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def filters() -> np.ndarray:
    """Triangles of one area each, [bins, frequencies]."""
    edges = hertz(np.linspace(0, 15 + 27 * np.log(RATE / 2 / 1000) / np.log(6.4), BINS + 2))
    frequencies = np.linspace(0, RATE / 2, WINDOW // 2 + 1)
    low, centre, high = (edges[n : n + BINS, None] for n in range(3))
    rising, falling = (frequencies - low) / (centre - low), (high - frequencies) / (high - centre)
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)


def spectrogram(wave: np.ndarray) -> np.ndarray:
    """The logarithm of the mel spectrogram [columns, bins] of a wave at 16 kHz."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    padded = np.pad(wave, WINDOW // 2, mode="reflect")
    columns = [padded[at : at + WINDOW] * hann for at in range(0, len(padded) - WINDOW + 1, HOP)]
    return np.log(np.maximum(np.abs(np.fft.rfft(columns)) @ filters().T, FLOOR))


def wave(seconds: float, rate: int = RATE, click: float = 0.5) -> np.ndarray:
    """A tone that rises from 100 Hz to 4 kHz, and a click."""
    time = np.arange(round(seconds * rate)) / rate
    tone = 0.4 * np.sin(2 * np.pi * (100 * time + 3900 * time**2 / 2 / seconds))
    tone[len(tone) // 3] += click
    return tone


def test_the_spectrogram_is_that_of_lightricks_formulas(made):
    sound = made.vae.first_stage_model.sound
    left, right = wave(1.0), wave(1.0)[::-1].copy()
    ours = sound.spectrogram(torch.from_numpy(np.stack([left, right])[None]).float(), RATE, 70)
    for channel, one in enumerate((left, right)):
        difference = np.abs(ours[0, channel].numpy() - spectrogram(one)[:70])
        assert difference.mean() < 1e-4 and difference.max() < 1e-2  # float32, and a logarithm of next to nothing
    quiet = sound.spectrogram(torch.zeros(1, 2, RATE), RATE, 70)
    assert torch.allclose(quiet, torch.full_like(quiet, np.log(FLOOR)))


def test_other_sample_rates_are_resampled_and_mono_is_on_both_sides(made):
    sound = made.vae.first_stage_model.sound
    low, high = (torch.from_numpy(wave(1.0, rate, click=0.0))[None, None].float() for rate in (RATE, 48_000))
    at_home, resampled = sound.spectrogram(low, RATE, 70), sound.spectrogram(high, 48_000, 70)
    assert torch.equal(at_home[:, 0], at_home[:, 1]) and at_home.shape == (1, 2, 70, BINS)
    loud = at_home > -5
    assert (at_home - resampled)[loud].abs().mean() < 0.05


def test_a_cut_sound_is_encoded_as_the_beginning_of_the_whole(made):
    """Lightricks encode the whole sound and take as many latents as the shot has."""
    whole = torch.from_numpy(np.stack([wave(2.0), wave(2.0)[::-1]])[None].copy()).float()
    assert relative(encode_sound(made.vae, whole, RATE, 18), encode_sound(made.vae, whole, RATE, 50)[:, :, :18]) < 1e-5
