"""A graph of a dormant pack in ComfyUI's own front ends: dropped, asked about, opened with Atelier, run and played."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import front_ends
import pytest
import saved
from atelier.media.embed import in_png

DROP = """async ([name, type, base64]) => {
    const bytes = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0))
    const files = new DataTransfer()
    files.items.add(new File([bytes], name, {type}))
    const at = document.querySelector('#graph-canvas') ?? document.querySelector('canvas')
    const {x, y, width, height} = at.getBoundingClientRect()
    const where = {clientX: x + width / 2, clientY: y + height / 2, dataTransfer: files}
    for (const kind of ['dragenter', 'dragover', 'drop']) 
        at.dispatchEvent(new DragEvent(kind, {...where, bubbles: true, cancelable: true}))
}"""
TYPES = "() => app.graph._nodes.map(node => node.type).sort()"
QUESTION = "was made for CogVideoXWrapper. Open it with Atelier?"


@pytest.fixture
def keep(request, tmp_path):
    """Where screenshots go: ATELIER_KEEP names a folder that outlives the test."""
    folder = Path(os.environ.get("ATELIER_KEEP") or tmp_path)
    view = request.node.callspec.params["view"].replace(", ", "-")
    return lambda name: str(folder / f"old-graph-{view}-{name}.png".replace(" ", "-"))


def old_graph() -> dict:
    """Text to video of a model that is installed here under the name that the graph has; a note beside it."""
    nodes = {
        36: ("DownloadAndLoadCogVideoModel", [], ["COGVIDEOMODEL", "VAE"], ["pocket (built in)", "bf16", "disabled",
                                                                           False, "sageattn", "main_device"]),
        20: ("CLIPLoader", [], ["CLIP"], ["t5xxl_fp16.safetensors", "sd3"]),
        37: ("EmptyLatentImage", [], ["LATENT"], [64, 64, 1]),
        30: ("CogVideoTextEncode", [("clip", "CLIP", 20, 0)], ["CONDITIONING", "CLIP"],
             ["a red circle moving left", 1, False]),
        31: ("CogVideoTextEncode", [("clip", "CLIP", 30, 1)], ["CONDITIONING", "CLIP"], ["", 1, True]),
        63: ("CogVideoSampler", [("model", "COGVIDEOMODEL", 36, 0), ("positive", "CONDITIONING", 30, 0),
                                 ("negative", "CONDITIONING", 31, 0), ("samples", "LATENT", 37, 0)], ["LATENT"],
             [17, 2, 3, 7, "fixed", "DPM++", 1]),
        60: ("CogVideoDecode", [("vae", "VAE", 36, 1), ("samples", "LATENT", 63, 0)], ["IMAGE"], [True]),
        44: ("CreateVideo", [("images", "IMAGE", 60, 0)], ["VIDEO"], [8]),
        45: ("SaveVideo", [("video", "VIDEO", 44, 0)], [], ["old", "auto", "auto"]),
        46: ("Note", [], [], ["my own note"]),
    }  # fmt: skip
    return saved.graph(nodes)


def drop(view, name: str, kind: str, content: bytes) -> None:
    view.page.evaluate(DROP, [name, kind, base64.b64encode(content).decode()])


def answer(view, yes: bool) -> None:
    view.page.get_by_text(QUESTION).wait_for(timeout=30_000)
    view.page.locator("button", has_text="Confirm" if yes else "Cancel").last.click()


@pytest.mark.parametrize("view", front_ends.BOTH, indirect=True)
def test_an_old_graph_is_dropped_opened_run_and_played(view, keep):
    drop(view, "my shot.json", "application/json", json.dumps(old_graph()).encode())
    view.page.get_by_text(QUESTION).wait_for(timeout=30_000)
    view.page.screenshot(path=keep("question"))
    answer(view, yes=True)
    view.page.wait_for_function(
        "() => app.graph._nodes.some(node => node.type === 'AtelierSampleVideo')", timeout=30_000
    )
    types = view.page.evaluate(TYPES)
    assert not [kind for kind in types if kind.startswith("Cog")] and types.count("Note") == 2, types
    assert all(node["known"] and not node["error"] for node in view.nodes())
    shown = "() => document.body.innerText"
    assert "scheduler DPM++ is lost" in view.page.evaluate(shown)
    view.page.screenshot(path=keep("opened"))
    assert overlaps(view.areas()) == []
    ended = view.run()
    assert ended["kind"] == "execution_success", ended
    clips = view.play()
    assert clips and all(clip["error"] is None and clip["width"] == 64 for clip in clips)
    view.page.screenshot(path=keep("played"))
    assert view.errors == []


def overlaps(areas: dict[str, list[float]]) -> list[tuple[str, str]]:
    """Pairs of nodes of which one covers more than a corner of the other on the screen."""
    found = []
    boxes = sorted(areas.items())
    for number, (one, (x, y, w, h)) in enumerate(boxes):
        for other, (a, b, c, d) in boxes[number + 1 :]:
            if min(x + w, a + c) - max(x, a) > 2 and min(y + h, b + d) - max(y, b) > 2:
                found.append((one, other))
    return found


@pytest.mark.parametrize("view", front_ends.BOTH, indirect=True)
def test_a_picture_is_asked_about_too_and_no_leaves_it_to_comfyui(view, png):
    drop(view, "shot.png", "image/png", in_png(png, {"workflow": json.dumps(old_graph())}))
    answer(view, yes=False)
    view.page.wait_for_function("() => app.graph._nodes.some(node => node.type === 'CogVideoSampler')", timeout=30_000)


@pytest.fixture
def png() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    return file.getvalue()
