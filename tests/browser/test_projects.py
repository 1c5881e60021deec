"""The studio's projects: names, stars, the tree of what came from what, undo, two pages at once, files come back."""

from __future__ import annotations

import json
from pathlib import Path

import axe_playwright_python
import pytest
import studio_page
import wire_client
from playwright.sync_api import expect

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
PHONE = {"viewport": {"width": 360, "height": 740}}
FULL = """() => {
    localStorage.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }
    Storage.prototype.setItem = localStorage.setItem
}"""


@pytest.fixture(scope="module")
def url(comfyui) -> str:
    return comfyui("pinned", "--preview-method", "auto").url


@pytest.fixture(scope="module")
def family(url) -> list[dict]:
    """Three finished videos: one, a remix of it, and a loop of the remix."""
    with wire_client.connect(url) as http:
        while listed := http.get("/videos", params={"limit": 100}).json()["data"]:
            for video in listed:
                http.delete(f"/videos/{video['id']}")
        made = [wire_client.wait(http, http.post("/videos", json=wire_client.FAST).json())]
        for extra in ({}, {"loop": "short"}):
            body = wire_client.FAST | {"video": {"id": made[-1]["id"]}} | extra
            made.append(wire_client.wait(http, http.post("/videos/edits", json=body).json()))
    return made


def answer(studio: studio_page.Studio, text: str) -> None:
    studio.page.locator("#question-text").fill(text)
    studio.page.keyboard.press("Enter")


def undo(studio: studio_page.Studio, key: str = "Control+z") -> None:
    studio.page.locator("#stage-title").focus()
    studio.page.keyboard.press(key)


def test_names_stars_projects_and_the_way_back(browser, url, family):
    first, remix, loop = family
    with studio_page.opened(browser, url, **PHONE) as studio:
        page = studio.page
        studio.open(f"#{first['id']}")
        studio.press("☆ Star")
        studio.press("Rename")
        answer(studio, "The take")
        page.locator("#sheet .name").get_by_text("★ The take").wait_for()
        page.locator("#project").select_option("+")
        answer(studio, "My film")
        page.locator("#gallery-empty").get_by_text("no video here").wait_for()
        page.get_by_label("Project of this video").select_option("My film")
        expect(studio.cards).to_have_count(1)
        undo(studio)
        expect(studio.cards).to_have_count(0)
        undo(studio, "Control+y")
        expect(studio.cards).to_have_count(1)
        page.locator("#project").select_option("")
        for _ in range(3):  # project of the video, the project, the name
            undo(studio)
        expect(page.locator("#project option")).to_have_count(2)
        assert page.locator("#sheet .name").get_by_text("★ a red circle").count() == 1
        for _ in range(3):
            undo(studio, "Control+Shift+Z")
        page.locator("#starred").click()
        expect(studio.cards).to_have_count(1)
        page.locator("#starred").click()
        page.locator("#tree").click()
        nested = page.locator(
            f"#history > li > [data-video='{first['id']}'] + ul > li > [data-video='{remix['id']}'] + ul"
        )
        nested.locator(f"[data-video='{loop['id']}']").click()
        assert page.evaluate("() => location.hash") == f"#{loop['id']}"
        page.evaluate(AXE.read_text())
        found = page.evaluate("() => axe.run()")["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
        assert page.evaluate("() => document.scrollingElement.scrollWidth") == 360

    with studio_page.opened(browser, url) as studio:  # another browser
        page = studio.page
        page.locator("#project").select_option("My film")
        expect(studio.cards).to_have_count(1)
        page.locator("#sheet .name").get_by_text("★ The take").wait_for()
        identity = studio.generate(steps=2)
        studio.plays()
        expect(studio.cards).to_have_count(2)
        studio.press("Delete project")
        page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        expect(studio.cards).to_have_count(2)
        studio.press("Delete project")
        page.get_by_role("dialog").get_by_role("button", name="Delete project").click()
        expect(page.locator("#project option")).to_have_count(2)
        assert identity in page.evaluate("() => location.hash")


@pytest.mark.slow
def test_two_pages_on_one_project_and_a_full_storage_lose_nothing(browser, url, family):
    first, remix, _ = family
    with studio_page.opened(browser, url) as one, studio_page.opened(browser, url) as two:
        two.page.evaluate(FULL)
        one.open(f"#{first['id']}")
        two.page.evaluate("id => { location.hash = '#' + id }", remix["id"])
        one.press("Rename")
        answer(one, "From the first page")
        two.press("Rename")
        answer(two, "From the second page")
        two.page.locator("#notices").get_by_text("storage is full").first.wait_for()
        for studio in (one, two):
            for name in ("From the first page", "From the second page"):
                studio.page.locator("#sheet .name").get_by_text(name).wait_for()
        one.page.context.set_offline(True)
        one.press("Rename")
        answer(one, "While the server was away")
        one.page.locator("#connection").get_by_text("does not answer").wait_for()
        one.page.context.set_offline(False)
        two.page.locator("#sheet .name").get_by_text("While the server was away").wait_for()


@pytest.mark.slow
def test_a_clip_and_a_board_come_back_from_the_disk(browser, url, family):
    with wire_client.connect(url) as http, studio_page.opened(browser, url) as studio:
        lost = wire_client.wait(http, http.post("/videos", json=wire_client.FAST | {"seed": 99}).json())
        content = http.get(f"/videos/{lost['id']}/content").content
        http.delete(f"/videos/{lost['id']}")
        studio.drop("#gallery", "lost.mp4", "video/mp4", content)
        studio.page.locator("#notices").get_by_text("among the videos").wait_for()
        studio.plays()
        assert "seed 99" in studio.stage.inner_text().lower()
        for name, kind, text in (
            ("bad.mp4", "video/mp4", b"no clip"),
            ("notes.json", "application/json", b"{"),
            ("letter.doc", "application/msword", b"x"),
        ):
            studio.drop("#gallery", name, kind, text)
            studio.page.locator("#notices").get_by_text(name).first.wait_for()
        board = {
            "atelier": "board",
            "name": "Two shots",
            "text": "0s: a red circle\n1s cut: a blue square",
            "pictures": [],
        }
        studio.drop("#gallery", "board.json", "application/json", json.dumps(board).encode())
        page = studio.page
        page.locator(".boards").get_by_text("Two shots").wait_for()
        page.wait_for_function(
            "text => document.querySelector('.boarding details textarea').value === text", arg=board["text"]
        )
        page.get_by_role("button", name="Save board").click()
        with page.expect_download() as saved:
            page.get_by_role("button", name="Export as JSON: Two shots").click()
        assert json.loads(saved.value.path().read_text(encoding="utf-8")) == board
        with page.context.expect_page() as opened:
            page.locator(".board").get_by_role("link", name="Open in node graph").click()
        opened.value.wait_for_function(
            "text => window.app?.graph?._nodes?.some(node => node.widgets?.some(widget => widget.value === text))",
            arg=board["text"],
            timeout=60_000,
        )
        opened.value.close()
        page.get_by_role("button", name="Delete: Two shots").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        page.locator(".boards").wait_for(state="hidden")
        studio.drop("#gallery", "graph.json", "application/json", b'{"nodes": []}')
        studio.page.locator("#notices").get_by_text("Drop it on the node graph").wait_for()
