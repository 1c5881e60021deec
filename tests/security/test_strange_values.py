"""Values that are valid in one place and harmful in another: lone surrogates, nan weights, distant frames."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import av
import clips
import psutil
import pytest
import tiny
import torch
from atelier.api.errors import ApiError
from atelier.api.request import remote
from atelier.media import read
from atelier.media.probe import probe
from atelier.models.bridge.text_encoder import encode_text
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from wire_client import FAST, error

HALF = "\\ud800"
"""A lone surrogate in JSON: it parses, but it is not text."""
INSIDE = [f'{{"id": "{HALF}"}}', f'{{"{HALF}": "x"}}', f'["{HALF}"]', f'{{"image_url": "data:{HALF}"}}']
NAMES = ["input_reference", "last_frame", "video", "characters", "storyboard", "extra_body", "extra_params", "loop"]


@pytest.mark.parametrize("name", [*NAMES, "unknown"])
def test_half_characters(http, name):
    """In JSON, in JSON inside a string, and in forms: a 400 with the reason, or a field that is not used as text."""
    for inside in INSIDE:
        sent = [
            {"content": json.dumps({**FAST, name: "@"}).replace('"@"', inside)},
            {"content": json.dumps({**FAST, name: inside})},
            {"data": {**FAST, name: inside}},
            {"files": {name: (None, inside), "prompt": (None, "x")}},
        ]
        for one in sent:
            head = {"Content-Type": "application/json"} if "content" in one else {}
            answer = http.post("/videos", headers=head, **one)
            assert answer.status_code in (200, 400, 404, 422), (one, answer.text)
            if answer.status_code == 200:
                http.delete(f"/videos/{answer.json()['id']}")


@pytest.mark.parametrize(
    "call,path",
    [
        ("GET", "/videos?after=%ED%A0%80"),
        ("GET", "/videos/%ED%A0%80"),
        ("GET", "/models/%ED%A0%80"),
        ("GET", "/videos/characters/%FF%FE"),
        ("DELETE", "/videos/" + "x" * 5000),
        ("GET", "/models/" + "..%2F" * 1000),
        ("GET", "/videos/x/content?variant=%ED%A0%80"),
    ],
)
def test_addresses(http, call, path):
    assert http.request(call, path).status_code in (400, 404, 405)


def test_file_parts_with_strange_names(http):
    for name in ("\udc80".encode(errors="surrogateescape").decode("latin-1"), "x" * 5000, "a[b][c]", "../x"):
        answer = http.post("/videos", data=FAST, files={name: ("x.png", b"x")})
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 200:
            http.delete(f"/videos/{answer.json()['id']}")


@pytest.mark.parametrize(
    "path", ["a" * 5000, "a/" * 2500, "..%2f" * 200 + "api.json", "%00", "studio.js/x", "index.html/", "%ED%A0%80"]
)
def test_addresses_of_the_studio(server, http, path):
    assert http.get(f"{server.url}/atelier/{path}").status_code in (400, 404)


def test_the_studio_is_there(server, http):
    assert http.get(f"{server.url}/atelier").status_code == 200


@pytest.fixture(scope="module")
def clip_of_ours(tmp_path_factory):
    return load.load_clip(open_model(tiny.folder(tmp_path_factory.mktemp("weights") / "ltx")))


@pytest.mark.parametrize("weight", ["nan", "inf", "-inf", "1e400", "1e38", "-101"])
def test_weights_that_are_no_numbers(clip_of_ours, weight):
    """Each node that reads a prompt blames the prompt, not the model's file."""
    prompt = f"a cat (asleep:{weight}) in the sun"
    for read_prompt in (clip_of_ours.tokenize, lambda words: encode_text(clip_of_ours, words)):
        with pytest.raises(ValueError, match="The prompt gives a part of it the weight"):
            read_prompt(prompt)


def test_weights_that_are(clip_of_ours):
    for prompt in ("a (cat:1.2) (asleep:-1)", "a (cat:x)", r"a \(cat:nan\)", "((cat))", "nan inf"):
        ((embedding, _),), _ = encode_text(clip_of_ours, prompt)
        assert torch.isfinite(embedding).all()


def test_parentheses_without_end(clip_of_ours):
    began = time.monotonic()
    with pytest.raises(ValueError, match="parentheses"):
        clip_of_ours.tokenize("(" * 5000 + "a" + ")" * 5000)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("apart", [1800.0, 3600.0, 86400.0])
def test_frames_far_apart(tmp_path, apart):
    """Two frames with hours between them are a clip with a low frame rate."""
    path = clips.make(tmp_path / "far.mkv", clips.numbered(2), 1, "ffv1", "yuv420p", times=[0.0, apart], options={})
    clip = read.of_file(path)
    assert 0 < clip.rate <= 1 / 1000 and clip.times == [0.0, apart] and clip.length >= apart
    assert len(read.frames_at(clip, clip.rate)) in (1, 2, 3)


def test_a_film_that_pauses(tmp_path):
    """The clip's length is the end of its last frame, not its number of frames."""
    times = [n / 24 for n in range(24)] + [62.0]
    path = clips.make(tmp_path / "paused.webm", clips.numbered(25), 24, "libvpx-vp9", "yuv420p", times=times)
    assert 60 < probe(path).seconds < 66


def test_huge_frames_are_never_whole(tmp_path):
    """A frame of 64 million pixels takes 768 MB as float32, and several times that while it is resized."""
    cells = torch.rand(1, 12, 12, 3, generator=torch.Generator().manual_seed(0))
    with av.open(str(tmp_path / "huge.mkv"), "w") as output:
        stream = output.add_stream("mjpeg", rate=24, options={"qscale": "3"})
        stream.width = stream.height = 7992
        stream.pix_fmt = "yuvj420p"
        array = cells[0].repeat_interleave(666, 0).repeat_interleave(666, 1).mul(255).byte().numpy()
        frame = av.VideoFrame.from_ndarray(array, format="rgb24")
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    del array, frame
    clip = read.of_file(tmp_path / "huge.mkv")
    with peak_memory() as peak:
        (small,) = torch.cat(list(read.read(clip, [0], (96, 96), "crop")))
    assert peak() < 700e6
    middles = small[4::8, 4::8]
    assert middles.shape == (12, 12, 3) and (middles - cells[0]).abs().mean() < 0.06


@contextmanager
def peak_memory() -> Iterator[Callable[[], float]]:
    """Peak growth of this process's memory in bytes, sampled every few milliseconds."""
    process, over = psutil.Process(), threading.Event()
    start, most = process.memory_info().rss, [0]

    def watch() -> None:
        while not over.wait(0.005):
            most[0] = max(most[0], process.memory_info().rss - start)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: most[0]
    finally:
        over.set()
        thread.join()


PUBLIC = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "2a00:1450:4001:82b::200e", "8.8.8.8"]
NOT_PUBLIC = {
    "NAT64": ["64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1"],
    "6to4": ["2002:7f00:1::1", "2002:a00:1::", "2002:c0a8:101::1", "192.88.99.1"],
    "Teredo": ["2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "IPv4 in IPv6": ["::ffff:10.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::ffff:0:10.0.0.1", "::10.0.0.1"],
    "local": ["::1", "::", "fe80::1%eth0", "fec0::1", "fc00::1", "fd12::1", "ff02::1", "100::1"],
    "examples": ["2001:db8::1", "3fff::1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1"],
    "IPv4": ["0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.0.1"],
    "of a kind": ["192.0.0.8", "192.0.0.170", "224.0.0.1", "240.0.0.1", "255.255.255.255", "2001:20::1", "5f00::1"],
}


@pytest.mark.parametrize("kind", NOT_PUBLIC)
def test_special_addresses(kind):
    for address in NOT_PUBLIC[kind]:
        with pytest.raises(ApiError):
            remote._check(address)


def test_public_addresses():
    for address in PUBLIC:
        remote._check(address)


def test_special_addresses_are_not_fetched(http, owner):
    owner("api.json", {"remote_images": True})
    for host in ("[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::ffff:127.0.0.1]", "127.0.0.1", "[fe80::1%25eth0]"):
        body = FAST | {"input_reference": {"image_url": f"http://{host}/x.png"}}
        assert error(http.post("/videos", json=body))[1] in ("private_address", "invalid_value")
