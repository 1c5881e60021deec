"""The studio's Farm page over a real ComfyUI, API and queue, whose workers are `support/paper_farm`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import studio_page
from comfy_server import ComfyServer, running
from playwright.sync_api import expect
from wire_client import connect

PHONE = {"viewport": {"width": 360, "height": 740}}
SHOT = {"num_inference_steps": 30, "seed": 1}


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> Iterator[ComfyServer]:
    base = tmp_path_factory.mktemp("head")
    shutil.copytree(Path(studio_page.__file__).with_name("paper_farm"), base / "custom_nodes" / "paper_farm")
    (base / "user" / "atelier").mkdir(parents=True)
    (base / "user" / "atelier" / "api.json").write_text('{"farm": {"address": "127.0.0.1:6379"}}')
    with running(base, "comfyui") as server:
        yield server


def kept(studio: studio_page.Studio, name: str) -> None:
    """A screenshot where ATELIER_KEEP says."""
    if folder := os.environ.get("ATELIER_KEEP"):
        studio.page.screenshot(path=Path(folder) / f"farm-{name}.png")


def entry(studio: studio_page.Studio, text: str):
    return studio.page.locator("#farm .entry", has=studio.page.get_by_text(text))


LOOKS = [("dark", PHONE), *(pytest.param(colours, {}, marks=pytest.mark.slow) for colours in ("light", "dark"))]


@pytest.mark.parametrize(("colours", "context"), LOOKS)
def test_workers_are_shown_drained_resumed_and_removed(browser, head, colours, context):
    with connect(head.url) as http, studio_page.opened(browser, head.url, color_scheme=colours, **context) as studio:
        ids = [http.post("/videos", json=SHOT | {"prompt": f"boat {n}"}).json()["id"] for n in range(3)]
        studio.press("Farm")
        north, broken = entry(studio, "north"), entry(studio, "west")
        north.get_by_text("cuda:0 NVIDIA GeForce RTX 4090 · working 40 %").wait_for()
        north.get_by_text("pocket (built in) · 25.8 GB").wait_for()
        second = entry(studio, "boat 1")
        south = entry(studio, second.locator("strong").inner_text())
        broken.get_by_text("Last fault: its ComfyUI has no Atelier nodes").wait_for()
        studio.page.get_by_text("1 job waits").wait_for()
        studio.page.get_by_text("python run.py worker --head 127.0.0.1:6379").wait_for()
        south.get_by_role("link", name="boat 1").wait_for()
        kept(studio, f"{colours}{'-phone' if context else ''}")
        assert studio_page.serious(studio.page, "#farm") == []
        assert studio.page.evaluate("() => document.querySelector('#farm').scrollWidth <= innerWidth")

        south.get_by_role("button", name="No more work").click()
        south.get_by_text("finishes its job").wait_for()
        assert studio.focused() == "Give work", "the focus stays where it was pressed"
        http.post(f"/videos/{ids[1]}/cancel")
        south.get_by_text("gets no work").wait_for()
        south.get_by_role("button", name="Give work").click()
        south.get_by_text("working").wait_for()
        south.get_by_role("link", name="boat 2").click()
        expect(studio.page.locator("#farm")).to_be_hidden()
        assert studio.page.evaluate("() => location.hash") == f"#{ids[2]}"
        studio.says("boat 2")

        studio.press("Farm")
        broken.get_by_role("button", name="Remove").click()
        studio.page.locator("#question").get_by_role("button", name="Cancel").click()
        expect(broken).to_be_visible()
        for id in (ids[0], ids[2]):
            http.post(f"/videos/{id}/cancel")


def test_a_removed_worker_is_gone_and_its_job_waits(browser, head):
    """The last test of this file: the worker does not come back."""
    with connect(head.url) as http, studio_page.opened(browser, head.url) as studio:
        videos = {f"ship {n}": http.post("/videos", json=SHOT | {"prompt": f"ship {n}"}).json() for n in range(2)}
        studio.press("Farm")
        north = entry(studio, "north")
        lost = videos.pop(north.get_by_role("link", name="ship").inner_text())  # whichever worker was free first
        (other,) = videos.values()
        north.get_by_role("button", name="Remove").click()
        studio.page.locator("#question").get_by_role("button", name="Remove").click()
        studio.page.locator("#notices").get_by_text("north 3f9a1c20-0 is out of the farm.").wait_for()
        expect(north).to_have_count(0)
        studio.page.get_by_text("1 job waits").wait_for()
        while not lost.get("warnings"):  # the API hears of it after the page
            lost = http.get(f"/videos/{lost['id']}").json()
        assert lost["status"] == "queued" and "3f9a1c20-0: it was removed." in lost["warnings"][0], lost
        assert http.get(f"/videos/{other['id']}").json()["status"] == "in_progress"
        for video in (lost, other):
            http.post(f"/videos/{video['id']}/cancel")


def test_without_a_farm_there_is_no_word_of_it(browser, server):
    with studio_page.opened(browser, server.url) as studio:
        asked = []
        studio.page.on("request", lambda request: asked.append(request.url))
        studio.open()
        expect(studio.page.get_by_role("button", name="Models")).to_be_visible()
        expect(studio.page.locator("#farm-open")).to_have_count(0)
        assert [url for url in asked if "farm" in url] == [] and len(asked) > 10
