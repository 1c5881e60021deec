"""Prompt Relay on LTX Video: cards of a scene in one pass, each read by its own frames."""

from __future__ import annotations

import math

import pytest
import reference
import torch
from atelier.editing.storyboarding import put_on
from atelier.models.bridge.sampling import sample
from atelier.models.timeline import storyboard
from atelier.models.timeline.latent import CUTS
from atelier.models.timeline.relay import RELAY, penalty, relayed
from atelier.models.timeline.spans import SPAN
from reference import FPS, relative

SIGMAS = torch.tensor([1.0, 0.7, 0.0])
BOARD = "0s: a red circle moving left\n1.1s: a blue square\n2.2s cut: a green triangle"


class Shot(reference.LTX):
    size = (96, 64, 81)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return Shot("ltx-2b-0.9.5", tmp_path_factory.mktemp("relay"))


def test_the_penalty_is_its_authors():
    """exp(-penalty) falls to a thousandth one sigma-scaled step beyond the reach; nothing within it."""
    text = [(torch.randn(1, 3, 8), {}), (torch.randn(1, 2, 8), {})]
    (whole, options) = relayed(text, [(0, 8), (8, 14)])
    assert whole.shape == (1, 5, 8) and options[RELAY][0].T.tolist() == [[4, 2]] * 3 + [[11, 1]] * 2
    cost = penalty(torch.tensor([[4.0, 6.0, 7.0]]), options[RELAY])[0]
    assert cost[0, 0] == cost[1, 0] == 0 and cost[2, 0] == pytest.approx(math.log(1000) ** 2 / 2)
    assert cost[0, 3] == pytest.approx(36 * math.log(1000) ** 2 / 2)


def scenes(case, board: str, relay: bool):
    latent = {"samples": torch.zeros(case.empty()["samples"].shape), "frame_rate": float(FPS)}
    return put_on(latent, storyboard.read(board), case.folder.clip, case.folder.vae, "", "none", None, relay)


def test_a_scene_is_one_text_and_a_cut_begins_another(case):
    made = scenes(case, BOARD, True)
    assert len(made.positive) == 2 and [options[SPAN][0] for _, options in made.positive] == [0.0, 2.2]
    assert made.latent[CUTS] == scenes(case, BOARD, False).latent[CUTS]
    text, options = made.positive[0]
    assert options["attention_mask"].shape[1] == text.shape[1] == options[RELAY].shape[2]


def made(case, board: str) -> torch.Tensor:
    cards = scenes(case, board, True)
    inputs = dict(seed=1, sigmas=SIGMAS, guidance=3.0)
    return sample(case.folder.model, cards.latent, cards.positive, cards.negative, **inputs)["samples"]


def test_a_cards_words_change_its_own_frames_most(case):
    one = made(case, "0s: a red circle moving left\n1.7s: a blue square")
    other = made(case, "0s: a red circle moving left\n1.7s: the sea at night under a storm")
    before, after = relative(one[:, :, :4], other[:, :, :4]), relative(one[:, :, 7:], other[:, :, 7:])
    assert after > 2 * before


def test_another_family_says_that_it_cannot(tmp_path):
    other = reference.CogVideoX("2B", tmp_path)
    text, options = other.folder.conditioning("a")[0]
    relay = torch.zeros(1, 2, text.shape[1])
    with pytest.raises(ValueError, match="cannot use Prompt Relay"):
        other.folder.sampled(other.empty(), 1, **{RELAY: relay})
