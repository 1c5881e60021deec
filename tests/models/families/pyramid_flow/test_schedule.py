"""Stages, timesteps and the noise between stages against recordings of the authors' code."""

from __future__ import annotations

import pytest
import torch
from atelier.models.families.pyramid_flow.sampler import block_correlated, euler, pyramid, seeded_block_noise
from atelier.models.families.pyramid_flow.schedule import pyramid_stages, stage_sigmas

STAGES = pyramid_stages()


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: f"stage{stage.index}")
@pytest.mark.parametrize("steps", [1, 3, 10, 20])
def test_timesteps_and_sigmas_equal_the_recorded(stage, steps, golden):
    record = golden("scheduler")
    name = f"published.stage{stage.index}.n{steps}"
    assert stage.timesteps(steps) == pytest.approx(record[f"{name}.timesteps"].tolist(), abs=1e-4)
    assert stage_sigmas(steps) == pytest.approx(record[f"{name}.sigmas"].tolist(), abs=1e-7)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: f"stage{stage.index}")
def test_stages_equal_the_recorded(stage, golden):
    facts = golden("scheduler").facts["cases"]["published"]["stage"][str(stage.index)]
    assert stage.first_timestep == facts["timestep_first"]
    assert stage.last_timestep == pytest.approx(facts["timestep_last_train"], abs=1e-4)
    assert stage.keep == pytest.approx(facts.get("alpha", 1), abs=1e-7)
    assert stage.renoise == pytest.approx(facts.get("beta", 0), abs=1e-7)


def test_euler_steps_equal_the_recorded(golden):
    """The recording has five steps of one stage and the velocities that stand in for the network's."""
    record = golden("scheduler")
    velocities = iter([record[f"published.step.v{n}"] for n in range(5)])
    made = list(euler(lambda x, timestep: next(velocities), record["published.step.x0"], STAGES[1], 5))
    for n, x in enumerate(made, 1):
        assert (x - record[f"published.step.x{n}"]).abs().max() <= 1e-6


def test_history_pyramid_equals_the_recorded(golden):
    record = golden("scheduler")
    for level, made in enumerate(pyramid(record["pyramid.x"])):
        assert (made - record[f"pyramid.level{level}"]).abs().max() <= 1e-6


def test_block_noise_has_the_recorded_covariance(golden):
    covariance = golden("scheduler")["block_noise.covariance"]
    noise = seeded_block_noise(0)(torch.Size([1, 16, 4, 128, 128]))
    blocks = noise.unflatten(4, (-1, 2)).unflatten(3, (-1, 2)).transpose(4, 5)  # ..., 64, 64, 2, 2
    vectors = blocks.flatten(5).reshape(-1, 4)
    assert (vectors.T.cov() - covariance).abs().max() <= 0.01
    neighbours = torch.stack([blocks[..., :-1, 0, 1].flatten(), blocks[..., 1:, 0, 0].flatten()])
    assert abs(neighbours.corrcoef()[0, 1]) <= 0.01
    assert vectors.sum(1).abs().max() <= 1e-5


def test_enlarged_noise_and_block_noise_make_independent_noise():
    """The identity that the method depends on: mixed as between two stages, the sum is uncorrelated."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 16, 4, 64, 64, generator=generator)
    enlarged = coarse.repeat_interleave(2, 3).repeat_interleave(2, 4)
    stage, level = STAGES[1], 0.667  # where the stage before ended: signal 0.333, noise 0.667
    mixed = stage.keep * level * enlarged + stage.renoise * block_correlated(
        torch.randn(enlarged.shape, generator=generator)
    )
    blocks = mixed.unflatten(4, (-1, 2)).unflatten(3, (-1, 2)).transpose(4, 5)
    covariance = blocks.flatten(5).reshape(-1, 4).T.cov()
    start = 1 - stage.keep * (1 - level)
    assert (covariance - start**2 * torch.eye(4)).abs().max() <= 0.01


def test_block_noise_is_reproducible():
    first, second, other = (seeded_block_noise(seed)(torch.Size([1, 16, 1, 8, 8])) for seed in (7, 7, 8))
    assert torch.equal(first, second) and not torch.equal(first, other)
