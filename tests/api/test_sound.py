"""Sound in the API: of a model that makes it, and given to it. LTX-2 with tiny random weights."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import av
import numpy as np
import pytest
import sounds
import tiny_ltx2
from wire_client import FAST, png, wait


@pytest.fixture(scope="module")
def sounding(http, server) -> Callable[..., tuple[str, np.ndarray]]:
    """``sounding(path, **fields)`` asks LTX-2 with tiny random weights for a clip of 17 frames: (id, its sound).

    The sound is [samples] at 24 kHz; it has no samples if the clip has no sound.
    """
    tiny_ltx2.folder(server.base / "models" / "diffusers" / "tiny-ltx2", "2.0")
    body = {"model": "diffusers/tiny-ltx2", "prompt": "footsteps", "num_inference_steps": 1, "seed": 1}
    body |= {"num_frames": 17, "size": "64x64"}

    def make(path: str, files: dict | None = None, **fields) -> tuple[str, np.ndarray]:
        video = wait(
            http,
            http.post(path, **({"data": body | fields, "files": files} if files else {"json": body | fields})).json(),
        )
        assert video["status"] == "completed", video
        assert video["warnings"] == [], video
        return video["id"], heard(http.get(f"/videos/{video['id']}/content").content)

    return make


def posted(http, path: str, fields: dict, files: dict | None):
    return http.post(path, data=fields, files=files) if files else http.post(path, json=fields)


def heard(content: bytes) -> np.ndarray:
    with av.open(io.BytesIO(content)) as container:
        if not container.streams.audio:
            return np.zeros(0)
        mono = av.AudioResampler(format="flt", layout="mono", rate=24_000)
        parts = [part for frame in container.decode(audio=0) for part in mono.resample(frame)]
        return np.concatenate([part.to_ndarray().ravel() for part in (*parts, *mono.resample(None))])


def test_a_model_with_sound_makes_it_unless_told_not_to(http, sounding):
    """Generate, then remix, loop and extend what came out, which keep its sound in step."""
    made, sound = sounding("/videos")
    assert abs(len(sound) / 24_000 - 17 / 24) < 1 / 24 and np.abs(sound).max() > 1e-3
    assert not len(sounding("/videos", generate_audio=False)[1])
    for path, fields, frames in (
        ("/videos/edits", {"video": {"id": made}}, 17),
        (f"/videos/{made}/remix", {}, 17),
        ("/videos/edits", {"video": {"id": made}, "loop": "short"}, 17),
        ("/videos/extensions", {"video": {"id": made}}, 33),  # 17 more frames are 16; AAC pads the end
    ):
        changed, sound = sounding(path, **fields)
        picture = http.get(f"/videos/{changed}").json()["duration"]
        assert abs(picture - frames / 24) < 1 / 24, (path, fields, picture)
        assert abs(len(sound) / 24_000 - picture) < 0.1 and np.abs(sound).max() > 1e-3, (path, fields)
    video = http.post("/videos", json=FAST | {"generate_sound": True}).json()
    assert any("makes no sound" in warning for warning in video["warnings"])


def test_a_given_sound_is_kept_and_one_that_cannot_be_is_named(http, sounding, finished):
    """The sampler keeps a given sound whatever the seed, from a file, a data URL or a clip; the picture follows it."""
    url = "data:audio/wav;base64," + base64.b64encode(sounds.tone(0.8)).decode()
    _, sent = sounding("/videos", {"audio_reference": ("a.wav", sounds.tone(0.8))}, seed=2)
    made, linked = sounding("/videos", audio_reference={"audio_url": url}, seed=3)
    _, other = sounding("/videos", seed=3)
    assert np.abs(sent - linked).mean() < 0.1 * np.abs(linked - other).mean()
    for file in (
        sounds.tone(0.2, 8_000),
        sounds.tone(1.0, 48_000, channels=6),
        sounds.tone(0.8, broken=True),
        sounds.tone(0.8) + b"junk",
    ):
        assert len(sounding("/videos", {"audio": ("odd.wav", file)})[1])
    assert len(sounding("/videos", audio_reference={"id": made})[1])

    body = {"model": "diffusers/tiny-ltx2", "prompt": "footsteps"}
    for wrong, fields, message in (
        (b"RIFF\0\0\0\0WAVE", {}, "The sound"),
        (sounds.tone(0.0), {}, "empty"),
        (sounds.tone(601, 800), {}, "longer than 600 s"),
        (b"not a sound", {}, "type is not supported"),
        (png("red"), {}, "'audio_reference' must be a sound, not a picture"),
        (None, {"audio_reference": {"id": finished.id}}, "has no sound"),
        (sounds.tone(0.5), {"model": "pocket (built in)"}, "makes no sound"),
    ):
        files = {"audio_reference": ("it.wav", wrong)} if wrong is not None else None
        answer = posted(http, "/videos", body | fields, files)
        assert answer.status_code in (400, 422) and message in answer.json()["error"]["message"], answer.text
    answer = http.post("/videos", data=body, files={"input_reference": ("a.wav", sounds.tone(0.5))})
    assert "is a sound. Send a picture or a clip" in answer.json()["error"]["message"]
