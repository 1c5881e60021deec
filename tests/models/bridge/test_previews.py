"""Previews: latents in colours, and frames played until there are better ones."""

from __future__ import annotations

import threading

import torch
from atelier.models.bridge.wrappers.previews import LONGEST_INTERVAL, Player, pictures
from atelier.models.contract.colours import Colours, false_colours


def test_pictures_are_the_given_combination_of_channels():
    latents = torch.zeros(2, 4, 3, 2, 5)
    latents[0, 1, 2] = 0.5
    colours = Colours([[0, 0, 0], [1, 0, -3], [0, 0, 0], [0, 0, 0]], (0.0, -1.0, 0.0))
    made = pictures(latents, colours)
    assert made.shape == (3, 2, 5, 3) and made.dtype == torch.uint8
    assert made[0, 0, 0].tolist() == [127, 0, 127] and made[2, 0, 0].tolist() == [191, 0, 0]


def test_false_colours_show_any_number_of_channels():
    for channels in (12, 16, 128):
        latents = torch.randn(1, channels, 2, 32, 32, generator=torch.manual_seed(0))
        coloured = pictures(latents, false_colours(channels)).float()
        assert ((coloured - 127.5).abs() < 127).float().mean() > 0.9  # hardly anything is cut off
        assert coloured.std((0, 1, 2)).min() > 20  # and there is something to see in each colour


def test_the_newest_clip_is_played_in_a_circle_until_closed():
    seen, enough = [], threading.Event()

    def show(picture):
        seen.append(int(picture.max()))
        if len(seen) == 5:
            player.play(torch.arange(10, 13, dtype=torch.uint8)[:, None, None, None].expand(3, 2, 2, 3))
        if len(seen) == 8:
            enough.set()

    with Player(show, interval=0.01) as player:
        player.play(torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 2, 2, 3))
        assert enough.wait(30)
    assert seen[:8] == [1, 2, 0, 1, 2, 10, 11, 12]
    assert player.interval < LONGEST_INTERVAL and not player._thread.is_alive()


def test_a_single_frame_is_not_played():
    shown = threading.Event()
    with Player(lambda picture: shown.set(), interval=0.01) as player:
        player.play(torch.zeros(1, 2, 2, 3, dtype=torch.uint8))
        assert not shown.wait(0.3)
