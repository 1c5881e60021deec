"""Previews: latents in colours, and frames played until there are better ones."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
import torch
from atelier.media.so_far import SoFar, carried
from atelier.models.bridge import player as players
from atelier.models.bridge.player import LONGEST_INTERVAL, RATE, SIDE, Player
from atelier.models.bridge.wrappers.previews import pictures
from atelier.models.contract.colours import Colours, false_colours
from PIL import Image


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


def clip(*shades: int, seconds: float = 0.03, decoded: bool = False) -> SoFar:
    """Frames of one grey each."""
    return SoFar(np.array(shades, np.uint8)[:, None, None, None].repeat(3, 3), seconds, decoded)


def test_the_newest_clip_is_played_in_a_circle_until_closed():
    seen, enough = [], threading.Event()

    def show(clip_now, index):
        seen.append(int(clip_now.frames[index].max()))
        if len(seen) == 5:
            player.play(clip(10, 11, 12))
        if len(seen) == 8:
            enough.set()

    with Player(show) as player:
        player.play(clip(0, 1, 2))
        assert enough.wait(30)
        assert player.interval < LONGEST_INTERVAL
    assert seen[:8] == [1, 2, 0, 1, 2, 10, 11, 12]
    assert not player._thread.is_alive()


def test_a_single_frame_is_not_played():
    shown = threading.Event()
    with Player(lambda clip, index: shown.set()) as player:
        player.play(clip(0, seconds=0.01))
        assert not shown.wait(0.5)


@pytest.mark.parametrize("rate", [24.0, 5.0])
def test_decoded_frames_are_played_as_they_come(monkeypatch, rate):
    shown: list[SoFar] = []
    monkeypatch.setattr(players, "screen", lambda: lambda clip, index: None)
    monkeypatch.setattr(Player, "play", lambda self, clip: shown.append(clip))
    chunks = [torch.rand(count, 30, 600, 3) for count in (1, 8, 8, 7)]
    with players.following(rate) as followed:
        assert all(one is other for one, other in zip(followed(iter(chunks)), chunks, strict=True))
    every = round(rate / RATE) or 1
    assert [round(each.seconds * rate) for each in shown] == [1, 9, 17, 24]
    assert [len(each.frames) for each in shown] == [-(-count // every) for count in (1, 9, 17, 24)]
    whole = torch.cat(chunks)[::every, ::3, ::3].mul(255).byte().numpy()
    assert shown[-1].frames.shape[2] <= SIDE and (shown[-1].frames == whole).all() and shown[-1].decoded


def test_a_failed_decoding_ends_the_playing(monkeypatch):
    monkeypatch.setattr(players, "screen", lambda: lambda clip, index: None)
    with pytest.raises(RuntimeError), players.following(24.0) as followed:
        for _ in followed(iter([torch.zeros(3, 8, 8, 3)])):
            raise RuntimeError("cancelled")
    assert not [thread for thread in threading.enumerate() if thread.name == "Atelier preview"]


def test_a_preview_carries_its_clip_and_makes_an_animation():
    long = clip(*(255 * (number // 2 % 2) for number in range(250)), seconds=10.0)
    assert carried(long.picture(7)) is long and carried(Image.new("RGB", (2, 2))) is None
    assert long.version != clip(1).version
    with Image.open(io.BytesIO(long.webp())) as animation:
        assert animation.n_frames == 125
        animation.seek(1)
        animation.load()
        assert animation.info["duration"] == 80 and animation.info["loop"] == 0
