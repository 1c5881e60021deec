"""The studio with more videos than a screen shows: drawn from the top, pictures when they come into view, light."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator

import httpx2 as httpx
import pytest
import wire_client
from benchmarks.studio import fill, interactions, list_all, opened
from playwright.sync_api import expect

COUNT, STARRED = 120, 10
AT_ONCE = """() => {
    document.querySelector('#tree').click()
    return document.querySelectorAll('#history .node').length
}"""
TREE = """() => [...document.querySelectorAll('#history .node')].map(node =>
    [node.dataset.video, node.closest('ul').closest('li')?.querySelector('.node').dataset.video ?? null])"""
SHOWN = "() => [...document.querySelectorAll('#history img')].filter(picture => picture.naturalWidth).length"
NAMES = "() => [...document.querySelectorAll('#sheet .name')].map(name => name.textContent.replace('★ ', ''))"


@pytest.fixture(scope="module")
def server(comfyui):
    return comfyui("pinned", "--preview-method", "auto")


@pytest.fixture(scope="module")
def ids(server) -> Iterator[list[str]]:
    """Ids of the videos on the server, oldest first: no others, and removed afterwards, as other tests share it."""
    with wire_client.connect(server.url) as http:
        while others := http.get("/videos", params={"limit": 100}).json()["data"]:
            for video in others:
                http.delete(f"/videos/{video['id']}")
    made = fill(server.url, server.base, COUNT, STARRED)
    yield made
    with sqlite3.connect(server.base / "user" / "atelier" / "videos.db") as store:
        store.executemany("DELETE FROM jobs WHERE id = ?", [(identity,) for identity in made])
    for identity in made:
        shutil.rmtree(server.base / "output" / "atelier" / "videos" / identity)


def test_a_long_history_is_drawn_from_the_top_and_nothing_is_missing(browser, server, ids):
    listed = httpx.get(f"{server.url}/v1/videos", params={"limit": 100}).json()["data"]
    with opened(browser, server.url) as (page, weight):
        assert sum(weight.values()) < 400, weight
        list_all(page)
        expect(page.locator("#sheet .card")).to_have_count(COUNT)
        names = page.evaluate(NAMES)
        assert names[:100] == [video["prompt"] for video in listed] and len(set(names)) == COUNT

        page.evaluate(
            "() => document.querySelector('#tree').scrollIntoView()"
        )  # or all that passes as the list grows is fetched
        assert 0 < page.evaluate(AT_ONCE) < COUNT / 2
        expect(page.locator("#history .node")).to_have_count(COUNT)
        tree = dict(page.evaluate(TREE))
        assert tree == {one: ids[i // 3] if i and i % 4 else None for i, one in enumerate(ids)}
        page.wait_for_function(f"() => ({SHOWN})() > 0")
        assert page.evaluate(SHOWN) < COUNT / 2
        last = page.locator("#history .node").last
        last.scroll_into_view_if_needed()
        page.wait_for_function("node => node.querySelector('img').naturalWidth", arg=last.element_handle())
        page.locator("#tree").click()

        page.locator("#starred").click()
        expect(page.locator("#sheet .card")).to_have_count(STARRED)
        page.locator("#starred").click()
        expect(page.locator("#sheet .card")).to_have_count(COUNT)
        assert page.evaluate(NAMES) == names
        assert max(interactions(page).values()) < 1000  # 100 is the aim, on a machine that has nothing else to do


def test_the_page_is_compressed_and_fetched_again_only_if_it_has_changed(server):
    address = f"{server.url}/atelier/app.js"
    plain = httpx.get(address, headers={"Accept-Encoding": "identity"})
    small = httpx.get(address, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers and small.headers["Content-Encoding"] == "gzip"
    assert small.content == plain.content and int(small.headers["Content-Length"]) < len(plain.content) / 2
    again = httpx.get(address, headers={"If-None-Match": small.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["Content-Security-Policy"] == small.headers["Content-Security-Policy"]
    assert httpx.get(address, headers={"If-None-Match": '"another"'}).status_code == 200
