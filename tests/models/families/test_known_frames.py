"""How known frames reach networks that were trained on them, and networks that were not."""

from __future__ import annotations

import torch
from atelier.models.contract.known_frames import KnownFrames
from atelier.models.families.cogvideox.known_frames import Concatenated
from atelier.models.families.ltx_video.known_frames import PerToken


def test_network_is_told_time_zero_where_content_is_known():
    mask = torch.ones(1, 2, 5, 3, 4)
    mask[:, :, 0], mask[:, :, 1] = 0.0, 0.5
    times = PerToken().timestep(torch.tensor([800.0]), mask).view(5, 12)
    assert times[0].eq(0).all() and times[1].eq(400).all() and times[2:].eq(800).all()
    assert KnownFrames().timestep(torch.tensor([800.0]), mask).tolist() == [800.0]


def test_first_frame_goes_beside_the_clip_and_the_rest_is_enforced():
    known, mask = torch.ones(1, 2, 5, 3, 4), torch.ones(1, 2, 5, 3, 4)
    mask[:, :, 0], mask[:, :, 4] = 0.5, 0.0
    beside = Concatenated(scale=3.0).channels(known, mask)
    assert beside[:, :, 0].eq(1.5).all() and beside[:, :, 1:].eq(0).all()
    assert Concatenated().enforced(mask)[0, 0, :, 0, 0].tolist() == [1, 1, 1, 1, 0]
    assert Concatenated().channels(known, None).eq(0).all()
    mask[:, :, 4] = 1.0
    assert Concatenated().enforced(mask) is None and Concatenated().enforced(None) is None
    assert KnownFrames().enforced(mask) is mask and KnownFrames().channels(known, mask) is None
