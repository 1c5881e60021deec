"""What a sampler shows under its node in the browser: all that it has to say, once."""

from __future__ import annotations

import asyncio
import json
import uuid

import aiohttp
import graphs
import pytest
import tiny_pyramid
import torch
from atelier.nodes import sample
from client import Client
from graphs import node
from protocol import BinaryEventTypes

PYRAMID = "diffusers/notices/diffusion_transformer_384p"
SETTINGS = dict(seed=3, steps=1, cfg=3.0, sampler_name="euler", scheduler="simple", denoise=1.0)


def notices(client: Client, prompt: dict) -> dict[str, list[str]]:
    """Run a graph as the editor does -> the notices of each node, in one line each."""
    found: dict[str, list[str]] = {}

    async def follow() -> None:
        identity = uuid.uuid4().hex
        address = client.url.replace("http", "ws", 1) + f"/ws?clientId={identity}"
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
            await session.post(client.url + "/prompt", json={"prompt": prompt, "client_id": identity})
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.BINARY:
                    event = json.loads(message.data)["type"]
                    assert event not in ("execution_error", "execution_interrupted")
                    if event == "execution_success":
                        return
                elif int.from_bytes(message.data[:4], "big") == BinaryEventTypes.TEXT:
                    end = 8 + int.from_bytes(message.data[4:8], "big")
                    text = " ".join(message.data[end:].decode().split())
                    found.setdefault(message.data[8:end].decode(), []).append(text)

    asyncio.run(asyncio.wait_for(follow(), 300))
    return found


@pytest.mark.parametrize("sampler", ["AtelierSampleVideo", "KSampler"])
def test_what_of_a_mask_pyramid_flow_cannot_follow(server, models, sampler):
    tiny_pyramid.folder(models / "diffusers" / "notices", "miniflux")
    graph = graphs.text_to_video(model=PYRAMID, width=64, height=64, frames=17, steps=1)
    place = dict(vae=["load", 2], latent=["empty", 0], images=["image", 0], position="last", time=0.0, strength=1.0)
    graph |= {
        "image": node("EmptyImage", width=64, height=64, batch_size=1, color=0xC04020),
        "place": node("AtelierPlaceFrames", **place),
    }
    graph["sample"]["inputs"]["latent"] = ["place", 0]
    if sampler == "KSampler":
        texts = dict(positive=["text", 0], negative=["text", 1])
        graph["sample"] = node("KSampler", model=["load", 0], **texts, latent_image=["place", 0], **SETTINGS)
    before = len(server.log.read_text())
    said = notices(server.client, graph)["sample"]
    assert len(said) == 1 and "Pyramid Flow miniflux 384p looks back only" in said[0]
    assert said[0].startswith("Atelier") == (sampler == "KSampler")  # else the browser drops it at the job's end
    assert server.log.read_text()[before:].count("looks back only") == 1


def test_warnings_are_shown_together(monkeypatch):
    """A node shows its newest notice only: one holds them all, and they stay above what the farm says."""
    shown, kept = [], []
    monkeypatch.setattr(sample, "show", lambda _, text, above="": shown.append((above, text)))
    monkeypatch.setattr(sample, "warnings", lambda *_: ["one", "another"])
    monkeypatch.setattr(sample, "memory_warning", lambda *_: "a third")
    monkeypatch.setattr(sample, "schedule", lambda *_: None)
    monkeypatch.setattr(sample, "sample", lambda *_, **given: kept.append(given))
    latent = {"samples": torch.zeros(1, 16, 1, 8, 8)}
    asyncio.run(sample.SampleVideo.execute(None, [], [], latent, 1, 1, 0.0, 1.0))
    assert shown == [("", "one\n\nanother\n\na third")] and len(kept) == 1
