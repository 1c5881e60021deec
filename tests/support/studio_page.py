"""The studio in a browser, as a person uses it: what it shows, and actions on it."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import axe_playwright_python
from playwright.sync_api import Browser, Locator, Page

TIMEOUT = 60_000
AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")

PLAYS = """() => { const video = document.querySelector('#stage video')
    return video && video.videoWidth > 0 && video.currentTime > 0.3 && video.currentTime }"""

DROP = """([selector, name, type, bytes]) => {
    const carried = new DataTransfer()
    carried.items.add(new File([Uint8Array.from(bytes)], name, {type}))
    for (const kind of ['dragenter', 'dragover', 'drop'])
        document.querySelector(selector).dispatchEvent(
            new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: carried}))
}"""


@dataclass
class Studio:
    """One page. ``errors``: its uncaught exceptions. ``outside``: requested addresses of other servers."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(TIMEOUT)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url))
        self.open()

    def _note(self, url: str) -> None:
        if (
            not url.startswith(("blob:", "data:"))
            and urllib.parse.urlsplit(url)[:2] != urllib.parse.urlsplit(self.url)[:2]
        ):
            self.outside.append(url)

    def open(self, fragment: str = "") -> None:
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}/atelier{fragment}")
        self.ready()

    def ready(self) -> None:
        """The server's models and videos have been listed."""
        self.page.locator("#model optgroup").first.wait_for(state="attached")
        self.page.wait_for_function("() => !!document.querySelector('#stage-body > *')")

    # What it shows

    @property
    def stage(self) -> Locator:
        return self.page.locator("#stage")

    @property
    def cards(self) -> Locator:
        return self.page.locator("#sheet .card")

    def says(self, text: str) -> None:
        """Wait until the stage shows this text."""
        self.stage.get_by_text(text).first.wait_for()

    def plays(self) -> float:
        """Wait until the video on the stage has advanced. Returns its position in seconds."""
        return self.page.wait_for_function(PLAYS, timeout=TIMEOUT).json_value()

    def value(self, label: str) -> str:
        return self.page.get_by_label(label, exact=True).input_value()

    def fault(self, field_id: str) -> str:
        """The message at a field, once there is one."""
        shown = self.page.locator(f"#{field_id}-fault").filter(has_text=re.compile(r"\S"))
        return shown.inner_text()

    def focused(self) -> str:
        """The id, else the text, of the focused element."""
        return self.page.evaluate("() => document.activeElement.id || document.activeElement.textContent.trim()")

    # Actions

    def advanced(self, **values: Any) -> None:
        """Fill in advanced settings by the names of the API."""
        self.page.evaluate("() => { document.querySelector('#advanced').open = true }")
        for name, value in values.items():
            self.page.locator(f"#{name}").fill(str(value))

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def choose(self, group: str, option: str) -> None:
        self.page.get_by_role("group", name=group).get_by_role("radio", name=option, exact=True).check()

    def generate(self, prompt: str = "a red circle moving left", steps: int = 2, **more: Any) -> str:
        """Ask for a video with the form; returns its id."""
        self.page.get_by_label("Enter your prompt").fill(prompt)
        self.advanced(num_inference_steps=steps, **more)
        return self.sends("Generate Video")

    def sends(self, button: str) -> str:
        """Press a button that asks for a video; returns its id."""
        with self.page.expect_response(lambda answer: answer.request.method == "POST") as answer:
            self.press(button)
        made = answer.value.json()
        self.page.wait_for_function("id => location.hash === '#' + id", arg=made["id"])
        return made["id"]

    def drop(self, selector: str, name: str, kind: str, content: bytes) -> None:
        self.page.evaluate(DROP, [selector, name, kind, list(content)])


def serious(page: Page, selector: str = "html") -> list[str]:
    """What axe-core finds in a part of the page that is serious or critical. The page must bypass its policy."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(f"() => axe.run({json.dumps(selector)})")["violations"]
    return [
        f"{one['id']}: {node['html']} {node['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@contextmanager
def opened(browser: Browser, url: str, **context: Any) -> Iterator[Studio]:
    """The page on a fresh profile. At the end, it must have had no errors and no requests to other servers."""
    profile = browser.new_context(**context)
    try:
        studio = Studio(profile.new_page(), url)
        yield studio
        assert not studio.errors, studio.errors
        assert not studio.outside, studio.outside
    finally:
        profile.close()
