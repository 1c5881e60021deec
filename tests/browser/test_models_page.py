"""The studio's Models page: from the pocket model alone to a video of a fetched one, and what it says on the way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import axe_playwright_python
import pytest
import shop as shops
import studio_page
from playwright.sync_api import expect
from shop import Shop

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
PHONE = {"viewport": {"width": 360, "height": 740}}


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory) -> Iterator[Shop]:
    with shops.open_shop(tmp_path_factory.mktemp("shop")) as made:
        yield made


@pytest.fixture
def shop(opened: Shop) -> Shop:
    opened.empty()
    return opened


def kept(studio: studio_page.Studio, name: str) -> None:
    """A screenshot where ATELIER_KEEP says."""
    if folder := os.environ.get("ATELIER_KEEP"):
        studio.page.screenshot(path=Path(folder) / f"models-{name}.png")


def entry(studio: studio_page.Studio, name: str):
    return studio.page.locator("#library .entry", has=studio.page.get_by_text(name, exact=True))


def test_four_clicks_to_the_first_real_video(browser, shop):
    with studio_page.opened(browser, shop.server.url) as studio:
        studio.says("This is the pocket model")
        kept(studio, "hint")
        studio.page.get_by_label("Enter your prompt").fill("a paper boat")
        studio.press("Get a real one")
        tiny = entry(studio, "Tiny folder")
        tiny.get_by_text("3 MB").wait_for()
        kept(studio, "list")
        tiny.get_by_role("button", name="Get").click()
        tiny.get_by_role("button", name="Use").click()
        assert studio.focused() == "prompt"
        id = studio.sends("Generate Video")
        studio.page.wait_for_function("() => document.querySelector('#stage video')")
        assert id.startswith("video_") and studio.page.locator("#model").input_value() == "diffusers/tiny-folder"


@pytest.mark.parametrize(
    ("colours", "context"),
    [("light", PHONE), *(pytest.param(colours, {}, marks=pytest.mark.slow) for colours in ("light", "dark"))],
)
def test_running_cancelled_failed_done_and_removed(browser, shop, colours, context):
    look = f"{colours}{'-phone' if context else ''}"
    with studio_page.opened(browser, shop.server.url, color_scheme=colours, **context) as studio:
        shop.slow()
        studio.press("Models")
        tiny = entry(studio, "Tiny LTX")
        studio.page.get_by_label("Find").fill("tiny")
        expect(entry(studio, "LTX Video 2B 0.9.8 distilled")).to_be_hidden()
        tiny.get_by_role("button", name="Get").click()
        bar = tiny.get_by_role("progressbar")
        tiny.get_by_text("left").wait_for()
        assert 0 <= int(bar.get_attribute("aria-valuenow")) <= 100
        kept(studio, f"running-{look}")
        tiny.get_by_role("button", name="Cancel").click()
        tiny.get_by_text("Cancelled. What has arrived is kept.").wait_for()

        shop.hub.gated.add(shops.REPOSITORY)
        tiny.get_by_role("button", name="Get").click()
        tiny.get_by_text("Accept its licence at https://huggingface.co/tiny/ltx").wait_for()
        kept(studio, f"failed-{look}")
        studio.page.evaluate(AXE.read_text())
        broken = studio.page.evaluate("() => axe.run('#library').then((found) => found.violations.map((v) => v.id))")
        assert broken == []
        assert studio.page.evaluate("() => document.querySelector('#library').scrollWidth <= innerWidth")

        shop.hub.gated.clear()
        shop.hub.pause = 0.0
        tiny.get_by_role("button", name="Get").click()
        tiny.get_by_role("button", name="Use").wait_for()
        kept(studio, f"done-{look}")
        tiny.get_by_role("button", name="Remove").click()
        tiny.get_by_role("button", name="Delete").click()
        tiny.get_by_role("button", name="Get").wait_for()
        assert shop.here() == {shops.T5_FILE}
