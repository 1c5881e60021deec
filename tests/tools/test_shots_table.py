"""The shots' table measures what it says: on rendered clips with known motion, and once with the model itself."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import shots_table
import torch
from shots import measures, studio


@pytest.mark.parametrize("number,motion", list(enumerate(studio.SIDEWAYS)))
def test_velocity_of_a_rendered_clip_is_its_own(number, motion):
    scene, frames = studio.source(number, 17)
    assert scene.motion == motion
    assert 12 <= studio.velocity(frames, motion) <= 16.5  # the world's speeds, over sixteen frames


def test_shapes_stay_in_the_picture():
    for number in range(4):
        scene, frames = studio.source(number, 25)
        edge = torch.cat([frames[:, [0, -1]].flatten(0, 2), frames[:, :, [0, -1]].flatten(0, 2)])
        assert edge.std(dim=0).max() < 1e-3, scene


def test_kept_and_steps():
    still = torch.full((3, 4, 4, 3), 0.5)
    assert studio.kept(still, still) == 100
    assert studio.kept(still, still + 0.1) == pytest.approx(20, abs=1e-3)
    assert studio.steps_of(torch.stack([still[0], still[0] + 0.2, still[0] - 0.1])) == pytest.approx([0.2, 0.3])


def test_rows_say_what_is_missed():
    made = {"kept": [36.0, 34.0, 33.0], "velocity changes by": [0.1, 0.5, 0.2], "new (share)": [1.0, 0.0, 1.0]}
    figures = shots_table.figures_of("Extend, forward", made)
    rows = [shots_table.row("Extend, forward", figure.name, [figure, None]) for figure in figures]
    assert rows[0] == "| Extend, forward | kept (dB) | at least 35 | **34** (1 of 3) |  |"
    assert "| at most 0.25 | 0.2 (2 of 3) |" in rows[1]
    assert "| 0.667 |" in rows[2]
    assert shots_table.target_of("Blend, linear", "kept of the first") == (30, True)


def test_the_page_is_made_of_the_figures():
    assert shots_table.DOCUMENT.read_text() == shots_table.document(json.loads(shots_table.MEASURED.read_text()))


def test_a_figure_of_some_clips_is_taken_from_those():
    made = [
        measures.Made({name: value}, ()) for name, value in (("a (share)", 1.0), ("b (share)", 0.0), ("a (share)", 0.0))
    ]
    assert [
        (figure.name, figure.value) for figure in shots_table.figures_of("Storyboard", shots_table.values_of(made))
    ] == [
        ("a (share)", 0.5),
        ("b (share)", 0.0),
    ]


def test_cards_differ_in_one_attribute():
    for number in range(4):
        name, scenes = measures.turning(number, 4)
        assert name == ("motion", "color")[number % 2]
        assert len({getattr(scene, name) for scene in scenes}) == 4
        assert len({replace(scene, **{name: getattr(scenes[0], name)}) for scene in scenes}) == 1


@pytest.mark.parametrize("architecture", studio.MODELS)
def test_a_tool_is_measured(architecture):
    made = measures.extend(room := studio.Studio(architecture), 1, "forward")
    before, after = map(len, made.clips)
    assert before == room.length and after == before + room.whole(1.0)
    assert made.figures["kept"] > 25


def test_where_latent_frames_are_coded_together_each_frame_is_compared_with_itself():
    """CogVideoX: the loop begins in the middle of a latent frame, not of the two that are edited as one."""
    room = studio.Studio("cogvideox")
    assert (room.temporal, room.step) == (4, 8)
    assert measures.loop(room, 0, "normal").figures["kept before the seam"] > 45
    assert measures.inpaint(room, 0).figures["kept outside the mask"] > 30
