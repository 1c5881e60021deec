"""Measures the studio in a real browser: with 500 videos how soon the page answers to a click, and its weight; and how
many pictures a second pass when a person drags the slider over a clip.

"interaction" is what the browser itself reports (Event Timing): from the click until the page is painted again.
"""

import os
import sqlite3
import tempfile
import time
import urllib.parse
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import editor
from client import Client
from comfy_server import running
from studio_rows.films import write_clip

from benchmarks.figure import Figure

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Page

VIDEOS, STARRED, ROUNDS = 500, 20, 5
LANGUAGES = "en", "ja"
SHOT = {"prompt": "a red circle moving left", "num_inference_steps": 1}
LONGEST_MS, HEAVIEST_KB = 100, 400

WATCH = """() => {
    window.slowest = 0
    new PerformanceObserver(list => {
        for (const entry of list.getEntries()) if (entry.interactionId) slowest = Math.max(slowest, entry.duration)
    }).observe({type: 'event', durationThreshold: 16})
}"""
SLOWEST = """async () => {
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 150))))
    const [found] = [slowest]
    slowest = 0
    return found
}"""
CLIP = {"width": 704, "height": 480, "frames": 121, "rate": 24}
SWEEP_SECONDS, LEAST_PICTURES = 3, 30
DRAWN = """() => {
    window.drawn = []
    const draw = CanvasRenderingContext2D.prototype.drawImage
    CanvasRenderingContext2D.prototype.drawImage = function (picture, ...place) {
        if (this.canvas.matches('.viewer .screen') && drawn.at(-1) !== picture) drawn.push(picture)
        return draw.call(this, picture, ...place)
    }
}"""
SWEEP = """async ([seconds, speed]) => {
    const slider = document.querySelector('.viewing input[type=range]'), last = Number(slider.max)
    const began = performance.now(), passed = () => (performance.now() - began) / 1000
    drawn.length = 0
    while (passed() < seconds) {
        await new Promise(requestAnimationFrame)
        const place = Math.floor(passed() * speed) % (2 * last)
        slider.value = place > last ? 2 * last - place : place
        slider.dispatchEvent(new Event('input', {bubbles: true}))
    }
    return drawn.length / seconds
}"""
"""The slider goes to the end and back at twice the clip's speed; counted are the pictures that replace another one."""
STEPS = {
    "history": "#tree",
    "history, a video": "#history > li:nth-child(3) > .node",
    "gallery again": "#tree",
    "starred": "#starred",
    "all again": "#starred",
    "a video": "#sheet > li:nth-child(5) > .card",
    "prompt": "#prompt",
    "storyboard": "#storyboard-open",
}
"""Interaction -> what is clicked."""


def studio() -> list[Figure]:
    """Milliseconds of each kind of click with 500 videos in the list; kilobytes of the page without videos."""
    with tempfile.TemporaryDirectory(prefix="atelier-bench-studio-") as base:
        with running(Path(base), "comfyui") as server, editor.chromium() as browser:
            fill(server.url, Path(base))
            sizes = [figure for language in LANGUAGES for figure in _sizes(browser, server.url, language)]
            with opened(browser, server.url) as (page, _):
                list_all(page)
                rounds = [interactions(page) for _ in range(ROUNDS)]
            scrubbed = _scrubbing(browser, server.url, Path(base))
    clicks = [Figure(f"studio, {name}", tuple(each[name] for each in rounds), LONGEST_MS, " ms") for name in STEPS]
    return clicks + sizes + scrubbed


def _sizes(browser: "Browser", url: str, language: str) -> list[Figure]:
    """Kilobytes of the page as it opens, with the newest videos, and with all of them in its list."""
    figures = []
    with opened(browser, url, language) as (page, weight):
        for name, target in (("opened", HEAVIEST_KB), ("all listed", None)):
            page.wait_for_load_state("networkidle")
            note = ", ".join(f"{kind} {kilobytes:.0f}" for kind, kilobytes in sorted(weight.items()))
            figures.append(Figure(f"studio, {language}, {name}", (sum(weight.values()),), target, " KB", note=note))
            list_all(page)
    return figures


def _scrubbing(browser: "Browser", url: str, base: Path) -> list[Figure]:
    """Pictures a second of a dragged slider: from the moment that a clip is opened, and when all are here."""
    import torch

    count, height, width = CLIP["frames"], CLIP["height"], CLIP["width"]
    moving = (torch.arange(width)[None, None, :] - 4 * torch.arange(count)[:, None, None]) % width / width
    clip = write_clip(base / "moving.mp4", moving[..., None].expand(-1, height, -1, 3), CLIP["rate"])
    shown, loading, loaded = "() => document.querySelector('#stage').innerText.includes('704')", [], []
    with opened(browser, url) as (page, _):
        page.locator("#bring").set_input_files(clip)
        page.wait_for_function(shown)
    for _ in range(ROUNDS):
        with opened(browser, url) as (page, _):
            page.wait_for_function(shown)
            page.evaluate(DRAWN)
            page.get_by_role("button", name="Re-cut", exact=True).click()
            loading.append(page.evaluate(SWEEP, [SWEEP_SECONDS, 2 * CLIP["rate"]]))
            page.wait_for_timeout(1000 * 2 * SWEEP_SECONDS)
            loaded.append(page.evaluate(SWEEP, [SWEEP_SECONDS, 2 * CLIP["rate"]]))
    target = {"target": LEAST_PICTURES, "unit": " /s", "at_least": True}
    return [
        Figure("studio, scrubbing, loading", tuple(loading), **target),
        Figure("studio, scrubbing, loaded", tuple(loaded), **target),
    ]


def fill(url: str, base: Path, count: int = VIDEOS, starred: int = STARRED) -> list[str]:
    """Make a video, copy it until there are `count`, most of them versions of an earlier one, and star some.

    base: the base directory of the ComfyUI at `url`. Returns the ids, oldest first.
    """
    with Client(url) as client:
        video = client.post("/v1/videos", SHOT)
        while (video := client.get(f"/v1/videos/{video['id']}"))["status"] != "completed":
            assert video["status"] != "failed", video
            time.sleep(0.1)
        client.content(f"/v1/videos/{video['id']}/content?variant=thumbnail")
    ids = [video["id"], *(f"video_{uuid.uuid4().hex}" for _ in range(1, count))]
    with sqlite3.connect(base / "user" / "atelier" / "videos.db") as store:
        _copy(store, ids)
        revision = store.execute("SELECT coalesce(max(revision), 0) + 1 FROM desk").fetchone()[0]
        stars = [(f"video/{identity}", '{"star": true}', revision) for identity in ids[:: count // starred]]
        store.executemany("INSERT INTO desk (key, value, revision) VALUES (?, ?, ?)", stars)
    folder = base / "output" / "atelier" / "videos"
    for identity in ids[1:]:
        (folder / identity).mkdir()
        for file in (folder / ids[0]).iterdir():
            os.link(file, folder / identity / file.name)
    return ids


def _copy(store: sqlite3.Connection, ids: list[str]) -> None:
    """Copy the row of the first of these videos for all others. Three of four are made from an earlier one."""
    store.row_factory = sqlite3.Row
    job = dict(store.execute("SELECT * FROM jobs WHERE id = ?", (ids[0],)).fetchone())
    del job["seq"]
    names = ", ".join(job)
    for number, identity in enumerate(ids[1:], 1):
        own = {"id": identity, "operation": "edit", "source": ids[number // 3] if number % 4 else None}
        row = job | own | {"prompt": f"{job['prompt']}, take {number}"}
        store.execute(f"INSERT INTO jobs ({names}) VALUES ({', '.join(f':{name}' for name in job)})", row)


@contextmanager
def opened(browser: "Browser", url: str, language: str = "en") -> Iterator[tuple["Page", Counter[str]]]:
    """The studio with the newest videos; and the kilobytes of what it fetches by kind, videos left out."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale=language)
    try:
        page = context.new_page()
        weight = _weighed(context.new_cdp_session(page))
        page.goto(f"{url}/atelier")
        page.locator("#sheet .card").first.wait_for()
        yield page, weight
    finally:
        context.close()


def list_all(page: "Page") -> None:
    """Ask for older videos until all are in the list."""
    while page.locator("#gallery-more").is_visible():
        before = page.locator("#gallery-count").inner_text()
        page.locator("#gallery-more").click()
        page.wait_for_function("before => document.querySelector('#gallery-count').innerText !== before", arg=before)


def _weighed(network: "CDPSession") -> Counter[str]:
    """Counts what the page fetches from now on, in kilobytes as they are transferred."""
    kinds: dict[str, str] = {}
    weight: Counter[str] = Counter()

    def answered(event: dict) -> None:
        address = urllib.parse.urlsplit(event["response"]["url"])
        if "variant=video" not in address.query:
            kinds[event["requestId"]] = Path(address.path).suffix.removeprefix(".") or event["type"].lower()

    def finished(event: dict) -> None:
        if kind := kinds.get(event["requestId"]):
            weight[kind] += event["encodedDataLength"] / 1000

    network.on("Network.responseReceived", answered)
    network.on("Network.loadingFinished", finished)
    network.send("Network.enable")
    return weight


def interactions(page: "Page") -> dict[str, float]:
    """Milliseconds from each click of `STEPS` to the next picture of the page, as the browser reports them.

    0 stands for less than 16.
    """
    page.evaluate(WATCH)
    found = {}
    for name, selector in STEPS.items():
        page.locator(selector).scroll_into_view_if_needed()
        page.evaluate(SLOWEST)
        page.locator(selector).click()
        found[name] = page.evaluate(SLOWEST)
    return found
