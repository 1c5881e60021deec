"""Sound in the API: of a model that makes it, and given to it. LTX-2 with tiny random weights."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import av
import clips
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


STEP = 0.5
"""Seconds that each tone of a `stepped` clip lasts."""
FRAME = 1 / 24


def stepped(path: Path, *tones: int) -> Path:
    """A clip at 24 fps whose sound is one tone after the other, in Hz."""
    time = np.arange(round(STEP * 48_000)) / 48_000
    wave = np.concatenate([0.5 * np.sin(2 * np.pi * hertz * time) for hertz in tones]).astype(np.float32)
    pictures = clips.numbered(round(len(tones) * STEP * 24), 64, 64)
    return clips.make(path, pictures, fps=24, sound=np.stack([wave, wave]))


def pitch(sound: np.ndarray, begin: float) -> float:
    """The loudest tone of the frame that begins at `begin` seconds, in Hz."""
    part = sound[round(begin * 24_000) : round((begin + FRAME) * 24_000)]
    return float(np.abs(np.fft.rfft(part * np.hanning(len(part)), 24_000)).argmax())


def pitches(sound: np.ndarray, *pieces: tuple[float, float]) -> list[tuple[int, int]]:
    """What is heard at the second frame of each piece (begin and end in seconds) and at the last but one, to 50 Hz."""
    seen = [(pitch(sound, begin + FRAME), pitch(sound, end - 2 * FRAME)) for begin, end in pieces]
    return [(round(first / 50) * 50, round(last / 50) * 50) for first, last in seen]


@pytest.fixture
def changed(http, sounding, tmp_path) -> Callable[..., np.ndarray]:
    """``changed(path, other, **fields)`` asks for an edit of a stepped clip, and gives the sound of what comes back.

    other: the tones of a second clip, if there is one.
    """
    clip = stepped(tmp_path / "clip.mp4", 400, 700, 1000, 1300)
    body = {"model": "diffusers/tiny-ltx2", "prompt": "steps", "num_inference_steps": 1, "seed": 1}

    def make(path: str, other: tuple[int, ...] = (), **fields) -> np.ndarray:
        files = {"video": clip} | ({"blend_video": stepped(tmp_path / "other.mp4", *other)} if other else {})
        sent = {name: (f"{name}.mp4", file.read_bytes(), "video/mp4") for name, file in files.items()}
        video = wait(http, http.post(path, data=body | fields, files=sent).json())
        assert video["status"] == "completed", video
        return heard(http.get(f"/videos/{video['id']}/content").content)

    return make


def test_the_sound_of_a_clip_is_cut_with_its_frames(changed):
    """Re-cut, and with a gap that the model fills: each tone begins and ends within a frame of its picture."""
    cut = changed("/videos/edits", recut="1 - 1.5\n0 - 0.5\n1.5 -")
    assert pitches(cut, (0, 0.5), (0.5, 1), (1, 1.5)) == [(1000, 1000), (400, 400), (1300, 1300)]
    gap = 16 * FRAME  # two latent frames
    filled = changed("/videos/edits", recut=f"0 - 0.5\ngap {gap:.3f}\n1 -")
    later = (0.5 + gap, 1 + gap), (1 + gap, 1.5 + gap)
    assert pitches(filled, (0, 0.5), *later) == [(400, 400), (1000, 1000), (1300, 1300)]


@pytest.mark.slow
def test_extended_blended_and_looped_clips_keep_their_own_sound_in_step(changed):
    longer = changed("/videos/extensions", num_frames=17)
    assert pitches(longer, (0, 0.5), (0.5, 1), (1, 1.5), (1.5, 2))[::3] == [(400, 400), (1300, 1300)]
    assert len(longer) / 24_000 > 2 + 15 * FRAME and np.abs(longer[round(2.1 * 24_000) :]).max() > 1e-3
    blend = json.dumps({"seconds": round(16 * FRAME, 3), "curve": "0:0, 1:1"})
    blended = changed("/videos/edits", (1600, 1900, 2200, 2500), blend=blend)
    moved = 31 * FRAME  # of the second clip, which begins with its second frame, 16 are in the blend
    assert pitches(blended, (0, 0.5), (0.5, 1)) == [(400, 400), (700, 700)]
    assert pitches(blended, (1 + moved, 1.5 + moved), (1.5 + moved, 2 + moved)) == [(2200, 2200), (2500, 2500)]
    turning = changed("/videos/edits", loop="short")  # begins elsewhere; what is not the seam is the clip's own sound
    kept = [min(abs(pitch(turning, n * FRAME) - hertz) for hertz in (400, 700, 1000, 1300)) < 25 for n in range(40)]
    assert sum(kept) >= 20


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
    """A given sound is in the clip, whatever the seed, from a file, a data URL or a clip; the picture follows it."""
    url = "data:audio/wav;base64," + base64.b64encode(sounds.tone(0.8)).decode()
    _, sent = sounding("/videos", {"audio_reference": ("a.wav", sounds.tone(0.8))}, seed=2)
    made, linked = sounding("/videos", audio_reference={"audio_url": url}, seed=3)
    _, other = sounding("/videos", seed=3)
    sent, linked, other = (heard[: round(17 / 24 * 24_000)] for heard in (sent, linked, other))  # AAC pads the end
    assert np.abs(sent - linked).mean() < 0.01 * np.abs(linked - other).mean()
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(sent)) / 24_000)
    assert np.abs(sent / 2**0.5 - tone).mean() < 0.02  # FFmpeg adds both sides up, 0.7 of each; the rest is AAC's loss
    board = "0s: steps\n0.4s: rain"
    _, told = sounding("/videos", {"audio_reference": ("a.wav", sounds.tone(0.8))}, storyboard=board)
    assert np.abs(told[: len(tone)] / 2**0.5 - tone).mean() < 0.02
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
