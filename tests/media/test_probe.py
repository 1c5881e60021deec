"""What a clip is and its single frames, as they are seen."""

from __future__ import annotations

import clips
import numpy as np
import pytest
import torch
from atelier.media import MediaError
from atelier.media.probe import Facts, pictures, probe


def numbers(path, wanted) -> list[int]:
    return clips.numbers(torch.stack([torch.from_numpy(np.asarray(p) / 255) for p in pictures(path, wanted)]))


def test_a_phone_s_portrait_clip_is_portrait(tmp_path):
    path = clips.turned(clips.make(tmp_path / "phone.mp4", clips.numbered(30, 128, 96), 30), 1)
    assert probe(path) == Facts(96, 128, 30, 30.0)
    assert pictures(path, [3])[0].size == (96, 128)


def test_wide_pixels_count_as_they_are_seen(tmp_path):
    path = clips.make(tmp_path / "dv.mp4", clips.numbered(3, 48, 48), options={"x264-params": "sar=4/3"})
    assert (probe(path).width, probe(path).height) == (64, 48)


def test_a_changing_frame_rate_counts_what_a_model_is_given(tmp_path):
    times = [n / 10 for n in range(10)] + [1.0] + [2.0 + n / 10 for n in range(10)]
    facts = probe(clips.make(tmp_path / "phone.mp4", clips.numbered(21), 10, times=times))
    assert abs(facts.seconds - 3) < 0.1 and abs(facts.frames - facts.fps * 3) <= 1


def test_single_frames(tmp_path):
    path = clips.make(tmp_path / "clip.mkv", clips.numbered(60), options={"g": "12"})
    assert numbers(path, [0, 17, 18, 59]) == [0, 17, 18, 59]


def test_too_many_pixels(tmp_path):
    path = clips.make(tmp_path / "large.mp4", clips.numbered(2, 64, 48))
    with pytest.raises(MediaError, match="The video has 64 x 48 pixels; the limit is 3000"):
        probe(path, "The video", 3000)
    wide = clips.make(tmp_path / "wide.mp4", clips.numbered(2, 64, 48), options={"x264-params": "sar=10/1"})
    with pytest.raises(MediaError, match="640 x 48"):
        probe(wide, most_pixels=20_000)
