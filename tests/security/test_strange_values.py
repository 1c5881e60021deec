"""Values that are legal somewhere and trouble elsewhere: half characters, weights that are no numbers, far frames."""

from __future__ import annotations

import time

import clips
import pytest
import tiny
import torch
from atelier.api.errors import ApiError
from atelier.api.request import remote
from atelier.media import read
from atelier.models.bridge.text_encoder import encode_text
from atelier.models.loading import load
from wire_client import FAST, error


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
    return load.load_clip(tiny.folder(tmp_path_factory.mktemp("weights") / "ltx"))


@pytest.mark.parametrize("weight", ["nan", "inf", "-inf", "1e400", "1e38", "-101"])
def test_weights_that_are_no_numbers(clip_of_ours, weight):
    """The prompt is named, by every node that reads one; the model's file is not to blame."""
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
    """Two frames that are hours apart are a clip with a low rate."""
    path = clips.make(tmp_path / "far.mkv", clips.numbered(2), 1, "ffv1", "yuv420p", times=[0.0, apart], options={})
    clip = read.of_file(path)
    assert 0 < clip.rate <= 1 / 1000 and clip.times == [0.0, apart] and clip.length >= apart
    assert len(read.frames_at(clip, clip.rate)) in (1, 2, 3)


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
