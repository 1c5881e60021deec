"""The scorer reads real clips right, and wrong or broken clips as what they are."""

import json
from pathlib import Path

import pytest
import torch
from pocket import model, score, world

MODEL = Path(__file__).parents[2] / "models" / "pocket"


def frames_of(scene: world.Scene, **size) -> torch.Tensor:
    """[T, H, W, 3] in 0..1."""
    import random

    return (world.render([scene], random.Random(0), **size)[0].permute(1, 2, 3, 0) + 1) / 2


@pytest.mark.parametrize(
    "size", [{}, {"frames": 25}, {"frames": 9}, {"fps": 16}, {"width": 96}, {"width": 96, "height": 128}]
)
def test_real_clips_are_read_right(size):
    video, scenes, _ = world.clips(40, 83_000_000 + len(str(size)), withheld=None, **size)
    figures = score.figures(video, scenes, [False] * len(scenes))
    assert min(figures[name] for name in (*world.ATTRIBUTES, "whole")) >= 0.97, figures


@pytest.mark.parametrize("attribute", world.ATTRIBUTES)
def test_a_clip_of_something_else_is_marked_wrong(attribute):
    scene = world.Scene("green", "triangle", "large", "up", "white")
    other = world.Scene(
        **{**vars(scene), attribute: next(v for v in world.ATTRIBUTES[attribute] if v != vars(scene)[attribute])}
    )
    seen = score.analyse(frames_of(scene))
    assert seen[attribute] == getattr(scene, attribute)
    video = frames_of(scene).permute(3, 0, 1, 2) * 2 - 1
    verdict = score.judge(video, other)
    assert verdict[attribute] == 0 and verdict["all"] == 0


def test_empty_and_noisy_clips_show_nothing():
    nothing = score.analyse(torch.full((17, 64, 64, 3), 0.02))
    assert nothing["background"] == "black" and nothing["color"] is nothing["shape"] is nothing["motion"] is None
    noise = score.analyse(torch.rand(17, 64, 64, 3, generator=torch.Generator().manual_seed(0)))
    assert noise["shape"] is None


def test_motion_must_hold_and_the_thing_must_stay_one():
    clip = frames_of(world.Scene("red", "square", "small", "right", "black"))
    there_and_back = torch.cat([clip[::2], clip[::2].flip(0)])
    assert score.analyse(there_and_back)["motion"] != "right"
    assert score.analyse(clip.flip(0))["motion"] == "left"
    torn = torch.maximum(clip, clip.roll(32, dims=1))
    assert score.analyse(clip)["whole"] and not score.analyse(torn)["whole"]


def test_one_frame_is_enough_for_all_but_motion():
    seen = score.analyse(frames_of(world.Scene("yellow", "circle", "small", "still", "grey"), frames=1))
    expected = {"color": "yellow", "shape": "circle", "size": "small", "motion": None, "background": "grey"}
    assert {name: seen[name] for name in expected} == expected


def test_held_out_prompts_follow_from_the_seed_and_hold_new_combinations():
    scenes, prompts, withheld = score.held_out(50)
    assert score.held_out(50) == (scenes, prompts, withheld)
    assert [world.is_withheld(scene) for scene in scenes] == withheld and sum(withheld) == 15


def test_the_batched_sampler_is_ltx_condition_pipeline():
    loaded = model.load(MODEL)
    pipeline, recipe = loaded.pipeline, loaded.recipe
    pipeline.set_progress_bar_config(disable=True)
    prompts = ["a red circle moving left", "A big blue square slowly rises, white background."]
    ours = loaded.sample(prompts, 3.0, 4, seed=11)
    reference = pipeline(
        prompt=prompts[1],
        width=recipe["width"],
        height=recipe["height"],
        num_frames=recipe["frames"],
        frame_rate=recipe["fps"],
        num_inference_steps=4,
        guidance_scale=3.0,
        negative_prompt=recipe["negative_prompt"],
        generator=torch.Generator().manual_seed(12),
        output_type="pt",
    ).frames[0]
    theirs = reference.permute(1, 0, 2, 3) * 2 - 1
    assert (ours[1] - theirs).abs().max() < 1e-3


def test_the_card_says_what_was_measured():
    released = json.loads((MODEL / "scores.json").read_text())
    assert score.table(released) in (MODEL / "README.md").read_text()
    worse = {**released, "sampled": {**released["sampled"], "motion": 0.5}}
    assert score.below(released, released) == []
    assert score.below(worse, released) == [f"sampled, motion: 0.5 instead of {released['sampled']['motion']}"]


def test_a_sample_of_prompts_is_followed():
    pocket = model.load(MODEL)
    seen = score.text_to_video(pocket, pocket.recipe["guidance"], pocket.recipe["steps"], prompts=20)
    assert min(seen["color"], seen["background"], seen["motion"], seen["shape"]) >= 0.85 and seen["all"] >= 0.7


@pytest.mark.slow
def test_the_whole_score_is_the_released_one():
    scores = score.score_folder(MODEL, 100, range(3))
    assert not score.below(scores, json.loads((MODEL / "scores.json").read_text()))
