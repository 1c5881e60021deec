"""Placing images in a clip: where they begin, which are encoded, and what a LATENT keeps."""

from __future__ import annotations

import pytest
import torch
from atelier.models.contract.grid import Grid
from atelier.models.timeline.latent import mask_of
from atelier.models.timeline.placing import clip_for, keyframes, place, start_of

GRID = Grid(channels=2, temporal=4, spatial=8)


def latent(frames: int = 5, **extra) -> dict:
    return {"samples": torch.zeros(1, 2, frames, 3, 4), **extra}


@pytest.mark.parametrize(
    "count,start,expected",
    [
        (1, 0, [0]),
        (4, 0, [0]),  # three images do not fill the second latent frame
        (5, 0, [0, 1, 2, 3, 4]),
        (1, 2, [0, 0, 0, 0, 0]),  # one in front that is discarded, then the last repeated for a latent frame
        (5, 2, [0, 0, 1, 2, 3]),
        (8, 1, [0, 0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_clip_to_encode(count, start, expected):
    assert clip_for(count, start, GRID) == expected


@pytest.mark.parametrize(
    "position,time,count,expected",
    [
        ("first", 9.0, 1, 0),
        ("last", 0.0, 1, 4),
        ("last", 0.0, 8, 3),
        ("last", 0.0, 999, 0),
        ("at time", 0.0, 1, 0),
        ("at time", 0.5, 1, 1),  # frame 4 of 8 per second: the end of latent frame 1
        ("at time", 0.6, 1, 2),
        ("at time", 99.0, 1, 4),
    ],
)
def test_where_images_begin(position, time, count, expected):
    assert start_of(position, time, count, latent(frame_rate=8.0), GRID) == expected


def test_placing_keeps_the_rest_and_does_not_touch_the_input():
    before = latent(frame_rate=8.0)
    placed = place(before, torch.ones(1, 2, 1, 3, 4), start=4, strength=0.75)
    assert before["samples"].abs().sum() == 0 and "noise_mask" not in before
    assert placed["frame_rate"] == 8.0
    assert placed["samples"][:, :, 4].eq(1).all() and placed["samples"][:, :, :4].eq(0).all()
    assert placed["noise_mask"][0, 0, :, 0, 0].tolist() == [1, 1, 1, 1, 0.25]
    both = place(placed, torch.ones(1, 2, 1, 3, 4), start=0, strength=1.0)
    assert both["noise_mask"][0, 0, :, 0, 0].tolist() == [0, 1, 1, 1, 0.25]


def test_what_runs_past_the_end_is_dropped():
    placed = place(latent(), torch.ones(1, 2, 3, 3, 4), start=4, strength=1.0)
    assert placed["samples"].shape == (1, 2, 5, 3, 4) and placed["samples"].sum() == 2 * 3 * 4


def test_content_of_another_model_is_refused():
    with pytest.raises(ValueError, match="VAE of the same Load Video Model"):
        place(latent(), torch.ones(1, 16, 1, 3, 4), start=0, strength=1.0)


@pytest.mark.parametrize("shape", [(24, 32), (1, 24, 32), (1, 1, 24, 32), (1, 1, 1, 3, 4)])
def test_masks_of_other_nodes_are_spread_over_time(shape):
    mask = mask_of(latent(noise_mask=torch.zeros(shape)))
    assert mask.shape == (1, 1, 5, 3, 4) and mask.eq(0).all()


@pytest.mark.parametrize(
    "times,strengths,expected",
    [
        ("first, last", "1", [(0, 1.0), (16, 1.0)]),
        ("0, 1.0, 50%, last", "1, .5, 0.25, 0", None),  # a second is half of this shot
        (" FIRST ,25%, 1.6,", "0.5", [(0, 0.5), (4, 0.5), (13, 0.5)]),
        ("100%, 0%", "1, 0.5", [(16, 1.0), (0, 0.5)]),
    ],
)
def test_keyframes_are_read(times, strengths, expected):
    count = len([word for word in times.split(",") if word])
    if expected is None:
        with pytest.raises(ValueError, match="'1.0' and '50%' fall on the same"):
            keyframes(times, strengths, count, latent(frame_rate=8.0), GRID)
    else:
        assert keyframes(times, strengths, count, latent(frame_rate=8.0), GRID) == expected


@pytest.mark.parametrize(
    "times,strengths,named",
    [
        ("0", "1", "2 images and 1 times"),
        ("0, 1", "1, 1, 1", "2 images and 3 strengths"),
        ("0, noon", "1", "'noon'"),
        ("0, x%", "1", "'x%'"),
        ("0, -1", "1", "'-1' is outside the shot"),
        ("0, 2.5", "1", "last frame is at 2.00 seconds"),
        ("0, nan", "1", "'nan'"),
        ("0, 1", "1, strong", "'strong'"),
        ("0, 1", "2", "'2'"),
    ],
)
def test_keyframes_that_cannot_be_read_are_named(times, strengths, named):
    with pytest.raises(ValueError, match=named):
        keyframes(times, strengths, 2, latent(frame_rate=8.0), GRID)
