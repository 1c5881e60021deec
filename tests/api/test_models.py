"""Every call that makes a video, with every kind of model: the pocket with its limits, an owner's alias without any,
and a checkpoint in its authors' layout, for which the owner set no limits."""

from __future__ import annotations

import pytest
import tiny
from wire_client import wait

SHORT = {"prompt": "a red circle moving left", "num_inference_steps": 1, "seed": 3}
CALLS = {
    "generate": ("/videos", {"num_frames": 9}),
    "storyboard": (
        "/videos",
        {"num_frames": 17, "storyboard": [{"time": 0, "prompt": "x"}, {"time": 1, "prompt": "y"}]},
    ),
    "edit": ("/videos/edits", {"video": True}),
    "shorter edit": ("/videos/edits", {"video": True, "num_frames": 9}),
    "loop": ("/videos/edits", {"video": True, "loop": True}),
    "extend": ("/videos/extensions", {"video": True, "seconds": 1}),
    "extend backward": ("/videos/extensions", {"video": True, "seconds": 1, "direction": "backward"}),
    "remix": ("/videos/{source}/remix", {}),
}


@pytest.fixture(scope="module", params=["sora-2", "alias", "diffusers/tiny"])
def model(request, server) -> str:
    """A model name for requests. The owner's api.json has the alias while a test runs."""
    if request.param == "diffusers/tiny" and not (folder := server.base / "models" / "diffusers" / "tiny").exists():
        tiny.folder(folder)
    return request.param


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """Model -> its finished video, which other tests edit and extend."""
    return {}


@pytest.fixture
def source(http, model, sources, owner) -> str:
    owner("api.json", {"models": {"alias": {"model": "pocket (built in)"}}})
    if model not in sources:
        body = SHORT | {"model": model, "num_frames": 17, "size": "64x64", "fps": 8}
        video = wait(http, http.post("/videos", json=body).json())
        assert video["status"] == "completed", video["error"]
        sources[model] = video["id"]
    return sources[model]


@pytest.mark.parametrize("call", CALLS)
def test_every_call_with_every_kind_of_model(http, model, source, call):
    path, body = CALLS[call]
    body = SHORT | body | ({} if call == "remix" else {"model": model})
    if body.pop("video", False):
        body["video"] = {"id": source}
    elif call != "remix":
        body |= {"size": "64x64", "fps": 8}
    answer = http.post(path.format(source=source), json=body)
    assert answer.status_code == 200, answer.text
    video = wait(http, answer.json())
    assert (video["status"], video["size"], video["model"]) == ("completed", "64x64", model), video["error"]
