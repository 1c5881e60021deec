"""The newest official Python client, unmodified, on a real ComfyUI with the pocket model."""

from __future__ import annotations

import io

import av
import openai
import pytest
from PIL import Image
from shipped_pocket import SIDE, SIZE

FAST = {"num_inference_steps": 2, "seed": 7}


def shape(content: bytes) -> tuple[int, int, int]:
    with av.open(io.BytesIO(content)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return len(pictures), *pictures[0].shape[:2]


def test_create_poll_and_download(client):
    video = client.videos.create(prompt="a red circle moving left", model="sora-2", extra_body=FAST)
    assert video.object == "video" and video.status in ("queued", "in_progress") and video.model == "sora-2"
    done = client.videos.poll(video.id)
    assert done.status == "completed", done.error
    assert (done.progress, done.size, done.seconds, done.seed) == (100, SIZE, "2", 7)
    assert done.completed_at >= done.created_at and done.error is None and done.warnings == []
    assert shape(client.videos.download_content(done.id).read()) == (17, SIDE, SIDE)


def test_old_code_runs_unchanged(client):
    done = client.videos.create_and_poll(
        prompt="a cat", model="sora-2-pro", size="720x1280", seconds="4", extra_body=FAST
    )
    assert done.status == "completed" and done.model == "sora-2-pro"
    frames, height, width = shape(client.videos.download_content(done.id).read())
    assert done.size == f"{width}x{height}" and height > width and frames == done.num_frames
    assert len(done.warnings) == 2


def test_variants(client, finished):
    picture = Image.open(io.BytesIO(client.videos.download_content(finished.id, variant="thumbnail").read()))
    sheet = Image.open(io.BytesIO(client.videos.download_content(finished.id, variant="spritesheet").read()))
    assert (picture.format, picture.size) == ("WEBP", (SIDE, SIDE))
    assert (sheet.format, sheet.size) == ("JPEG", (4 * SIDE, 4 * SIDE))


def test_streamed_download(client, finished):
    with client.videos.with_streaming_response.download_content(finished.id) as answer:
        content = b"".join(answer.iter_bytes())
    assert shape(content) == (17, SIDE, SIDE)


def test_remix(client, finished):
    done = client.videos.poll(client.videos.remix(finished.id, prompt="a blue circle").id)
    assert done.status == "completed" and done.remixed_from_video_id == finished.id and done.prompt == "a blue circle"


def test_edit_by_upload_and_by_id(client, finished, clip):
    with clip.open("rb") as file:
        uploaded = client.videos.edit(prompt="a blue circle", video=file, extra_body=FAST)
    body = {"video": {"id": finished.id}, **FAST}
    named = client.videos.edit(prompt="a blue circle", video=openai.omit, extra_body=body)
    assert [client.videos.poll(video.id).status for video in (uploaded, named)] == ["completed"] * 2
    assert (uploaded.remixed_from_video_id, named.remixed_from_video_id) == (None, finished.id)


def test_extend(client, finished, clip):
    with clip.open("rb") as file:
        video = client.videos.extend(prompt="a red circle moving left", video=file, seconds="1", extra_body=FAST)
    done = client.videos.poll(video.id)
    assert done.status == "completed" and done.num_frames == 25 and done.seconds == "3"
    assert shape(client.videos.download_content(done.id).read()) == (25, SIDE, SIDE)


def test_list_pages(client, finished):
    first = client.videos.list(limit=1)
    assert first.data[0].object == "video" and first.has_more == (len(list(client.videos.list())) > 1)
    oldest = [video.id for video in client.videos.list(order="asc")]
    assert [video.id for video in client.videos.list(limit=2)] == oldest[::-1]


def test_delete(client):
    video = client.videos.create_and_poll(prompt="a red circle", extra_body=FAST)
    gone = client.videos.delete(video.id)
    assert gone.deleted and gone.object == "video.deleted" and gone.id == video.id
    with pytest.raises(openai.NotFoundError) as error:
        client.videos.retrieve(video.id)
    assert error.value.code == "not_found"


def test_character(client, clip):
    with clip.open("rb") as file:
        made = client.videos.create_character(name="Ruby", video=file)
    assert client.videos.get_character(made.id).name == "Ruby"
    body = {"characters": [{"id": made.id}], **FAST}
    assert client.videos.create_and_poll(prompt="Ruby moves left", extra_body=body).status == "completed"


def test_models(client):
    names = [model.id for model in client.models.list()]
    assert {"sora-2", "sora-2-pro", "pocket (built in)"} <= set(names)
    assert client.models.retrieve("sora-2-2025-10-06").id == "sora-2-2025-10-06"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("sora-3")
