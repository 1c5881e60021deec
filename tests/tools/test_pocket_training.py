"""Training can be interrupted: a rerun goes on with the same weights, optimiser, step and random numbers."""

import itertools

import pytest
import torch
from pocket.optim import Muon, orthogonalise
from pocket.training import Run, learning_rate


def descend(run: Run, net: torch.nn.Module, optimiser: Muon, steps: int) -> list[float]:
    """Some steps on random inputs; returns what each step drew."""
    drawn = []
    for _ in itertools.islice(run, steps):
        batch = torch.randn(4, 16) + run.rng.random()
        drawn.append(float(batch.sum()))
        optimiser.zero_grad()
        net(batch).pow(2).mean().backward()
        optimiser.step()
    return drawn


def start(folder) -> tuple[Run, torch.nn.Module, Muon]:
    torch.manual_seed(0)
    net = torch.nn.Linear(16, 16)
    optimiser = Muon(net.parameters(), lr=0.01, adam_lr=0.001)
    return Run(folder, "stage", 1.0, net=net, optimiser=optimiser), net, optimiser


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    run, whole, optimiser = start(tmp_path / "whole")
    expected = descend(run, whole, optimiser, 6)
    run, net, optimiser = start(tmp_path / "parts")
    drawn = descend(run, net, optimiser, 3)
    # The generator was left inside its third step: that step is done, but not counted.
    run.step += 1
    run.save()
    run, net, optimiser = start(tmp_path / "parts")
    assert run.step == 3
    drawn += descend(run, net, optimiser, 3)
    assert drawn == expected
    assert torch.equal(net.weight, whole.weight)


def test_time_used_up_counts_across_runs_and_is_logged(tmp_path):
    for minutes, fraction in ((0.0005, 0.5), (0.001, 1.0)):
        net = torch.nn.Linear(2, 2)
        run = Run(tmp_path, "stage", minutes, net=net)
        assert run.fraction >= fraction - 0.5
        for _ in run:
            run.record(loss=1.0)
        assert run.fraction == 1.0
    assert not list(Run(tmp_path, "stage", minutes, net=net)), "no time is left"


def test_learning_rate_warms_up_stays_and_falls():
    assert learning_rate(0.0, 0) < 0.05
    assert learning_rate(0.3, 100) == 1
    assert learning_rate(0.5, 1000) > learning_rate(0.9, 1000) > learning_rate(1.0, 1000) == 0.01


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 16, 64), (2, 64, 16)])
def test_muon_steps_are_nearly_orthogonal(shape):
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape, generator=torch.Generator().manual_seed(0))))
    assert 0.4 < values.min() and values.max() < 1.3
