"""The owner's limits apply, whichever fields a request uses to exceed them."""

from __future__ import annotations

import pytest
from atelier.api.jobs import plan
from atelier.api.request import fields
from atelier.api.settings import LocalModel

KNOWN = {"width": 704, "height": 480, "num_frames": 97, "fps": 24, "sides": 32, "frames": 8}
FRAMES, PIXELS = 49, 256 * 256


def planned(local: dict, **asked) -> dict:
    model = LocalModel(model="some", **local)
    found, warnings = plan.plan_shot("generate", fields.shot({"prompt": "x", **asked}), model, KNOWN, None)
    return found | {"warnings": warnings}


SIZES = [
    *({"size": size} for size in ("1x16384", "16384x1", "16384x16384", "257x256", "31x31000", "99999x1", "704x480")),
    *({"width": 16384}, {"height": 16384}, {"width": 1, "height": 16384}, {"width": 16000, "height": 8}, {}),
]


@pytest.mark.parametrize("asked", SIZES, ids=str)
def test_pixels(asked):
    found = planned({"max_pixels": PIXELS}, **asked)
    width, height = (found[side] or KNOWN[side] for side in ("width", "height"))
    legal = [max(32, round(side / 32) * 32) for side in (width, height)]  # as the graph makes it
    assert legal[0] * legal[1] <= PIXELS * 1.15 and found["warnings"]


@pytest.mark.parametrize("size", ["256x256", "128x512", "64x64"])
def test_sizes_within_the_limit_stay(size):
    found = planned({"max_pixels": PIXELS}, size=size)
    assert f"{found['width']}x{found['height']}" == size and not found["warnings"]


LENGTHS = [
    *({"num_frames": 100_000}, {"seconds": 3600}, {"seconds": 2, "fps": 240}, {"num_frames": 97, "fps": 0.01}, {}),
    *({"num_frames": 90, "seconds": 1}, {"seconds": 3600, "fps": 0.5}),
]
LIMITS = [{"max_frames": FRAMES}, {"max_seconds": FRAMES / 24}, {"max_frames": FRAMES, "max_seconds": 3}]


@pytest.mark.parametrize("local", LIMITS, ids=str)
@pytest.mark.parametrize("asked", LENGTHS, ids=str)
def test_frames(asked, local):
    found = planned(local, **asked)
    rate = found["fps"] or KNOWN["fps"]
    made = found["num_frames"] or round((found["seconds"] or KNOWN["num_frames"] / rate) * rate)
    legal = max(0, round((made - 1) / 8)) * 8 + 1
    most = local.get("max_frames", FRAMES / 24 * rate)
    assert legal <= max(1, most + 4)


@pytest.mark.parametrize("asked", [{"num_frames": 49}, {"seconds": 2}, {"num_frames": 9, "fps": 4}], ids=str)
def test_lengths_within_the_limit_stay(asked):
    assert planned({"max_frames": FRAMES, "max_seconds": 3}, **asked)["warnings"] == []
