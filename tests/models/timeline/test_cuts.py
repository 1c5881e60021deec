"""A re-cut as text and as frames, and what of it a model gets to fill the gaps."""

import random

import pytest
from atelier.models.timeline import cuts


def test_an_order_as_text_is_read_as_the_same_order():
    dice = random.Random(1)
    for _ in range(300):
        frames, rate = dice.randint(1, 300), dice.choice([8.0, 24.0, 23.976, 29.97])
        order = []
        for _piece in range(dice.randint(1, 6)):
            start = dice.randrange(frames)
            order += dice.choice([[None] * dice.randint(1, 40), range(start, dice.randint(start, frames - 1) + 1)])
        if any(frame is not None for frame in order):
            assert cuts.read_order(cuts.text_of(order, rate), frames, rate) == order


@pytest.mark.parametrize("step,most", [(4, 25), (8, 25), (8, 49), (6, float("inf"))])
def test_what_a_model_gets_to_fill_gaps(step, most):
    """The window is a legal length within the limit, holds every gap, and loses no frame of the clip."""
    dice, filled = random.Random(step), 0
    for _ in range(500):
        pieces = [list(range(n, n + dice.randint(10, 30))) for n in (0, 40, 80)]
        order = [*pieces[0], *[None] * dice.randint(1, 12), *pieces[1], *[None] * dice.randint(0, 12), *pieces[2]]
        try:
            filling = cuts.filling(order, step, dice.randint(0, 30), most)
        except ValueError as error:
            assert f"the model makes up to {most:g} at once" in str(error)
            continue
        filled += 1
        begin, end = filling.window
        assert (end - begin - 1) % step == 0 and end - begin <= most
        gaps = [place for place, frame in enumerate(filling.order) if frame is None]
        assert begin < gaps[0] and gaps[-1] < end and all(filling.holes[place - begin] for place in gaps)
        assert [frame for frame in filling.order if frame is not None] == [
            frame for frame in order if frame is not None
        ]
        first = [gap for gap in gaps if gap - gaps[0] == gaps.index(gap)]
        assert len(first) % step == 0 and filling.kept[begin : gaps[0]] == filling.order[begin : gaps[0]]
    assert filled > 20


def test_a_gap_at_either_end():
    after = cuts.filling([*range(20), None], 8, 8, 99)
    assert (after.order, after.window, after.kept) == ([*range(20), *[None] * 8], (11, 28), after.order)
    before = cuts.filling([None, *range(20)], 8, 8, 99)
    assert (before.order.count(None), before.window, before.kept.count(None)) == (1, (0, 9), 1)
    with pytest.raises(ValueError, match="too short"):
        cuts.filling([None, 0, 1], 8, 8, 99)
