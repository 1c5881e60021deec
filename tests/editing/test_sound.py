"""Sound is cut with the picture: every edit of a clip with two streams, at several frame rates."""

import pytest
import torch
from atelier.editing import changes, pieces, recut
from atelier.editing.placed_sound import with_placed
from atelier.editing.variations import pick
from atelier.models.contract.grid import Grid, SoundGrid
from atelier.models.timeline.latent import PLACED, mask_of, sound_mask_of, sound_of, video_of
from atelier.models.timeline.sound import PlacedSound, Stretch, edited
from comfy.nested_tensor import NestedTensor

GRID, SOUND = Grid(channels=2, temporal=8, spatial=32), SoundGrid(2, 3)


def opening(samples: torch.Tensor, at: int) -> torch.Tensor:
    return samples[:, :, at - 1 : at]


def clip(count: int, first: float = 1.0, fps: float = 24.0, batch: int = 1) -> dict:
    """A clip whose latents are numbered, the sound's from `first` * 1000 on."""
    length = SOUND.length(GRID.frames(count), fps)
    video = torch.arange(first, first + count).view(1, 1, -1, 1, 1).expand(batch, 2, -1, 3, 4)
    sound = torch.arange(first * 1000, first * 1000 + length).view(1, 1, -1, 1).expand(batch, 2, -1, 3)
    return {"samples": NestedTensor([video.clone(), sound.clone()]), "frame_rate": fps}


def numbers(latent: dict) -> list[int]:
    return sound_of(latent["samples"])[0, 0, :, 0].round().int().tolist()


def holes(latent: dict) -> list[float]:
    return sound_mask_of(latent)[0, 0, :, 0].tolist()


def is_as_long_as_its_picture(latent: dict) -> bool:
    frames = GRID.frames(video_of(latent["samples"]).shape[2])
    return sound_of(latent["samples"]).shape[2] == SOUND.length(frames, latent["frame_rate"])


@pytest.mark.parametrize("fps", [24.0, 25.0, 30.0, 60.0, 23.976])
@pytest.mark.parametrize("forward", [True, False])
def test_extending_keeps_the_sound_where_it_was(fps, forward):
    before = clip(9, fps=fps)
    longer = changes.extended(before, 3, forward, GRID)
    assert is_as_long_as_its_picture(longer)
    kept = [n for n, hole in zip(numbers(longer), holes(longer), strict=True) if not hole]
    assert kept == (numbers(before) if forward else numbers(before)[-len(kept) :])
    new, seconds = sum(holes(longer)), 3 * GRID.temporal / fps
    assert abs(new / 25 - seconds) < (0.05 if forward else 0.05 + 1 / fps)
    assert all(h in (0, 1) for h in holes(longer)) and mask_of(longer).shape[2] == 12


@pytest.mark.parametrize("fps", [24.0, 30.0, 60.0])
def test_a_shot_gets_the_sound_of_its_frames_and_is_joined_again(fps):
    before = clip(12, fps=fps)
    longer = changes.extended(before, 2, True, GRID)
    shot = pieces.window(longer, 3, GRID, opening)
    assert is_as_long_as_its_picture(shot) and video_of(shot["samples"]).shape[2] == 6
    assert sum(holes(shot)) == sum(holes(longer))
    sampled = {**shot, "samples": NestedTensor([stream + 0.25 for stream in shot["samples"].unbind()])}
    whole = pieces.joined(sampled)
    assert is_as_long_as_its_picture(whole)
    sounds = zip(sound_of(whole["samples"])[0, 0, :, 0].tolist(), numbers(longer), holes(longer), strict=True)
    assert all(now == (was + 0.25 if hole else was) for now, was, hole in sounds)
    with pytest.raises(ValueError, match="kept only its picture"):
        pieces.joined({**shot, "samples": video_of(shot["samples"])})


def test_a_loop_moves_the_sound_with_the_picture():
    before = clip(9, fps=25.0)  # a latent of sound is a frame
    loop = changes.looped(before, 2, 3, opening, GRID)
    assert is_as_long_as_its_picture(loop)
    sound, start = numbers(loop), GRID.frames(4) - 1
    assert sound[:25] == numbers(before)[start : start + 25]  # the frame before the loop's first, and what is kept
    assert holes(loop) == [0] * 25 + [1] * 16 + [0] * 24
    assert sound[41:] == numbers(before)[1:25]


def test_a_blend_takes_the_sound_of_the_nearer_clip():
    blend = changes.blended(clip(6, fps=25.0), clip(6, 50.0, fps=25.0), torch.tensor([0.25, 0.5, 0.75]), GRID)
    assert is_as_long_as_its_picture(blend)
    assert holes(blend) == [0] * 17 + [0.5] * 8 + [1] * 8 + [0.5] * 8 + [0] * 16
    assert [n // 10_000 for n in numbers(blend)] == [0] * 25 + [5] * 32
    silent = {**clip(6), "samples": video_of(clip(6)["samples"])}
    with pytest.raises(ValueError, match="One of these clips has sound"):
        changes.blended(clip(6), silent, torch.ones(1), GRID)


def test_recutting_reorders_the_sound():
    before = clip(9, fps=25.0)
    order = recut.read_cuts("1 - 1.64\ngap 0.32\n0 - 0.68", 65, 25.0, GRID)
    made = edited([before], recut.stretches_of(order))
    sound, mask = made.latents, made.mask
    assert sound.shape[2] == len(order)
    expected = [None if frame is None else 1000 + frame for frame in order]
    now = [None if hole else n for n, hole in zip(sound[0, 0, :, 0].int().tolist(), mask[0, 0, :, 0], strict=True)]
    assert now == expected


def test_a_mask_keeps_the_sound_and_a_variation_has_both_streams():
    masked = changes.masked(clip(3), torch.ones(1, 8, 8), 1.0, GRID)
    assert not any(holes(masked)) and mask_of(masked).min() == 1
    assert numbers(pick([clip(3), clip(3, 7.0, batch=2)], 3)) == numbers(clip(3, 7.0))


def test_edits_of_silent_clips_have_no_sound():
    silent = {"samples": video_of(clip(3)["samples"]), "frame_rate": 24.0}
    assert edited([silent], [Stretch(17)]).latents is None
    assert sound_of(changes.extended(silent, 1, True, GRID)["samples"]) is None


RATE, FADED = 1000, 10
"""Samples per second of the waves below, and over how many a given sound passes into a decoded one."""


def footage(count: int, first: float = 1.0, fps: float = 24.0) -> dict:
    """A clip of which the sound is known as waves: the number of each millisecond, negative."""
    latent = clip(count, first, fps)
    wave = -(first * 100_000 + torch.arange(round(GRID.frames(count) / fps * RATE), dtype=torch.float32))
    return {**latent, PLACED: (PlacedSound(wave.view(1, 1, -1), RATE, sound_of(latent["samples"]), 0, 0.0),)}


def heard(latent: dict) -> list[int]:
    """Each millisecond of a clip's sound: its own number in its footage, or 0 where it is decoded."""
    sound = sound_of(latent["samples"])
    silence = torch.zeros(len(sound), 2, round(sound.shape[2] / 25 * RATE))
    waves, rate = with_placed(sound, 25.0, latent.get(PLACED, ()), lambda: (silence, RATE))
    assert rate == RATE
    return (-waves[0, 0]).round().int().tolist()


def test_an_edited_clip_has_the_waves_of_its_footage():
    """To the sample, up to where it was cut; a gap and what was changed are decoded."""
    before, cut = footage(9), round(65 / 24 * RATE)
    whole = list(range(100_000, 100_000 + cut))
    longer = changes.extended(before, 3, True, GRID)
    assert heard(longer)[: cut - FADED] == whole[:-FADED] and not any(heard(longer)[cut:])
    earlier = heard(changes.extended(before, 3, False, GRID))
    moved = round(25 / 24 * RATE)  # 24 new frames and the one that is made again
    assert not any(earlier[:moved]) and earlier[moved + FADED : moved + cut - 42] == whole[42 + FADED :]
    order = recut.read_cuts("1 - 1.64\ngap 0.32\n0 - 0.68", 65, 25.0, GRID)
    footed = footage(9, fps=25.0)
    made = edited([footed], recut.stretches_of(order))
    samples = NestedTensor([video_of(footed["samples"]), made.latents])
    pieces_of = heard({"samples": samples, PLACED: made.placed})
    assert pieces_of[: 640 - FADED] == list(range(101_000, 101_640 - FADED)) and not any(pieces_of[640:960])
    assert pieces_of[960 + FADED : 1640] == list(range(100_000 + FADED, 100_680))
    anew = {**before, "samples": NestedTensor([stream + 0.1 for stream in before["samples"].unbind()])}
    assert not any(heard(anew)) and not any(heard(changes.extended(anew, 3, True, GRID)))


def test_the_waves_of_two_clips_meet_without_a_gap():
    one, other = footage(6, fps=25.0), footage(6, 50.0, fps=25.0)
    made = edited([one, other], [Stretch(10, 1), Stretch(10, 5, clip=1), Stretch(10, 11)])
    samples = NestedTensor([video_of(one["samples"]), made.latents])
    expected = [*range(100_040, 100_440), *range(5_000_200, 5_000_600), *range(100_440, 100_840)]
    assert heard({"samples": samples, PLACED: made.placed}) == expected
    (alone,) = pick([{**one, PLACED: (one[PLACED][0],)}], 1)[PLACED]
    assert alone.waves.shape[0] == 1
