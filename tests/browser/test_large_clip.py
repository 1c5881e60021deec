"""A 4K clip of ten minutes, dropped from the disk where a person may drop one: taken in, cut, and put on a board."""

from __future__ import annotations

from pathlib import Path

import clips
import httpx2 as httpx
import pytest
import studio_page
import wire_client
from studio_page import Studio
from torch.nn.functional import interpolate

RATE, MINUTES = 8, 10


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 minutes of 3840 x 2160, in about 34 MB."""
    folder = tmp_path_factory.mktemp("large")
    picture = interpolate(clips.chart(16).movedim(-1, 0)[None], (2160, 3840))[0].movedim(0, -1)
    options = {"crf": "30", "preset": "ultrafast", "bf": "0", "g": f"{RATE}"}
    second = clips.make(folder / "second.mp4", picture.expand(RATE, -1, -1, -1), fps=RATE, options=options)
    return clips.repeated(folder / "ten minutes.mp4", second, 60 * MINUTES)


def drop(studio: Studio, selector: str, path: Path) -> None:
    """Drop a file of the disk, as the browser itself does it when a person lets go of it there."""
    place = studio.page.locator(selector)
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + min(box["height"] / 2, 20)}
    carried = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    devtools = studio.page.context.new_cdp_session(studio.page)
    for kind in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": kind, **at, "data": carried})


def finished(http: httpx.Client, studio: Studio, button: str) -> dict:
    return wire_client.wait(http, http.get(f"/videos/{studio.sends(button)}").json())


@pytest.mark.slow
def test_a_4k_clip_of_ten_minutes(browser, comfyui, large):
    url = comfyui("pinned", "--preview-method", "auto").url
    with wire_client.connect(url) as http, studio_page.opened(browser, url) as studio:
        studio.page.get_by_label("Enter your prompt").fill("what was written")
        drop(studio, "#gallery", large)
        studio.page.locator("#notices").get_by_text("among the videos").wait_for()
        studio.plays()
        (clip,) = http.get("/videos", params={"limit": 1}).json()["data"]
        assert (clip["size"], clip["num_frames"], clip["duration"]) == ("3840x2160", 60 * MINUTES * RATE, 60 * MINUTES)

        studio.press("Re-cut")
        scrub = studio.page.get_by_label("Frame of the result")
        for second in (599, 300, 1):
            scrub.fill(str(second * RATE))
        studio.page.keyboard.press("s")
        studio.page.get_by_role("button", name="Piece 2 of 2").press("Delete")
        cut = finished(http, studio, "Make the re-cut")
        assert (cut["status"], cut["size"], cut["num_frames"]) == ("completed", "3840x2160", RATE), cut

        studio.press("Storyboard")
        drop(studio, "#bench .tray", large)
        studio.page.locator(".shelf.own img").wait_for()
        studio.advanced(num_inference_steps=2)
        made = finished(http, studio, "Generate storyboard")
        assert (made["status"], made["warnings"]) == ("completed", []), made
        assert studio.value("Enter your prompt") == "what was written"
        for video in (made, cut, clip):
            http.delete(f"/videos/{video['id']}")
