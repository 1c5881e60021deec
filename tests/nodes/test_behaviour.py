"""The built-in model follows the prompt, as read from the pixels of the MP4 that the saved graph made."""

from __future__ import annotations

import graphs
import pytest
import torch
from atelier.api.graphs import saved_graph
from pocket.ltx2.sound import color_of
from pocket.score import analyse
from shipped_pocket import SIDE

PROMPTS = {
    "a red circle moving left": dict(color="red", motion="left"),
    "a blue square moving right": dict(color="blue", motion="right"),
    "a big green triangle rising, white background": dict(color="green", motion="up", background="white"),
    "A small yellow circle falls on a black background.": dict(color="yellow", motion="down", background="black"),
    "an orange square growing on a grey background": dict(color="orange", background="grey"),
    "purple triangle, standing still": dict(color="purple", motion="still"),
}


@pytest.fixture(scope="module")
def seen(server):
    """Prompt -> the scorer's result, with one fixed seed."""
    found = {}
    for prompt in PROMPTS:
        video = server.client.run(graphs.text_to_video(prompt=prompt, steps=0, seed=1))
        found[prompt] = analyse(graphs.frames(server.client, video))
    return found


@pytest.mark.parametrize("attribute,least", [("color", 5), ("background", 3), ("motion", 4)])
def test_prompts_are_followed(seen, attribute, least):
    asked = {prompt: wish[attribute] for prompt, wish in PROMPTS.items() if attribute in wish}
    right = [prompt for prompt, wish in asked.items() if seen[prompt][attribute] == wish]
    assert len(right) >= least, {prompt: seen[prompt][attribute] for prompt in asked if prompt not in right}


def test_left_goes_left_and_right_goes_right(seen):
    motions = [seen[prompt]["motion"] for prompt in PROMPTS][:2]
    assert motions == ["left", "right"]


@pytest.mark.parametrize("family,shapes", [("mochi", 2), ("cogvideox", 2), ("pyramid", 1)])
def test_a_familys_schedule_and_autoencoder_show_what_is_asked_for(server, family, shapes):
    """The same graph for all, with Pyramid Flow's own sampler as well: only the loader's value differs.

    shapes: how many of the two are right; pocket Pyramid's are in nine clips of ten.
    """
    clips = shown(server, f"pocket {family} (built in)")
    assert [seen["color"] for seen, _ in clips] == [color for _, color in clips], clips
    wanted = zip(clips, ("circle", "square"), strict=True)
    assert sum(seen["shape"] == shape for (seen, _), shape in wanted) >= shapes, clips
    assert clips[0][0]["motion"] == "left" and clips[0][0]["background"] == "white", clips[0]


def test_the_pocket_with_sound_shows_and_sounds_what_is_asked_for(server):
    """LTX-2, from a prompt to an MP4: the pitch in it is the colour's, and it lasts as long as the picture."""
    for color in ("red", "blue"):
        prompt = f"a large {color} square moving right on a black background"
        graph = graphs.text_to_video(model="pocket sound (built in)", prompt=prompt, steps=0, seed=1)
        outputs = server.client.run(graph)
        seen = analyse(graphs.frames(server.client, outputs))
        assert (seen["color"], seen["motion"], seen["background"]) == (color, "right", "black"), seen
        seconds, heard, wave = graphs.sound(server.client, outputs)
        assert abs(seconds - heard) < 1 / 8
        assert color_of(torch.from_numpy(wave), round(wave.shape[1] / heard)) == color


def shown(server, model: str) -> list[tuple[dict, str]]:
    """What is to be seen in two clips of a model, and the colour that their prompts ask for."""
    asked = {"a red circle moving left on a white background": "red", "a blue square moving right": "blue"}
    videos = {
        color: server.client.run(graphs.text_to_video(model=model, prompt=prompt, steps=0, seed=1))
        for prompt, color in asked.items()
    }
    return [(analyse(graphs.frames(server.client, video)), color) for color, video in videos.items()]


def test_image_to_video_keeps_the_image_and_moves_it(server, workflow):
    """The saved graph, with a red square on black that the prompt moves to the right."""
    graph = workflow("image_to_video")
    prompt = saved_graph.to_api(graph, server.client.object_info(saved_graph.node_types(graph)))
    frames = graphs.frames(server.client, server.client.run(prompt))
    seen = analyse(frames)
    assert (seen["color"], seen["background"], seen["motion"]) == ("red", "black", "right")
    middle = slice(SIDE // 2 - SIDE // 16, SIDE // 2 + SIDE // 16)
    assert frames[0, middle, middle, 0].mean() > 0.6 and frames[0, middle, middle, 1:].mean() < 0.35
