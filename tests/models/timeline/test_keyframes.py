"""Keyframes of a LATENT: what the network reads beside the shot, and what is in the shot without them."""

from __future__ import annotations

import weakref

import pytest
import torch
from atelier.editing import changes
from atelier.editing.pieces import joined, window
from atelier.editing.variations import pick
from atelier.models.contract.grid import Grid
from atelier.models.timeline.keyframes import apart, keyframes_of, over, with_keyframe, with_keyframes
from atelier.models.timeline.latent import KEYFRAMES, LOOP, mask_of
from atelier.models.timeline.placing import place

GRID = Grid(channels=2, temporal=4, spatial=8)


def shot(frames: int = 6) -> dict:
    """A shot whose latent frames are 0, 1, 2, ..., all to be made."""
    samples = torch.arange(float(frames)).view(1, 1, -1, 1, 1).expand(1, 2, -1, 3, 4).clone()
    return {"samples": samples, "frame_rate": 8.0}


def content(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, 1, -1, 1, 1).expand(1, 2, -1, 3, 4).clone()


def frames_of(latent: dict) -> list[float]:
    return latent["samples"][0, 0, :, 0, 0].tolist()


def placed(latent: dict, values: tuple, start: int, **where) -> dict:
    """Footage in the shot as its second and later latent frames are, and as a keyframe."""
    inside = content(*(values[1:] or values))
    made = place(latent, inside, start, where.get("strength", 1.0))
    return with_keyframe(latent, made, content(*values), start + inside.shape[2], start=start, **where)


def test_pictures_leave_the_shot():
    latent = placed(placed(shot(), (10.0,), 2, frame=7), (20.0,), 5, frame=20, strength=0.6)
    assert frames_of(latent) == [0, 1, 10, 3, 4, 20] and mask_of(latent)[0, 0, 2, 0, 0] == 0
    without, beside = apart(latent, GRID)
    assert frames_of(without) == [0, 1, 2, 3, 4, 5] and mask_of(without).eq(1).all()
    assert [(each.frame, each.strength, each.latents[0, 0, :, 0, 0].tolist()) for each in beside] == [
        (7, 1.0, [10.0]),
        (20, 0.6, [20.0]),
    ]


def test_of_a_clip_the_first_two_latent_frames_leave_the_shot():
    without, (beside,) = apart(placed(shot(), (10.0, 11.0, 12.0, 13.0), 2), GRID)
    assert frames_of(without) == [0, 1, 2, 12, 13, 5]
    assert mask_of(without)[0, 0, :, 0, 0].tolist() == [1, 1, 1, 0, 0, 1]
    assert beside.frame == 4 and beside.latents[0, 0, :, 0, 0].tolist() == [10, 11]


def test_one_over_another_and_what_was_made_goes_on():
    latent = placed(placed(shot(), (10.0,), 2, frame=7), (20.0,), 2, frame=5)
    without, beside = apart(latent, GRID)
    assert frames_of(without) == [0, 1, 2, 3, 4, 5] and len(beside) == 2
    sampled = {**without, "samples": without["samples"] + 100}
    again = {**sampled, KEYFRAMES: over(latent[KEYFRAMES], sampled["samples"], mask_of(sampled))}
    assert frames_of(apart(again, GRID)[0]) == frames_of(sampled) and len(apart(again, GRID)[1]) == 2


def test_a_latent_of_another_size_keeps_the_frames_in_the_shot(caplog):
    latent = placed(shot(), (10.0,), 2, frame=7)
    larger = {**latent, "samples": latent["samples"].repeat_interleave(2, dim=4)}
    without, beside = apart(larger, GRID)
    assert frames_of(without)[2] == 10 and beside == [] and "changed the size" in caplog.text


def test_a_clip_after_the_hole_is_a_keyframe_with_the_frame_before_it():
    backward = changes.extended(shot(), 2, forward=False, grid=GRID)
    piece = window(backward, 1, GRID, lambda samples, at: samples[:, :, :1])
    for latent in (backward, piece):
        without, (beside,) = apart(latent, GRID)
        assert beside.latents[0, 0, :, 0, 0].tolist() == [0, 1] and beside.frame == 8
        assert mask_of(without)[0, 0, :5, 0, 0].tolist() == [1, 1, 1, 1, 0][: len(frames_of(latent))]
    assert frames_of(joined(piece)) == [0, 0, 0, 1, 2, 3, 4, 5] and KEYFRAMES not in joined(piece)
    assert KEYFRAMES not in changes.extended(shot(), 2, forward=True, grid=GRID)


def test_a_loops_beginning_is_a_keyframe_behind_its_hole():
    opening = lambda samples, at: samples[:, :, at - 1 : at]  # noqa: E731
    loop = changes.looped(shot(8), 2, 2, opening, GRID)
    _, (beside,) = apart(loop, GRID)
    assert frames_of(loop) == [2, 3, 4, 5, 0, 0, 1, 2] and LOOP in loop
    assert beside.latents[0, 0, :, 0, 0].tolist() == [0, 1] and beside.frame == 20
    piece = window(loop, 1, GRID, opening)
    assert frames_of(piece) == [4, 5, 0, 0, 1] and apart(piece, GRID)[1][0].frame == 12


def test_what_follows_a_blend_is_a_keyframe_with_the_frame_before_it():
    clips = shot(8), {**shot(8), "samples": shot(8)["samples"] + 50}

    def opening(samples, at):
        return samples[:, :, at - 1 : at]

    blend = changes.blended(*clips, torch.tensor([0.25, 0.5, 0.75]), GRID, opening)
    without, (beside,) = apart(blend, GRID)
    assert frames_of(blend) == [0, 1, 2, 3, 4, 5, 52, 53, 54, 55, 56, 57]
    assert beside.latents[0, 0, :, 0, 0].tolist() == [53, 54] and beside.frame == 28
    assert mask_of(without)[0, 0, :, 0, 0].tolist() == [0, 0, 0, 0, 0, 0.5, 1, 0.5, 1, 0, 0, 0]
    assert frames_of(joined(window(blend, 1, GRID, opening))) == frames_of(blend)
    sharp = changes.blended(*clips, torch.tensor([0.5, 1.0]), GRID, opening)
    assert KEYFRAMES not in sharp, "nothing is generated where the second clip goes on"


def test_the_samples_of_a_latent_tell_its_keyframes():
    """What ComfyUI's own samplers get of a LATENT; a node that removes the keyframes or makes another clip ends it."""
    latent = placed(shot(), (10.0,), 2, frame=7)
    assert keyframes_of(latent["samples"]) == latent[KEYFRAMES]
    assert keyframes_of(latent["samples"].clone()) == ()
    whole = with_keyframes(latent, ())
    assert keyframes_of(whole["samples"]) == () and KEYFRAMES not in whole
    assert torch.equal(whole["samples"], latent["samples"])
    gone = weakref.ref(carried := {**latent, "samples": latent["samples"] + 1}["samples"])
    again = with_keyframes({**latent, "samples": carried}, over(latent[KEYFRAMES], carried, mask_of(latent)))
    del carried, again
    assert gone() is None, "the list of keyframes keeps no clip alive"


def test_footage_in_the_place_of_other_footage_replaces_it():
    latent = placed(placed(shot(), (10.0,), 2, frame=7), (20.0,), 2, frame=7)
    without, (beside,) = apart(latent, GRID)
    assert frames_of(without) == [0, 1, 2, 3, 4, 5] and beside.latents[0, 0, 0, 0, 0] == 20


def test_what_was_placed_in_an_empty_shot_stays_for_a_sampler_that_begins_late():
    empty = {**shot(), "samples": torch.zeros_like(shot()["samples"])}
    without, _ = apart(placed(empty, (10.0,), 2, frame=7), GRID)
    assert frames_of(without) == [0, 0, 10, 0, 0, 0] and mask_of(without).eq(1).all()


def test_a_chosen_variation_has_its_own():
    latent = placed({**shot(), "samples": shot()["samples"].repeat(2, 1, 1, 1, 1)}, (10.0,), 2, frame=7)
    without, (beside,) = apart(pick([latent], 2), GRID)
    assert without["samples"].shape[0] == 1 and beside.latents.shape[0] == 1


@pytest.mark.parametrize("change", [lambda clip: changes.masked(clip, torch.ones(24, 32), 1.0, GRID)])
def test_a_change_of_the_whole_clip_drops_them(change):
    assert KEYFRAMES not in change(placed(shot(), (10.0,), 2, frame=7))
