"""The procedural world: what it renders is what it says, from a seed alone, and its held-out part stays held out."""

import random
from dataclasses import replace

import pytest
import torch
from pocket import captions, score, tokenizer, world
from pocket.transformer import Bucket, Latents, draw_batch, draw_known

PLAIN_SUM = -198680.25  # of all pixels of two clips, before there were richer ones


def test_same_seed_same_clips():
    first, second, other = (world.clips(4, seed) for seed in (7, 7, 8))
    assert first.scenes == second.scenes and torch.equal(first.video, second.video)
    assert not torch.equal(first.video, other.video)


@pytest.mark.parametrize(
    ("frames", "width", "height"), [(1, 64, 64), (9, 64, 64), (25, 64, 64), (17, 96, 64), (17, 64, 96), (17, 128, 128)]
)
def test_clips_have_the_size_asked_for(frames, width, height):
    video = world.clips(2, 0, frames=frames, width=width, height=height).video
    assert video.shape == (2, 3, frames, height, width)
    assert -1 <= video.min() < video.max() <= 1


def test_training_never_shows_a_withheld_combination():
    drawn = world.draw_scenes(20_000, random.Random(1))
    assert not any(world.is_withheld(scene) for scene in drawn)
    assert all(world.is_withheld(scene) for scene in world.draw_scenes(200, random.Random(1), withheld=True))
    said = [[(name, getattr(scene, name)) for name in world.ATTRIBUTES] for scene in drawn]
    pairs = {(a, b) for items in said for a in items for b in items if a < b}
    names = list(world.ATTRIBUTES.items())
    expected = sum(len(a) * len(b) for i, (_, a) in enumerate(names) for _, b in names[i + 1 :])
    assert len(pairs) == expected, "every pair of attributes must occur in training"


@pytest.mark.parametrize("motion", ["left", "right", "up", "down"])
def test_shapes_travel_as_named_at_the_same_speed_per_second(motion):
    scene = world.Scene("red", "circle", "small", motion, "black")
    toward_x, toward_y = world.MOTIONS[motion]
    for frames, fps in ((17, 8), (25, 12), (33, 16)):
        x, y, radius, _ = world.path([scene] * frames, random.Random(3), fps, (64, 64))
        seconds = (frames - 1) / fps
        travelled = (x[-1] - x[0]) * toward_x + (y[-1] - y[0]) * toward_y
        assert world.SPEED[0] * seconds <= travelled <= world.SPEED[1] * seconds
        assert (x - radius).min() >= 0 and (x + radius).max() <= 64, "it leaves the frame"


def test_most_first_frames_do_not_tell_the_motion():
    rng, starts = random.Random(5), {"left": [], "right": []}
    for motion, found in starts.items():
        scene = world.Scene("blue", "square", "small", motion, "white")
        found.extend(float(world.path([scene] * 17, rng, 8, (64, 64))[0][0]) for _ in range(400))
    near = {motion: sum(22 < x < 42 for x in found) / len(found) for motion, found in starts.items()}
    assert min(near.values()) > 0.75


@pytest.mark.parametrize("attribute", world.ATTRIBUTES)
def test_captions_mention_exactly_what_they_should(attribute):
    """Two scenes that differ in an attribute get different captions if it is said, the same if it is not."""
    a = world.Scene("red", "circle", "small", "left", "black")
    b = world.Scene("blue", "square", "large", "right", "white")
    changed = world.Scene(**{**vars(a), attribute: getattr(b, attribute)})
    others = set(world.ATTRIBUTES) - {attribute}
    for seed in range(50):
        said, unsaid = world.ATTRIBUTES, others
        assert captions.caption(a, random.Random(seed), said) != captions.caption(changed, random.Random(seed), said)
        assert captions.caption(a, random.Random(seed), unsaid) == captions.caption(
            changed, random.Random(seed), unsaid
        )


def test_tokenizer_keeps_caption_words_whole_and_survives_anything(tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save(tokenizer.build(), tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.tokenize("A yellow Triangle rising") == ["▁a", "▁yellow", "▁triangle", "▁rising"]
    assert loaded("").input_ids == [tokenizer.END]
    for text in ("a zebra in Ångström 漢字 🙂", "x" * 5000, "\n\t \0"):
        assert loaded(text, max_length=128, truncation=True).input_ids[-1] == tokenizer.END
    rng = random.Random(0)
    lengths = [
        len(loaded(captions.free_caption(s, world.ATTRIBUTES, rng)).input_ids) for s in world.draw_scenes(300, rng)
    ]
    assert max(lengths) < 64


def test_a_turning_clip_shows_one_scene_and_then_the_other_without_a_jump():
    made = world.clips(60, 11, turning=1.0, frames=17)
    for video, scene, turn in zip(made.video, made.scenes, made.turns, strict=True):
        assert turn.frame % world.LATENT_FRAME == 1 and turn.scene != scene and not world.is_withheld(turn.scene)
        frames = (video.permute(1, 2, 3, 0) + 1) / 2
        for part, expected in ((frames[: turn.frame], scene), (frames[turn.frame :], turn.scene)):
            seen = score.analyse(part)
            assert (seen["color"], seen["shape"]) == (expected.color, expected.shape)
            if len(part) > 8:
                assert seen["motion"] == expected.motion
        x, y, *_ = world.path([scene] * turn.frame + [turn.scene] * (17 - turn.frame), random.Random(1), 8, (64, 64))
        assert max(x.diff().abs().max(), y.diff().abs().max()) <= world.SPEED[1] / 8 + 1e-5


def test_a_shape_that_swings_comes_back_at_its_own_speed_and_goes_on():
    made = world.clips(40, 13, swinging=True, frames=25)
    for video, scene, turn in zip(made.video, made.scenes, made.turns, strict=True):
        assert (turn is None) == (scene.motion not in world.OPPOSITE)
        if turn is None:
            continue
        x, y, *_ = world.path(
            [scene] * turn.frame + [turn.scene] * (turn.back - turn.frame) + [scene] * (25 - turn.back),
            random.Random(1),
            8,
            (64, 64),
        )
        steps = (x if scene.motion in ("left", "right") else y).diff()
        assert torch.allclose(steps.abs(), steps.abs().mean().expand(24), atol=1e-4)
        ways = steps.sign() * steps[0].sign()
        assert (ways[turn.frame - 1 : turn.back - 1] == -1).all() and (ways[turn.back - 1 :] == 1).all()
        frames = (video.permute(1, 2, 3, 0) + 1) / 2
        if turn.back - turn.frame > 8:
            assert score.analyse(frames[turn.frame : turn.back])["motion"] == turn.scene.motion


def test_richer_scenes_show_and_say_what_they_have():
    scene = world.Scene("red", "circle", "large", "left", "black")
    second = replace(scene, other=world.Other("blue", "square"))
    outlined, panned = replace(scene, outlined=True), replace(scene, motion="still", pan="left")
    clips = {
        name: (world.render([made], random.Random(2))[0].permute(1, 2, 3, 0) + 1) / 2
        for name, made in (("plain", scene), ("second", second), ("outlined", outlined), ("panned", panned))
    }
    blue = {name: (clip[..., 2] > 0.6) & (clip[..., 0] < 0.4) for name, clip in clips.items()}
    assert blue["second"].sum((1, 2)).min() > 60 and not blue["plain"].any(), "in every frame"
    white = {name: (clip.amin(-1) > 0.8).sum((1, 2)) for name, clip in clips.items()}
    assert white["outlined"].min() > 20 and not white["plain"].any()
    assert score.analyse(clips["plain"])["motion"] == "left" and score.analyse(clips["panned"])["motion"] == "right"
    words = [captions.caption(made, random.Random(4)) for made in (second, outlined, panned)]
    assert "blue" in words[0] and any(word in words[1] for word in ("outline", "border")), words
    assert "camera" in words[2] or "panning" in words[2], words


def test_plain_clips_are_those_that_the_first_pockets_were_trained_on():
    """The other pockets' scores rest on them: richer scenes must not draw other numbers for plain ones."""
    video = world.clips(2, 7, turning=0.5).video
    assert video.sum().item() == pytest.approx(PLAIN_SUM, abs=0.5)


def test_captions_for_training_say_the_size_mostly_and_are_short_in_part():
    scene, rng = world.Scene("red", "circle", "small", "left", "white"), random.Random(5)
    drawn = [captions.training_caption(scene, rng) for _ in range(600)]
    sized = sum(any(word in caption for word in captions.ADJECTIVES["small"]) for caption in drawn) / 600
    placed = sum("white" in caption for caption in drawn) / 600
    assert 0.5 < sized < 0.75 and 0.4 < placed < 0.6
    grown = [captions.training_caption(scene, rng, grown=True) for _ in range(200)]
    assert not any(word in caption.split() for caption in grown for word in ("tiny", "little"))
    assert captions.short_caption(scene) == "a red circle moving left"
    assert captions.short_caption(replace(scene, color="orange", motion="still")) == "an orange circle that is still"


def test_training_gives_frames_of_every_kind_and_leaves_something_to_make():
    drawn = [draw_known(frames, None, random.Random(seed)) for seed in range(600) for frames in (3, 5)]
    assert all(set(known.tolist()) <= {0.0, 1.0} and known[0] + known[-1] + known.sum() > 0 for known in drawn)
    assert any(known[0] == 1 and not known[1:].any() for known in drawn), "the first"
    assert any(known[-1] == 1 and not known[:-1].any() for known in drawn), "the last"
    assert any(known[0] == known[-1] == 1 and not known[1:-1].any() for known in drawn), "both ends"
    before = [draw_known(5, 3, random.Random(seed)).tolist() for seed in range(100)]
    assert before.count([1, 1, 1, 0, 0]) > 40, "what was before a change"


def test_the_caption_of_a_turning_clip_tells_of_the_part_that_is_judged():
    made = world.clips(64, 12, turning=1.0)
    cached = Latents(Bucket(1.0, 64, turning=True), *[torch.zeros(64, 2, 5, 1, 1)] * 2, made.scenes, made.turns)
    for seed in range(20):
        batch = draw_batch([cached], random.Random(seed))
        assert ((batch.described.sum(1) >= 1) & (batch.described.sum(1) <= 4)).all()
        assert ((batch.described[:, 0] == 1) | (batch.described[:, -1] == 1)).all()
