"""LTX-2's sound: the front end beside the formulas of Lightricks' AudioProcessor, and a placed sound in the clip."""

from __future__ import annotations

import case_ltx2
import numpy as np
import pytest
import torch
from atelier.editing import changes, decoding
from atelier.editing.placing import place_sound
from atelier.models.bridge.vae import decode_sound, encode_sound, vae_grid
from atelier.models.timeline.latent import sound_of, video_of
from case_ltx2 import FPS, FRAMES, relative
from comfy.nested_tensor import NestedTensor

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


def sounding(seconds: float, rate: int) -> torch.Tensor:
    """A tone of 440 Hz on both sides, softer on the right."""
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    return torch.from_numpy(np.stack([tone, tone / 2])[None]).float()


def test_a_placed_sound_is_in_the_clip_as_it_was_given(made, monkeypatch):
    """As in Lightricks' pipeline for a given sound: sample for sample, at its own rate, and nothing is decoded."""
    given = sounding(1.0, 44_100)
    placed = place_sound(made.vae, made.shot(), given, 44_100, 0.0, 1.0)[0]
    sampled = {**placed, "samples": NestedTensor(made.sampled(placed, steps=2))}
    monkeypatch.setattr(decoding, "decode_sound", lambda *_: pytest.fail("it was decoded"))
    heard = decoding.sound(made.vae, sampled)
    count = round(FRAMES / FPS * 44_100)
    assert heard["sample_rate"] == 44_100 and torch.equal(heard["waveform"], given[..., :count])


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_where_a_placed_sound_ends_what_the_model_made_is_heard(made, rate):
    given, seconds = sounding(0.2, rate), FRAMES / FPS
    placed = place_sound(made.vae, made.shot(), given, rate, 0.2, 1.0)[0]
    sampled = {**placed, "samples": NestedTensor(made.sampled(placed, steps=1))}
    own, own_rate = decode_sound(made.vae, sound_of(sampled["samples"]))
    heard = decoding.sound(made.vae, sampled)
    high = max(rate, own_rate)
    assert heard["sample_rate"] == high and heard["waveform"].shape[-1] == round(seconds * high)
    tone, inside = sounding(seconds, high), slice(round(0.215 * high), round(0.385 * high))
    moved = round(0.2 * high)
    assert (heard["waveform"][..., inside] - tone[..., inside.start - moved : inside.stop - moved]).abs().max() < 0.02
    after = heard["waveform"][..., round(0.42 * high) :], own[..., round(0.42 * own_rate) :]
    if high == own_rate:
        count = after[1].shape[-1]  # then silence: a decoder's sound ends a little before the picture
        assert torch.allclose(after[0][..., :count], after[1], atol=1e-6) and not after[0][..., count:].any()
    else:
        assert 0.8 < after[0].std() / after[1].std() < 1.2


def test_a_placed_sound_that_was_changed_since_is_decoded(made):
    """A weaker one, one that another replaced, one that the sampler made anew, and one that an edit moved."""
    shot, given = made.shot(), sounding(1.0, 16_000)
    weak = place_sound(made.vae, shot, given, 16_000, 0.0, 0.5)[0]
    kept = place_sound(made.vae, shot, given, 16_000, 0.0, 1.0)[0]
    picture, sound = kept["samples"].unbind()
    anew = {**kept, "samples": NestedTensor([picture, torch.randn_like(sound)])}
    backwards = {**kept, "samples": NestedTensor([picture, sound.flip(2) + torch.linspace(0, 1, 18).view(1, 1, -1, 1)])}
    for latent in (weak, anew, backwards):
        waves, rate = decode_sound(made.vae, sound_of(latent["samples"]))
        heard = decoding.sound(made.vae, latent)
        assert heard["sample_rate"] == rate and torch.equal(
            heard["waveform"][..., : waves.shape[-1]], waves[..., : heard["waveform"].shape[-1]]
        )
    both = place_sound(made.vae, kept, -given, 16_000, 0.0, 1.0)[0]
    count = round(FRAMES / FPS * 16_000)
    assert torch.equal(decoding.sound(made.vae, both)["waveform"], -given[..., :count])
    longer = changes.extended({**kept, "samples": kept["samples"]}, 1, True, vae_grid(made.vae))
    heard = decoding.sound(made.vae, longer)["waveform"]  # its beginning is still that sound
    begin = round(0.5 * 24_000)
    assert abs(heard[..., :begin].std() / given[..., : round(0.5 * 16_000)].std() - 1) < 0.01
    assert video_of(longer["samples"]).shape[2] == 4
