"""The Storyboard in a real ComfyUI: prompts over time in our sampler and in core's, images, and errors."""

from __future__ import annotations

import graphs
import pytest
import torch
from atelier.api.graphs import saved_graph
from client import GraphRejected, JobFailed, JobInterrupted
from graphs import node
from safetensors.torch import load
from shipped_pocket import SIDE

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


def test_one_card_is_a_prompt(server):
    prompt = "a red circle moving left"
    assert torch.equal(latent(server, board(f"0s: {prompt}")), latent(server, graphs.text_to_video(prompt=prompt)))


def seen(server, text: str, *tools: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A board's latents before and after its second card, by KSampler or SamplerCustomAdvanced."""
    graph = board(text)
    texts, shot = dict(positive=["board", 0], negative=["board", 1]), ["board", 2]
    if "custom" in tools:
        graph |= {
            "noise": node("RandomNoise", noise_seed=9),
            "guider": node("CFGGuider", model=["load", 0], cfg=3.0, **texts),
            "sampler": node("KSamplerSelect", sampler_name="dpmpp_2m"),
            "sigmas": node("AtelierVideoSchedule", model=["load", 0], latent=["empty", 0], steps=2, denoise=1.0),
        }
        parts = dict(noise=["noise", 0], guider=["guider", 0], sampler=["sampler", 0], sigmas=["sigmas", 0])
        graph["made"] = node("SamplerCustomAdvanced", **parts, latent_image=shot)
        graph["sample"] = node("LatentInterpolate", samples1=["made", 0], samples2=["made", 1], ratio=0.5)
    else:
        settings = dict(seed=3, steps=2, cfg=2.0, sampler_name="euler", scheduler="simple", denoise=1.0)
        graph["sample"] = node("KSampler", model=["load", 0], latent_image=shot, **texts, **settings)
    return latent(server, graph).split([3, 2], dim=2)


@pytest.mark.parametrize("sampler", ["KSampler", "custom"])
def test_core_samplers_make_each_part_with_its_card(server, sampler):
    """The second card begins with the fourth of five latent frames."""
    first, second = TURN.splitlines()
    one, two = seen(server, TURN, sampler)
    other_one, other_two = seen(server, f"{first}\n{second.replace('blue', 'green')}", sampler)
    begun_otherwise, same_two = seen(server, f"{first.replace('red', 'green')}\n{second}", sampler)
    assert torch.equal(one, other_one) and not torch.allclose(two, other_two, atol=1e-2)
    assert torch.equal(two, same_two) and not torch.allclose(one, begun_otherwise, atol=1e-2)


def test_cancelled_in_the_second_card(server):
    stopped_at = []

    def stop(kind: str, data: dict) -> None:
        if kind == "progress" and data["value"] > 60 and not stopped_at:
            stopped_at.append((data["value"], data["max"]))
            server.client.interrupt()

    with pytest.raises(JobInterrupted):
        server.client.wait(server.client.queue(board(TURN, steps=60)), stop)
    ((step, steps),) = stopped_at
    assert 60 < step < steps == 120
    assert len(graphs.frames(server.client, server.client.run(board(TURN)))) == 17


def test_an_image_is_at_its_card(server):
    graph = board("0s: a red circle\n1s [image 1]: a blue square", images=["picture", 0])
    graph["picture"] = node("EmptyImage", width=64, height=64, batch_size=1, color=0xFF0000)
    made = graphs.frames(server.client, server.client.run(graph))
    assert made.shape == (17, SIDE, SIDE, 3)
    held = made[9:13].mean(dim=(0, 1, 2))  # the latent frame that begins nearest to one second
    assert held[0] - held[1:].max() > 0.4


def test_a_clip_is_seen_up_to_the_next_card(server):
    graph = board("0s [images 1-9]: a red circle\n1s: a blue square", images=["clip", 0])
    graph["clip"] = node("EmptyImage", width=64, height=64, batch_size=30, color=0xFF0000)
    made = graphs.frames(server.client, server.client.run(graph))
    seen = made[:9].mean(dim=(0, 1, 2))
    assert seen[0] - seen[1:].max() > 0.4

    graph["board"]["inputs"]["board"] = "0s [images 1-30]: a red circle\n1s: a blue square"
    assert torch.equal(graphs.frames(server.client, server.client.run(graph)), made)


@pytest.mark.parametrize("text,said", [("", "empty"), ("0s: a\nhello", "Line 2"), ("0s: a\n0.0s: b", "Lines 1 and 2")])
def test_a_broken_board_is_refused_when_queued(server, text, said):
    with pytest.raises(GraphRejected, match=said):
        server.client.run(board(text))


@pytest.mark.parametrize(
    "text,said",
    [
        ("0s: a\n9s: b", "shot ends at"),
        ("0s [image 3]: a", "names image 3"),
        ("0s [images 3-1]: a", "names images 3-1"),
    ],
)
def test_what_is_not_there_is_said(server, text, said):
    with pytest.raises(JobFailed, match=said):
        server.client.run(board(text))


def test_200_cards_run(server):
    text = "\n".join(f"{place / 100}s: a red circle" for place in range(200))
    assert graphs.frames(server.client, server.client.run(board(text))).shape[0] == 17


def test_prompt_relay_in_the_saved_graph(server, workflow):
    """The template with its other flow: one pass over the whole scene, and with an image beside it."""
    graph = workflow("storyboard")
    schemas = server.client.object_info(saved_graph.node_types(graph))

    def run(flow: str, **more) -> torch.Tensor:
        saved_graph.set_widget(graph, schemas, "AtelierStoryboard", "flow", flow)
        prompt = saved_graph.to_api(graph, schemas)
        (cards,) = [each for each in prompt.values() if each["class_type"] == "AtelierStoryboard"]
        (sampler,) = [each for each in prompt.values() if each["class_type"] == "AtelierSampleVideo"]
        sampler["inputs"]["steps"] = 8
        if more:
            prompt["picture"] = node("EmptyImage", width=64, height=64, batch_size=1, color=0xFF0000)
            cards["inputs"] |= {"images": ["picture", 0], **more}
        return graphs.frames(server.client, server.client.run(prompt))

    relayed = run("prompt relay")
    assert relayed.shape == (25, SIDE, SIDE, 3) and (relayed - run("windows")).abs().mean() > 0.001
    red = run("prompt relay", board="0s: a blue square\n1.5s [image 1]: a blue square")[13:17].mean(dim=(0, 1, 2))
    assert red[0] - red[1:].max() > 0.4
