"""A person at the studio's page: sees roles, labels and texts, acts on them, and counts what it does.

Nothing here runs script in the page or asks the server: what cannot be seen cannot be done.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console import Problem

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

TIMEOUT = 30_000
MADE_TIMEOUT = 180_000
"""Milliseconds that a video may take."""


class Person:
    """``page`` shows the studio. ``actions`` are the words for what was done since `begins`; looking is none."""

    def __init__(self, page: "Page", url: str, folder: Path) -> None:
        self.page, self.folder = page, folder
        self.actions: list[str] = []
        page.set_default_timeout(TIMEOUT)
        page.goto(f"{url}/atelier")
        page.get_by_role("option", name=re.compile("pocket")).first.wait_for(state="attached")

    def begins(self) -> None:
        self.actions = []

    @contextmanager
    def doing(self, words: str) -> Iterator[None]:
        """An action, which counts when it has been done."""
        yield
        self.actions.append(words)

    # What is on the screen

    def region(self, name: str) -> "Locator":
        return self.page.get_by_role("region", name=name, exact=True)

    @property
    def stage(self) -> "Locator":
        return self.region("Generated Video")

    def is_there(self, name: str) -> bool:
        """Whether a part of the page with this name is shown."""
        return self.region(name).is_visible()

    # Actions

    def press(self, name: str, within: "Locator | None" = None) -> None:
        with self.doing(f"press *{name}*"):
            self._button(name, within).click()

    def _button(self, name: str, within: "Locator | None" = None) -> "Locator":
        """The button of this name; its key, which is written on it, is not part of the name."""
        return (within or self.page).get_by_role("button", name=name, exact=True).first

    def write(self, label: str, text: str) -> None:
        with self.doing(f"write {_quoted(text)}"):
            self.page.get_by_label(label, exact=True).first.fill(text)

    def choose(self, group: str, option: str) -> None:
        with self.doing(f"choose *{group}: {option}*"):
            strip = self.page.get_by_role("group", name=group, exact=True)
            strip.get_by_role("radio", name=re.compile(rf"^{re.escape(option)}\b")).check(force=True)

    def pick(self, label: str, option: str) -> None:
        with self.doing(f"pick *{label}: {option}*"):
            self.page.get_by_label(label, exact=True).select_option(label=option)

    def slide(self, label: str, value: float) -> None:
        with self.doing(f"set *{label}* to {value:g}"):
            slider = self.page.get_by_label(label, exact=True)
            slider.fill(f"{value:g}")
            if float(slider.input_value()) != value:
                raise Problem(f"{label} cannot be {value:g}: the slider went to {slider.input_value()}.")

    def unfold(self, name: str) -> None:
        """Open a part of the page that is folded."""
        with self.doing(f"open *{name}*"):
            self.page.locator("summary").get_by_text(name, exact=True).click()

    def key(self, key: str) -> None:
        with self.doing(f"key {key.upper() if len(key) == 1 else key}"):
            self.page.keyboard.press(key)

    def bring(self, label: str, path: Path) -> None:
        """Press a place for files, and choose one in the browser's dialog."""
        with self.doing(f"press *{label}*"), self.page.expect_file_chooser() as dialog:
            self.page.get_by_label(label, exact=True).first.click()
        with self.doing(f"choose the file {path.suffix[1:].upper()}"):
            dialog.value.set_files(path)

    def point(self, target: "Locator", words: str) -> None:
        """Press the mouse at the left end of something."""
        with self.doing(words):
            target.click(position={"x": 1, "y": 8})

    def drag(self, start: "Locator", to: "Locator", words: str, onto: float = 0.0) -> None:
        """Drag from the middle of one thing to another, `onto` of its width from its left."""
        with self.doing(words):
            start.scroll_into_view_if_needed()
            one, other = start.bounding_box(), to.bounding_box()
            self.move(_middle(one), (other["x"] + 1 + onto * other["width"], _middle(other)[1]))

    def sweep(self, start: "Locator", to: "Locator", words: str) -> None:
        """Drag from the left end of one thing to the left end of another."""
        with self.doing(words):
            start.scroll_into_view_if_needed()
            one, other = start.bounding_box(), to.bounding_box()
            self.move((one["x"] + 1, _middle(one)[1]), (other["x"] + 1, _middle(other)[1]))

    def move(self, start: tuple[float, float], to: tuple[float, float]) -> None:
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move(*to, steps=8)
        mouse.up()

    def show(self, name: str) -> None:
        """Press a video of the gallery."""
        with self.doing(f"press the video *{name}*"):
            self.region("Gallery").get_by_role("button", name=re.compile(rf"^(★ )?{re.escape(name)}, ")).first.click()
        self.stage.get_by_role("link", name="Download").wait_for()

    def names(self, name: str) -> None:
        """Give the video on the stage a name, to find it by."""
        self.press("Rename", self.stage)
        self.write("Name", name)
        self.press("Save")

    def makes(self, button: str, within: "Locator | None" = None) -> None:
        """Press a button that makes a video, and wait until it is on the stage. Raises Problem if it fails."""
        from playwright.sync_api import expect

        before = self.page.url
        self.press(button, within)
        expect(self.page, "no video has begun").not_to_have_url(before, timeout=TIMEOUT)
        self.finishes()

    def finishes(self) -> None:
        """Wait for the end of the video on the stage. Raises Problem if it fails."""
        failed = self.stage.get_by_text("This did not work")
        self.stage.get_by_role("link", name="Download").or_(failed).wait_for(timeout=MADE_TIMEOUT)
        if failed.is_visible():
            raise Problem(self.stage.inner_text())

    def takes_home(self) -> Path:
        """Download the video on the stage."""
        from playwright.sync_api import expect

        link = self.stage.get_by_role("link", name="Download")
        expect(link).to_have_attribute("href", re.compile("content"))
        with self.page.expect_download() as saved:
            link.click()
        path = self.folder / f"{len(list(self.folder.iterdir()))}.mp4"
        saved.value.save_as(path)
        return path


def _middle(box: dict[str, Any]) -> tuple[float, float]:
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def _quoted(text: str) -> str:
    lines = text.splitlines()
    return f"“{lines[0]}”" + (f" and {len(lines) - 1} more lines" if len(lines) > 1 else "")
