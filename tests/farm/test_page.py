"""The studio's Farm page over a real farm: what it shows of two workers that make a video, and removing one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import editor
import pytest
import studio_page
from farm_head import done, head, until, workers
from playwright.sync_api import expect

if TYPE_CHECKING:
    from conftest import Machines

MACHINES = 2
SHOT = {"prompt": "a red circle moving left", "num_inference_steps": 300}


@pytest.mark.slow
def test_the_page_of_a_real_farm(machines: Machines, monkeypatch):
    if reason := editor.unavailable():
        pytest.skip(reason)
    with head(machines, monkeypatch) as (server, http), editor.chromium() as browser:
        until(lambda: [each["state"] for each in workers(http)] == ["idle"] * MACHINES)
        ids = [http.post("/videos", json=SHOT | {"seed": n}).json()["id"] for n in range(3)]
        with studio_page.opened(browser, server.url, color_scheme="light") as studio:
            studio.press("Farm")
            page, entries = studio.page, studio.page.locator("#farm .entry")
            expect(entries.filter(has_text="cpu · working")).to_have_count(2)
            page.get_by_text("1 job waits").wait_for()
            page.get_by_text(f"worker --head {machines.address}").wait_for()
            until(lambda: all(each["progress"] for each in workers(http)))
            if folder := os.environ.get("ATELIER_KEEP"):
                page.screenshot(path=Path(folder) / "farm-real.png")
            first = next(each["id"] for each in workers(http) if each["job"] == ids[0])
            one = entries.filter(has_text=first)
            one.get_by_role("button", name="Remove").click()
            page.locator("#question").get_by_role("button", name="Remove").click()
            expect(entries).to_have_count(1)
            page.get_by_text("2 jobs wait").wait_for()
            for name in ids[1:]:
                http.post(f"/videos/{name}/cancel")
            entries.get_by_role("link", name="a red circle").wait_for()
            until(lambda: {each["job"] for each in workers(http)} == {ids[0]})
            http.post(f"/videos/{ids[0]}/cancel")
            until(lambda: done(http, ids) == 3)
