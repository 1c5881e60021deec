"""The graph inside pictures and clips: as ComfyUI, we and VideoHelperSuite write it."""

from __future__ import annotations

import io
import json

import av
import numpy as np
import pytest
from atelier.media import tags
from PIL import Image
from PIL.PngImagePlugin import PngInfo

GRAPH = {"workflow": json.dumps({"nodes": [], "title": "ä : ö"}), "prompt": json.dumps({"1": {"class_type": "X"}})}


def png() -> bytes:
    info, file = PngInfo(), io.BytesIO()
    for name, text in GRAPH.items():
        info.add_text(name, text)
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def webp() -> bytes:
    picture, file = Image.new("RGB", (8, 8)), io.BytesIO()
    exif = picture.getexif()
    exif[0x0110], exif[0x010F] = f"prompt:{GRAPH['prompt']}", f"workflow:{GRAPH['workflow']}"
    picture.save(file, "WEBP", exif=exif)
    return file.getvalue()


def mp4(**metadata: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata.update(metadata)
        stream = container.add_stream("libx264", rate=8)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode()])
    return file.getvalue()


FILES = {
    "PNG": png,
    "WebP": webp,
    "MP4 of ComfyUI": lambda: mp4(**GRAPH),
    "MP4 of VideoHelperSuite": lambda: mp4(comment=json.dumps(GRAPH)),
}


@pytest.mark.parametrize("write", FILES.values(), ids=FILES)
def test_the_graph_is_read(write):
    found = tags.read(write())
    assert {name: json.loads(found[name]) for name in GRAPH} == {n: json.loads(text) for n, text in GRAPH.items()}


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + b"\xff" * 99, b"RIFF1234WEBPxx",
                                     b"\xff\xd8\xff\xe1\xff\xff", b"words" * 99, png()[:60], mp4(comment="{")[:300],
                                     mp4(comment="[1]"), mp4(comment="{" * 5000)])  # fmt: skip
def test_what_has_no_graph_has_no_tags(content):
    found = tags.read(content)
    assert not found.keys() & GRAPH.keys()
