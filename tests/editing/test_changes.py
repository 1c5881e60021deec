"""An editor's tools in tensors: where the holes are, what the sampler gets, and what is put together afterwards."""

from __future__ import annotations

import pytest
import torch
from atelier.editing import changes, pieces, recut
from atelier.editing.variations import pick
from atelier.models.contract.grid import Grid
from atelier.models.timeline.latent import length

GRID, GROUPED = Grid(channels=2, temporal=4, spatial=8), Grid(channels=2, temporal=4, spatial=8, group=2)
FRAMES = torch.arange(1.0, 100.0)


def clip(count: int, first: float = 1.0, **extra) -> dict:
    """Latent frames numbered from `first` on."""
    numbers = first + torch.arange(float(count))
    return {"samples": numbers.view(1, 1, -1, 1, 1).expand(1, 2, -1, 3, 4).clone(), "frame_rate": 8.0, **extra}


def numbers(latent: dict | torch.Tensor) -> list[float]:
    samples = latent if isinstance(latent, torch.Tensor) else latent["samples"]
    return samples[0, 0, :, 0, 0].tolist()


def holes(latent: dict) -> list[float]:
    return [round(value, 3) for value in latent["noise_mask"][0, 0, :, 0, 0].tolist()]


def opening(samples: torch.Tensor, at: int) -> torch.Tensor:
    return -samples[:, :, at - 1 : at]


def sampled(shot: dict) -> dict:
    """As a sampler leaves it: 1000s where there was a hole, and (worse than any sampler) known content off by a bit."""
    mask = shot["noise_mask"]
    return {**shot, "samples": (1 - mask) * (shot["samples"] + 0.5) + mask * 1000}


@pytest.mark.parametrize(
    "seconds,grid,expected", [(1.0, GRID, 2), (0.01, GRID, 1), (0.75, GRID, 2), (1.0, GROUPED, 2), (1.6, GROUPED, 4)]
)
def test_seconds_to_latent_frames(seconds, grid, expected):
    assert pieces.latent_frames(seconds, clip(5), grid) == expected


def test_forward_the_whole_clip_is_known_and_the_rest_is_a_hole():
    longer = changes.extended(clip(3), 2, forward=True, grid=GRID)
    assert numbers(longer) == [1, 2, 3, 0, 0] and holes(longer) == [0, 0, 0, 1, 1]
    assert longer["frame_rate"] == 8.0


def test_backward_the_first_frame_is_part_of_the_hole():
    longer = changes.extended(clip(3), 2, forward=False, grid=GRID)
    assert numbers(longer) == [0, 0, 0, 2, 3] and holes(longer) == [1, 1, 1, 0, 0]


def test_what_a_sampler_left_as_mask_does_not_count():
    stale = clip(3, noise_mask=torch.ones(1, 1, 3, 3, 4))
    assert holes(changes.extended(stale, 1, forward=True, grid=GRID)) == [0, 0, 0, 1]


def test_a_window_begins_with_an_opening_and_join_puts_all_together():
    longer = changes.extended(clip(9), 2, forward=True, grid=GRID)
    shot = pieces.window(longer, 3, GRID, opening)
    assert numbers(shot) == [-6, 7, 8, 9, 0, 0] and holes(shot) == [0, 0, 0, 0, 1, 1]
    whole = pieces.joined(sampled(shot))
    assert numbers(whole) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 1000, 1000]
    assert set(whole) == {"samples", "frame_rate"}


def test_a_window_at_the_start_needs_no_opening():
    longer = changes.extended(clip(9), 2, forward=False, grid=GRID)
    shot = pieces.window(longer, 3, GRID, opening)
    assert numbers(shot) == [0, 0, 0, 2, 3, 4] and holes(shot) == [1, 1, 1, 0, 0, 0]
    assert numbers(pieces.joined(sampled(shot))) == [1000, 1000, 1000, 2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("context", [4, 5, 99])
def test_an_overlap_longer_than_the_clip_is_the_clip(context):
    shot = pieces.window(changes.extended(clip(5), 1, forward=True, grid=GRID), context, GRID, opening)
    assert numbers(shot) == [1, 2, 3, 4, 5, 0]
    assert numbers(pieces.joined(sampled(shot))) == [1, 2, 3, 4, 5, 1000]


@pytest.mark.parametrize("count", [9, 11, 13])
@pytest.mark.parametrize("context", [1, 2, 3, 4])
@pytest.mark.parametrize("forward", [True, False])
def test_windows_of_grouped_autoencoders_stay_legal(count, context, forward):
    longer = changes.extended(clip(count), 2, forward, GRID)
    shot = pieces.window(longer, context, GROUPED, opening)
    assert shot["samples"].shape[2] % 2 == 1
    after = [*range(1, count + 1), 1000, 1000]
    assert numbers(pieces.joined(sampled(shot))) == (after if forward else [1000, 1000, 1000, *range(2, count + 1)])


def test_a_loop_jumps_back_between_two_latent_frames_of_the_clip():
    loop = changes.looped(clip(9), 2, 3, opening, GRID)
    assert numbers(loop) == [-4, 5, 6, 7, 0, 0, 2, 3, 4] and holes(loop) == [0, 0, 0, 0, 1, 1, 0, 0, 0]
    shot = pieces.window(loop, 1, GRID, opening)
    assert numbers(shot) == [-6, 7, 0, 0, 2] and holes(shot) == [0, 0, 1, 1, 0]
    assert numbers(pieces.joined(sampled(shot))) == [-4, 5, 6, 7, 1000, 1000, 2, 3, 4]


def test_a_loop_shows_one_frame_less_and_what_is_made_of_it_is_no_loop():
    loop = pieces.joined(sampled(pieces.window(changes.looped(clip(9), 2, 3, opening, GRID), 1, GRID, opening)))
    assert length(loop, GRID) == 32 and length(clip(9), GRID) == 33
    assert length(changes.extended(loop, 2, forward=True, grid=GRID), GRID) == 41


def test_a_blend_keeps_the_nearer_clip_as_far_as_its_influence_goes():
    blend = changes.blended(clip(6), clip(6, first=50), torch.tensor([0.25, 0.5, 0.75]), GRID)
    assert numbers(blend) == [1, 2, 3, 4, 52, 53, 54, 55]
    assert holes(blend) == [0, 0, 0, 0.5, 1, 0.5, 0, 0]


def test_a_blend_keeps_the_cuts_outside_its_span():
    """Latent frames 0 to 2 and 6 to 7 of the blend are the first clip's 0 to 2 and the second clip's 4 and 5."""
    influence = torch.tensor([0.25, 0.5, 0.75])
    blend = changes.blended(clip(6, cuts=[2, 5]), clip(6, first=50, cuts=[2, 5]), influence, GRID)
    assert blend["cuts"] == [2, 7] and numbers(blend)[2] == 3 and numbers(blend)[7] == 55
    assert "cuts" not in changes.blended(clip(6, cuts=[5]), clip(6), influence, GRID)


def test_blends_of_clips_that_do_not_fit_are_refused():
    wide = {"samples": torch.zeros(1, 2, 6, 3, 8)}
    with pytest.raises(ValueError, match="8 x 3"):
        changes.blended(clip(6), wide, torch.ones(1), GRID)
    with pytest.raises(ValueError, match="shorter span"):
        changes.blended(clip(6), clip(3), torch.ones(3), GRID)


@pytest.mark.parametrize("curve", ["linear", "ease", "sharp"])
def test_curves_rise_from_the_first_clip_to_the_second(curve):
    values = changes.influence_of(curve, "", 7)
    assert (values.diff() >= 0).all() and values[0] < 0.2 and values[-1] > 0.8 and values[3] == 0.5


def test_an_artists_points():
    assert changes.influence_of("points", "0:0, 0.5:0.2, 1:1", 3).tolist() == pytest.approx([0.1, 0.2, 0.6])


@pytest.mark.parametrize("text", ["", "0.5", "0:2", "0:0, 0:1", "1:0, 0.5:1", "a:b", "0:nan", "0:0:0"])
def test_points_that_cannot_be_read_are_named(text):
    with pytest.raises(ValueError, match=r"0:0, 0.5:0.2, 1:1"):
        changes.read_points(text)


def test_a_shot_that_is_not_joined_is_no_clip_and_a_clip_is_not_joined():
    shot = pieces.window(changes.extended(clip(9), 1, forward=True, grid=GRID), 1, GRID, opening)
    with pytest.raises(ValueError, match="Join Shot between"):
        changes.extended(shot, 1, forward=True, grid=GRID)
    with pytest.raises(ValueError, match="nothing to join"):
        pieces.joined(clip(3))
    with pytest.raises(ValueError, match="before you scale it"):
        pieces.joined({**shot, "samples": torch.zeros(1, 2, 3, 6, 8)})
    with pytest.raises(ValueError, match="Expected: a video latent"):
        changes.extended({"samples": torch.zeros(1, 4, 8, 8)}, 1, forward=True, grid=GRID)


def test_variations_of_one_shot_are_joined_to_the_same_clip():
    shot = pieces.window(changes.extended(clip(9), 1, forward=True, grid=GRID), 1, GRID, opening)
    twice = {**shot, "samples": shot["samples"].repeat(2, 1, 1, 1, 1), "noise_mask": shot["noise_mask"]}
    assert pieces.joined(twice)["samples"].shape == (2, 2, 10, 3, 4)


def test_a_variation_is_picked_with_what_belongs_to_it():
    first = pieces.window(changes.extended(clip(9), 1, forward=True, grid=GRID), 1, GRID, opening)
    batch = pieces.window(
        changes.extended({"samples": torch.cat([clip(9, n)["samples"] for n in (20, 40)])}, 1, forward=True, grid=GRID),
        1,
        GRID,
        opening,
    )
    assert [numbers(pieces.joined(pick([first, batch], n)))[0] for n in (1, 2, 3)] == [1, 20, 40]
    for number in (0, 4):
        with pytest.raises(ValueError, match=f"There is no variation {number}. Choose a number from 1 to 3"):
            pick([first, batch], number)


@pytest.mark.parametrize(
    "text,expected",
    [
        ("0-", [*range(17)]),
        ("1 - 2, 0-1", [*range(8, 16), *range(5)]),  # 16 frames: three too many to be legal
        ("0 - 0.5\ngap 0.5\n1.125-", [0, 1, 2, 3, *[None] * 4, *[None], *range(9, 17)]),
        ("gap 1, 0-", [*[None] * 8, *range(17)]),
        ("-0.625\n gap .25 ", [0, 1, 2, 3, 4, *[None] * 4]),
        ("1.5 - 99", [12, 13, 14, 15, 16]),
    ],
)
def test_cutting(text, expected):
    order = recut.read_cuts(text, 17, 8.0, GRID)
    assert (len(order) - 1) % 4 == 0
    assert order == expected


@pytest.mark.parametrize(
    "text,named",
    [
        ("0-1, somewhere", "'somewhere'"),
        ("0-1\ngap", "'gap'"),
        ("2.5 - 3", "'2.5 - 3' holds no frame"),
        ("1 - 0.5", "'1 - 0.5' holds no frame"),
        ("gap 99999999", "'gap 99999999'"),
        ("gap 1", "no piece of the clip"),
        ("", "no piece of the clip"),
        ("--1", "'--1'"),
    ],
)
def test_cuts_that_cannot_be_read_are_named(text, named):
    with pytest.raises(ValueError, match=named):
        recut.read_cuts(text, 17, 8.0, GRID)


@pytest.mark.parametrize(
    "order,filled",
    [
        ([0, 1, None, None, None, None, 7, 8], [0, 1, 1, 1, 7, 7, 7, 8]),
        ([None, None, 3, 4], [3, 3, 3, 4]),
        ([3, 4, None, None], [3, 4, 4, 4]),
        ([5, None, None, 1, None, 2, None], [5, 5, 1, 1, 1, 2, 2]),
        ([4, 2, 9], [4, 2, 9]),
    ],
)
def test_gaps_hold_the_frames_beside_them(order, filled):
    assert recut.filled(order) == filled


def test_a_mask_clip_is_a_hole_in_space_and_time():
    mask = torch.zeros(17, 24, 32)
    mask[5, 9, 17] = 1.0  # one pixel of one frame: latent frame 2 (frames 5 to 8), row 1, column 2
    hole = changes.masked(clip(5), mask, 0.75, GRID)["noise_mask"]
    assert hole.shape == (1, 1, 5, 3, 4) and hole.nonzero().tolist() == [[0, 0, 2, 1, 2]] and hole.max() == 0.75
    mask = torch.zeros(17, 24, 32)
    mask[0] = 1.0
    assert holes(changes.masked(clip(5), mask, 1.0, GRID)) == [1, 0, 0, 0, 0]


@pytest.mark.parametrize("shape", [(24, 32), (1, 24, 32), (17, 24, 32), (5, 48, 64), (40, 12, 16), (1, 1, 24, 32)])
def test_masks_of_any_size_and_length(shape):
    mask = torch.zeros(shape)
    mask[..., : shape[-1] // 2] = 1.0
    hole = changes.masked(clip(5), mask, 1.0, GRID)["noise_mask"]
    assert hole[0, 0, :, :, 0].eq(1).all() and hole[0, 0, :, :, 3].lt(0.1).all()
