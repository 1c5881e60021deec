"""Plain HTTP to the Videos API, for tests of the protocol itself; and a saved graph that runs in no time."""

from __future__ import annotations

import base64
import io
import time
from typing import Any

import httpx2 as httpx
from PIL import Image

FAST = {"prompt": "a red circle moving left", "num_inference_steps": 2, "seed": 3}
SLOW = FAST | {"num_inference_steps": 400}


def connect(url: str) -> httpx.Client:
    return httpx.Client(base_url=f"{url}/v1", timeout=60)


def wait(http: httpx.Client, video: dict) -> dict:
    """Wait until the video is completed or failed, and return it."""
    while video["status"] in ("queued", "in_progress"):
        time.sleep(0.1)
        video = http.get(f"/videos/{video['id']}").json()
    return video


def until_running(http: httpx.Client, video: dict) -> dict:
    """Wait until a model is working on the video, and return it."""
    while video["status"] == "queued":
        time.sleep(0.05)
        video = http.get(f"/videos/{video['id']}").json()
    assert video["status"] == "in_progress", video
    return video


def error(answer: httpx.Response) -> tuple[int, str, str | None]:
    """(status, code, param) of an error in OpenAI's form."""
    said = answer.json()["error"]
    assert set(said) == {"message", "type", "param", "code"} and said["message"]
    return answer.status_code, said["code"], said["param"]


def png(color: str = "red", size: tuple[int, int] = (64, 64)) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", size, color).save(made, "PNG")
    return made.getvalue()


def data_url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def coloured_frames() -> dict[str, Any]:
    """A saved graph without a model: two frames whose colour is the seed. For tests of queues and files."""
    image = {"outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}], "widgets_values": [16, 16, 2, 0]}
    video = {"inputs": [{"name": "images", "type": "IMAGE", "link": 1}], "widgets_values": [8.0]}
    save = {"inputs": [{"name": "video", "type": "VIDEO", "link": 2}], "widgets_values": ["x", "mp4", "h264"]}
    video["outputs"] = [{"name": "VIDEO", "type": "VIDEO", "links": [2]}]
    return {
        "nodes": [
            {"id": 1, "type": "EmptyImage", "title": "Empty Image {color=seed}", **image},
            {"id": 2, "type": "CreateVideo", "title": "Create Video {fps}", **video},
            {"id": 3, "type": "SaveVideo", "title": "Save Video {filename_prefix=output}", **save},
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "VIDEO"]],
    }
