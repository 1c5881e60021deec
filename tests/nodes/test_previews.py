"""Previews in a real ComfyUI: the whole clip plays on the node while it is sampled, if ComfyUI's previews are on."""

from __future__ import annotations

import asyncio
import io
import json
import uuid
from collections.abc import Iterator

import aiohttp
import graphs
import pytest
import tiny_pyramid
from atelier.farm.worker import Held, Worker
from client import Client, JobInterrupted
from comfy_server import running
from PIL import Image
from protocol import BinaryEventTypes

STEPS = 60
PYRAMID = "diffusers/pyramid/diffusion_transformer_384p"
SIZE = dict(width=128, height=64, frames=33)
LONG = dict(width=128, height=128, frames=129)
"""A clip that takes the pocket model's autoencoder seconds."""
OTHER_PACK = """
import latent_preview, server

comfyui_s = latent_preview.get_previewer

class Silent(latent_preview.LatentPreviewer):
    def decode_latent_to_preview_image(self, preview_format, x0):
        return None

def get_previewer(*args, **kwargs):
    running = next(iter(server.PromptServer.instance.prompt_queue.currently_running.values()))
    return Silent() if running[3].get("other_pack") else comfyui_s(*args, **kwargs)

latent_preview.get_previewer = get_previewer
NODE_CLASS_MAPPINGS = {}
"""
"""Puts its own previews in the place of ComfyUI's if a request asks for them, as VideoHelperSuite does."""


@pytest.fixture(scope="module")
def previewing(tmp_path_factory) -> Iterator[Client]:
    """A client of a server with previews on, and a tiny Pyramid Flow and another pack with previews in it."""
    base = tmp_path_factory.mktemp("previews")
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "other_pack.py").write_text(OTHER_PACK)
    tiny_pyramid.folder(base / "models" / "diffusers" / "pyramid", "miniflux")
    with running(base, "comfyui", options=("--preview-method", "auto")) as server, Client(server.url) as client:
        yield client


def watched(
    client: Client, prompt: dict, stop_after: int = 0, metadata: bool = False, **extra: bool
) -> tuple[list, list]:
    """Queue a graph as the editor does; the sampler's progress and the previews' pictures in the order they came.

    extra: of the request's extra_data.
    """
    steps, pictures = [], []

    async def follow() -> None:
        identity = uuid.uuid4().hex
        address = client.url.replace("http", "ws", 1) + f"/ws?clientId={identity}"
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
            if metadata:
                features = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
                await socket.send_json(features)
            request = {"prompt": prompt, "client_id": identity, "extra_data": extra}
            await session.post(client.url + "/prompt", json=request)
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY:
                    if kind_of(message.data) == BinaryEventTypes.TEXT:
                        continue
                    pictures.append((len(steps), *opened(message.data)))
                    if len(pictures) == stop_after:
                        await session.post(client.url + "/interrupt", json={})
                    continue
                event = json.loads(message.data)
                if event["type"] == "progress" and event["data"]["node"] == "sample":
                    steps.append(event["data"]["value"])
                if event["type"] in ("execution_success", "execution_error", "execution_interrupted"):
                    assert event["type"] == ("execution_interrupted" if stop_after else "execution_success")
                    return

    asyncio.run(asyncio.wait_for(follow(), 300))
    return steps, pictures


def kind_of(message: bytes) -> int:
    return int.from_bytes(message[:4], "big")


def opened(message: bytes) -> tuple[dict, Image.Image]:
    """The metadata and the picture of a preview message, of either kind that ComfyUI sends."""
    size = int.from_bytes(message[4:8], "big")
    described = kind_of(message) == BinaryEventTypes.PREVIEW_IMAGE_WITH_METADATA
    told = json.loads(message[8 : 8 + size]) if described else {}
    return told, Image.open(io.BytesIO(message[8 + (size if told else 0) :]))


@pytest.mark.parametrize(
    "metadata",
    [pytest.param(False, id="older client", marks=pytest.mark.slow), pytest.param(True, id="newer client")],
)
def test_the_clip_plays_on_the_node_while_it_is_sampled(previewing, metadata):
    steps, pictures = watched(previewing, graphs.text_to_video(steps=STEPS, seed=30 + metadata), metadata=metadata)
    assert steps[-1] == STEPS
    assert len(pictures) > STEPS  # ComfyUI alone sends one picture with each step
    assert {picture.size for _, _, picture in pictures} == {(512, 512)}
    assert {told.get("node_id") for _, told, _ in pictures} == ({"sample"} if metadata else {None})
    assert [step for step, _, _ in pictures] == sorted(step for step, _, _ in pictures)


def test_frames_finished_so_far_by_a_sampler_that_makes_one_after_the_other(previewing):
    steps, pictures = watched(previewing, graphs.text_to_video(model=PYRAMID, steps=8, **SIZE))
    assert len(pictures) > steps[-1] == 3 * (16 + 4 * 8)
    assert {picture.size for _, _, picture in pictures} == {(512, 256)}


def test_decoded_frames_play_on_decode_video_as_they_come(previewing):
    graph = graphs.text_to_video(seed=32, **LONG)
    del graph["sample"]
    graph["decode"]["inputs"]["latent"] = ["empty", 0]
    _, pictures = watched(previewing, graph, metadata=True)
    decoded = [picture for _, told, picture in pictures if told["node_id"] == "decode"]
    assert len(decoded) > 1 and {picture.size for picture in decoded} == {(512, 512)}
    del graph["save"]
    graph["empty"]["inputs"]["batch_size"] = 2  # or ComfyUI would have the result
    assert watched(previewing, graph, metadata=True)[1] == []  # it will show its video, which a preview would replace


def test_a_farms_worker_hands_on_what_is_there_of_a_clip(previewing, tmp_path, monkeypatch):
    """The actor's own call, without Ray. What the head's client has comes without content."""
    monkeypatch.setenv("ATELIER_FARM_BASE", str(tmp_path))
    worker = Worker("n-0")
    worker._url = previewing.url
    job = previewing.queue(graphs.text_to_video(steps=400, seed=35, **LONG))
    worker._jobs[job] = Held()

    async def first_and_the_same_again() -> None:
        clip = None
        while clip is None:
            clip = await worker.so_far(job, [])
        while (again := await worker.so_far(job, [1, clip["version"]]))["version"] != clip["version"]:
            assert again["content"]
            clip = again
        assert again == clip | {"content": None}
        assert clip["seconds"] > 5 and clip["decoded"] is False
        animation = Image.open(io.BytesIO(clip["content"]))
        assert animation.format == "WEBP" and animation.n_frames > 1
        assert await worker.so_far("another", []) is None

    asyncio.run(asyncio.wait_for(first_and_the_same_again(), 120))
    previewing.interrupt()
    with pytest.raises(JobInterrupted):
        previewing.wait(job)
    worker._jobs[job].ended = True
    assert asyncio.run(worker.so_far(job, [])) is None


def test_another_packs_previews_are_not_disturbed(previewing):
    graph = graphs.text_to_video(steps=STEPS, seed=33)
    graph["keep"] = graphs.node("SaveLatent", samples=["sample", 0], filename_prefix="quiet")
    del graph["decode"], graph["save"]  # Decode Video has a player of its own
    steps, pictures = watched(previewing, graph, other_pack=True)
    assert steps[-1] == STEPS and pictures == []


@pytest.mark.parametrize("model", ["pocket (built in)", PYRAMID])
def test_cancelling_while_it_plays(previewing, model):
    def graph(seed: int) -> dict:
        return graphs.text_to_video(model=model, steps=400, seed=seed, **SIZE)

    steps, _ = watched(previewing, graph(4), stop_after=12)
    assert steps and steps[-1] < 400
    with pytest.raises(JobInterrupted):
        previewing.wait(previewing.queue(graph(5)), stop_at_once(previewing))


def stop_at_once(client: Client):
    return lambda kind, data: client.interrupt() if kind == "progress" and data["value"] == 3 else None


def test_no_previews_where_comfyuis_own_are_off(server):
    steps, pictures = watched(server.client, graphs.text_to_video(steps=20, seed=6))
    assert steps[-1] == 20 and pictures == []
