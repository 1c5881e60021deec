"""The Storyboard in a real ComfyUI: prompts over time in our sampler and in core's, images, and what can be wrong."""

from __future__ import annotations

import graph as saved_graph
import graphs
import pytest
import torch
from client import GraphRejected, JobFailed
from graphs import node
from safetensors.torch import load

TURN = "0s: a red circle moving left\n1.2s cut: a blue square moving right"


def board(text: str, images: list | None = None, **changes) -> graphs.Prompt:
    graph = graphs.text_to_video(**changes)
    given = dict(clip=["load", 1], vae=["load", 2], latent=["empty", 0], negative_prompt="", style="none")
    graph["board"] = node("AtelierStoryboard", board=text, **given, **({"images": images} if images else {}))
    graph["sample"]["inputs"] |= dict(positive=["board", 0], negative=["board", 1], latent=["board", 2])
    return graph


def latent(server, graph: graphs.Prompt) -> torch.Tensor:
    graph = {key: value for key, value in graph.items() if key not in ("decode", "save")}
    graph["keep"] = node("SaveLatent", samples=["sample", 0], filename_prefix="kept")
    outputs = server.client.run(graph)
    return load(server.client.view(outputs["keep"]["latents"][0]))["latent_tensor"]


def test_saved_graph_runs_as_it_is(server, workflow):
    graph = workflow("storyboard")
    prompt = saved_graph.to_api(graph, server.client.object_info(saved_graph.node_types(graph)))
    assert graphs.frames(server.client, server.client.run(prompt)).shape == (25, 64, 64, 3)


def test_one_card_is_a_prompt(server):
    prompt = "a red circle moving left"
    assert torch.equal(latent(server, board(f"0s: {prompt}")), latent(server, graphs.text_to_video(prompt=prompt)))


def test_each_card_makes_its_own_part(server):
    """In one step from the same noise, what is before the cut is the first prompt's alone, then the second's."""
    both = latent(server, board(TURN, steps=1))
    first, second = (latent(server, board("0s:" + line.split(":")[1], steps=1)) for line in TURN.splitlines())
    assert both.shape[2] == 5 and (first - second).abs().mean() > 0.01
    assert torch.allclose(both[:, :, :3], first[:, :, :3], atol=1e-3)
    assert torch.allclose(both[:, :, 3:], second[:, :, 3:], atol=1e-3)


def test_core_sampler_follows_the_cards(server):
    def with_core(text: str) -> graphs.Prompt:
        graph = board(text)
        inputs = dict(model=["load", 0], positive=["board", 0], negative=["board", 1], latent_image=["board", 2])
        settings = dict(seed=3, steps=1, cfg=2.0, sampler_name="euler", scheduler="simple", denoise=1.0)
        return graph | {"sample": node("KSampler", **inputs, **settings)}

    both = latent(server, with_core(TURN))
    first = latent(server, with_core(TURN.splitlines()[0]))
    assert torch.allclose(both[:, :, :3], first[:, :, :3], atol=1e-3)
    assert (both[:, :, 3:] - first[:, :, 3:]).abs().mean() > 0.01


def test_an_image_is_at_its_card(server):
    graph = board("0s: a red circle\n1s [image 1]: a blue square", images=["picture", 0])
    graph["picture"] = node("EmptyImage", width=64, height=64, batch_size=1, color=0xFF0000)
    made = graphs.frames(server.client, server.client.run(graph))
    assert made.shape == (17, 64, 64, 3)
    held = made[5:9].mean(dim=(0, 1, 2))  # the latent frame of one second
    assert held[0] - held[1:].max() > 0.4


@pytest.mark.parametrize("text,said", [("", "empty"), ("0s: a\nhello", "Line 2"), ("0s: a\n0.0s: b", "Lines 1 and 2")])
def test_a_broken_board_is_refused_when_queued(server, text, said):
    with pytest.raises(GraphRejected, match=said):
        server.client.run(board(text))


@pytest.mark.parametrize("text,said", [("0s: a\n9s: b", "shot ends at"), ("0s [image 3]: a", "names image 3")])
def test_what_is_not_there_is_said(server, text, said):
    with pytest.raises(JobFailed, match=said):
        server.client.run(board(text))


def test_200_cards_run(server):
    text = "\n".join(f"{place / 100}s: a red circle" for place in range(200))
    assert graphs.frames(server.client, server.client.run(board(text))).shape[0] == 17
