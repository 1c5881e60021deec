"""The contract's arithmetic: legal sizes, latent shapes, and schedules for a denoise below 1."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from atelier.models.contract.family import Recipe
from atelier.models.contract.grid import Grid
from atelier.models.contract.schedule import denoise_for, sigmas_for

LTX = Grid(channels=128, temporal=8, spatial=32)


@pytest.mark.parametrize(
    "asked,legal", [(-5, 1), (0, 1), (1, 1), (4, 1), (6, 9), (9, 9), (120, 121), (121, 121), (125.9, 129)]
)
def test_frames_move_to_the_nearest_legal(asked, legal):
    assert LTX.legal_frames(asked) == legal


@pytest.mark.parametrize("asked,legal", [(0, 32), (1, 32), (47, 32), (49, 64), (704, 704), (720, 704)])
def test_sides_move_to_the_nearest_legal(asked, legal):
    assert LTX.legal_side(asked) == legal


def test_latent_shape_and_back():
    shape = LTX.latent_shape(704, 480, 161, batch=2)
    assert shape == (2, 128, 21, 15, 22)
    assert LTX.frames(shape[2]) == 161


def test_sizes_are_whole_tokens_and_whole_groups():
    grid = Grid(channels=16, temporal=4, spatial=8, group=2, patch=(2, 2))
    assert [grid.legal_side(side) for side in (1, 23, 25, 720)] == [16, 16, 32, 720]
    assert [grid.legal_frames(frames) for frames in (1, 4, 6, 16, 49)] == [1, 1, 9, 17, 49]
    assert grid == Grid(channels=16, temporal=4, spatial=8, group=2)  # tokens do not concern an autoencoder


def _family(levels: int | None):
    """A family whose schedule is n, n-1, ... 0, with at most `levels` levels."""

    def schedule(variant, steps, shape):
        return torch.arange(min(steps, levels or steps), -1.0, -1.0)

    return SimpleNamespace(schedule=schedule)


@pytest.mark.parametrize(
    "levels,steps,denoise,expected",
    [
        (None, 4, 1.0, [4, 3, 2, 1, 0]),
        (None, 0, 1.0, [3, 2, 1, 0]),  # 0 = the recipe's three
        (None, 4, 0.5, [4, 3, 2, 1, 0]),  # of eight, the last four
        (8, 8, 0.5, [4, 3, 2, 1, 0]),  # a distilled model has no sixteen: half of its eight
        (8, 20, 1.0, [8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (None, 2, 0.01, [2, 1, 0]),
    ],
)
def test_schedule_is_cut_for_denoise(levels, steps, denoise, expected):
    recipe = Recipe(64, 64, 17, fps=8, steps=3, guidance=3.0)
    variant = SimpleNamespace(recipe=replace(recipe))
    assert sigmas_for(_family(levels), variant, steps, denoise, (1, 1, 1, 1, 1)).tolist() == expected


@pytest.mark.parametrize(
    "schedule,levels,noise,expected",
    [
        (lambda at: at, None, 0.5, 0.5),  # straight: half the noise is half the steps
        (lambda at: 3 * at / (1 + 2 * at), None, 0.75, 0.5),  # shifted by 3: half the steps begin with more
        (lambda at: at / (1 - at), True, 0.25, 0.25),  # v-prediction: sigma over 1 + sigma
        (lambda at: at, None, 1.0, 1.0),
    ],
)
def test_denoise_for_a_share_of_noise(schedule, levels, noise, expected):
    family = SimpleNamespace(
        levels=levels, schedule=lambda variant, steps, shape: schedule(torch.linspace(0.999, 0, steps + 1))
    )
    assert denoise_for(family, None, noise, (1, 1, 1, 1, 1)) == pytest.approx(expected, abs=0.002)


def test_denoise_for_a_model_of_few_levels_is_the_nearest():
    distilled = SimpleNamespace(
        levels=None, schedule=lambda variant, steps, shape: torch.tensor([1.0, 0.9, 0.7, 0.4, 0.0])
    )
    assert [denoise_for(distilled, None, noise, (1,)) for noise in (0.93, 0.65, 0.2)] == [0.75, 0.5, 0.25]
