"""Sound that an encoder cannot take is mended or left out, and said: it never costs the picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import clips
import numpy as np
import pytest
import torch
from atelier.media import formats, read
from atelier.media.sound import of_waveform
from atelier.media.write import Target, Written, write

FILMS = [name for name in formats.available(formats.VIDEO) if "AV1" not in name and "265" not in name]


def written(folder: Path, name: str, waveform: torch.Tensor, rate: int = 48_000) -> Written:
    style = formats.named(name)
    sound = of_waveform(waveform, rate)
    return write(folder / f"clip{style.suffix}", iter([clips.numbered(24)]), Target(style, Fraction(24)), sound)


def samples(path: Path) -> np.ndarray:
    return np.concatenate(list(read.of_file(path).sound(0, 1).blocks()), axis=1)


@pytest.mark.parametrize("name", FILMS)
def test_what_is_not_a_number_is_silent_and_the_rest_is_heard(tmp_path, name):
    waveform = torch.from_numpy(clips.click(1, 0.5))[None]
    waveform[..., :100], waveform[..., 100:103] = torch.nan, torch.inf
    made = written(tmp_path, name, waveform)
    assert made.notes == ("invalid samples in its sound (NaN, infinite), now silent: 206",)
    heard = samples(made.path)
    assert abs(clips.clicked(heard, 48_000) - 0.5) < 0.02 and np.abs(heard[:, :10_000]).max() < 0.01
    assert len(read.of_file(made.path).times) == 24


@pytest.mark.parametrize("name", FILMS)
def test_what_is_too_loud_is_clipped_and_that_is_said(tmp_path, name):
    made = written(tmp_path, name, torch.from_numpy(clips.click(1, 0.5))[None] * 20)
    assert made.notes == ("its sound peaked at 10 times full scale and was clipped",)
    assert np.abs(samples(made.path)).max() < 1.5
    assert written(tmp_path, name, torch.from_numpy(clips.click(1, 0.5))[None] * 2.05).notes == ()


@pytest.mark.parametrize("name", FILMS)
@pytest.mark.parametrize("channels", range(1, 10))
def test_every_number_of_channels(tmp_path, name, channels):
    """More than eight become one."""
    tone = torch.from_numpy(clips.click(1, 0.5))[:1].expand(channels, -1)[None]
    made = written(tmp_path, name, tone)
    assert made.notes == ()
    heard = samples(made.path)
    assert len(heard) == (channels if channels < 9 else 1)
    assert abs(clips.clicked(heard, 48_000) - 0.5) < 0.02


@pytest.mark.parametrize("name", FILMS)
@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 96_000])
def test_every_usual_rate(tmp_path, name, rate):
    made = written(tmp_path, name, torch.from_numpy(clips.click(1, 0.5, rate))[None], rate)
    sound = read.of_file(made.path).sound(0, 1)
    assert made.notes == () and abs(clips.clicked(np.concatenate(list(sound.blocks()), 1), sound.rate) - 0.5) < 0.02


@pytest.mark.parametrize("name", FILMS)
@pytest.mark.parametrize("rate", [0, 3, 10_000_000])
def test_a_rate_that_is_none_costs_the_sound_and_not_the_picture(tmp_path, name, rate):
    made = written(tmp_path, name, torch.zeros(1, 2, 100), rate)
    assert f"left out: 2 channels at {rate} Hz" in made.notes[0]
    clip = read.of_file(made.path)
    assert len(clip.times) == 24 and clip.sound(0, 1) is None
