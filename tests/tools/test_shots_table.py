"""The shots' table measures what it says: on rendered clips with known motion, and once with the model itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import shots_table
import torch
from shots import measures, studio


@pytest.mark.parametrize("number,motion", list(enumerate(studio.SIDEWAYS)))
def test_velocity_of_a_rendered_clip_is_its_own(number, motion):
    scene, frames = studio.source(number)
    assert scene.motion == motion
    assert 12 <= studio.velocity(frames, motion) <= 16.5  # the world's speeds, over sixteen frames


def test_shapes_stay_in_the_picture():
    for number in range(4):
        scene, frames = studio.source(number, frames=25)
        edge = torch.cat([frames[:, [0, -1]].flatten(0, 2), frames[:, :, [0, -1]].flatten(0, 2)])
        assert edge.std(dim=0).max() < 1e-3, scene


def test_kept_and_steps():
    still = torch.full((3, 4, 4, 3), 0.5)
    assert studio.kept(still, still) == 100
    assert studio.kept(still, still + 0.1) == pytest.approx(20, abs=1e-3)
    assert studio.steps_of(torch.stack([still[0], still[0] + 0.2, still[0] - 0.1])) == pytest.approx([0.2, 0.3])


def test_rows_say_what_is_missed():
    made = [
        measures.Made({"kept": dB, "velocity changes by": v, "new (share)": s}, ())
        for dB, v, s in ((36.0, 0.1, 1.0), (34.0, 0.5, 0.0), (33.0, 0.2, 1.0))
    ]
    figures = shots_table.figures_of("Extend, forward", made)
    rows = [shots_table.row("Extend, forward", figure) for figure in figures]
    assert "| 34.000 dB | at least 35 dB | **missed** | 33.000 to 36.000, 1 of 3 reach it |" in rows[0]
    assert "| 0.200 | at most 0.25 | met |" in rows[1]
    assert "| 0.667 |" in rows[2]
    assert shots_table.target_of("Blend, linear", "kept of the first") == (30, True)


def test_a_figure_of_some_clips_is_taken_from_those():
    made = [
        measures.Made({name: value}, ()) for name, value in (("a (share)", 1.0), ("b (share)", 0.0), ("a (share)", 0.0))
    ]
    assert [(figure.name, figure.value) for figure in shots_table.figures_of("Storyboard", made)] == [
        ("a (share)", 0.5),
        ("b (share)", 0.0),
    ]


def test_cards_differ_in_one_attribute():
    for number in range(4):
        name, scenes = measures.turning(number, 4)
        assert name == ("motion", "color")[number % 2]
        assert len({getattr(scene, name) for scene in scenes}) == 4
        assert len({replace(scene, **{name: getattr(scenes[0], name)}) for scene in scenes}) == 1


def test_a_tool_is_measured():
    made = measures.extend(studio.Studio(), 1, "forward")
    assert len(made.clips[0]) == 17 and len(made.clips[1]) == 25
    assert made.figures["kept"] > 35 and made.figures["step at the join / median step"] < 3
