"""Does Sora's documented editor and a new user's five tasks in the studio's page, and writes docs/studio.md.

What a person does is in tools/studio_rows/. The targets are beside the measurements, the table is here.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import comfyui
import editor
import pack
from benchmarks.figure import Figure, short
from comfy_server import running
from console import Problem, guard, say
from studio_rows.person import Person
from studio_rows.rows import RED_CLIP, ROWS, Home, Row, prepare
from studio_rows.tasks import MOST, TASKS

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DOCUMENT = comfyui.ROOT / "docs" / "studio.md"
SHEET = comfyui.ROOT / "docs" / "images" / "studio_rows.webp"
SHOWN, WIDTH = 13, 64
"""Frames in a row of a contact sheet, and their width in pixels."""
LABEL = 16
"""Pixels for the name above a sheet."""

HEAD = """# The studio, row by row

What Sora's editor was documented to do, done in the studio's page. `python run.py studio` opens the page in a browser
and does it as a person does: it presses, writes and drags what has a role, a label or a text on the screen, runs no
script in the page, sends no request of its own, and downloads the videos to measure them. It takes the pocket model at
its own settings with seed 7 and two videos of 3 seconds; nothing is selected. {machine}

*Kept* compares frames of two downloaded files, in dB: 40 cannot be told apart by eye, 100 is identical. The shots' own
table, over many clips, is in [shots.md](shots.md). A row here has one clip, so two bounds are looser than for the
medians there: 1.8 instead of 1.5 at a join, and 25 dB instead of 30 for a last picture and a stitched clip.

## A new user's five tasks

Each begins with the page as it opens, and takes {most} actions at most. A press, a text, a slider, a drag and a key are
one action each; a file is two, one to open the dialog and one to choose it. Looking at the result takes none.

{tasks}

## Sora's editor

| Sora | what is measured | value | target | | actions |
|---|---|---|---|---|---|
{rows}

## What cannot be done in the page

{lacking}

## The videos

A row for each video, its frames from first to last. *Source* are the two that the rows begin with.

![The videos of every row](images/studio_rows.webp)
"""

AGAINST = {
    "Re-cut: a part with a prompt of its own": "The pocket model gives a part between two kept ones their colour, "
    "whatever its prompt says: no clip of its training changes its colour and back. Behind kept frames alone it takes "
    "a new one (*Storyboard* in [shots.md](shots.md)).",
}
"""What stands against rows, if they are missed."""
LACKING = {
    "Sizes from 480 x 480 to 1920 x 1080": "The page offers 360p to 1080p in five aspects. The pocket model makes no "
    "more pixels than its own size has, so the table has the aspects alone.",
    "Up to 20 seconds": "The slider goes as far as the model can; the pocket model's end is 3 seconds.",
    "A custom style of words and a picture": "A style of one's own is words in `atelier_styles.json` in "
    "ComfyUI's user folder; the list then has it. No model here takes a picture as a style.",
    "Inpainting (`inpaint_items`)": "*Inpaint Shot* does it in the node graph. The page has no brush.",
    "Sound in step with the picture": "Of models that make sound (LTX-2). The pocket model makes none, so nothing is "
    "measured here; the switch and its sound are measured on a small LTX-2 in `tests/browser/test_studio.py`.",
    "Characters": "The API keeps them (`/v1/videos/characters`) for programs. The page has no list of them.",
    "Provenance marks": "Files carry their settings and graph. There is no watermark and no C2PA.",
}


@dataclass
class Done:
    """What came of a row or of a task. ``problem``: why it could not be done, else ""."""

    name: str
    actions: list[str]
    figures: list[Figure] = field(default_factory=list)
    problem: str = ""

    @property
    def missed(self) -> list[str]:
        return [self.problem] if self.problem else [each.line() for each in self.figures if each.met is False]


class Results:
    """What was done, in a folder: a JSON and a contact sheet for each row, so that an interrupted run can go on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def of(self, what: Row) -> Done | None:
        file = self.folder / f"{named(what.name)}.json"
        if not file.is_file():
            return None
        kept = json.loads(file.read_text(encoding="utf-8"))
        return Done(
            **kept | {"figures": [Figure(**each | {"samples": tuple(each["samples"])}) for each in kept["figures"]]}
        )

    def keep(self, done: Done, sheets: dict[str, list[Any]]) -> None:
        """Keep a row; one with a problem is tried again by the next run."""
        if not done.problem:
            (self.folder / f"{named(done.name)}.json").write_text(json.dumps(asdict(done)), encoding="utf-8")
        for name, clips in sheets.items():
            look(self.folder / f"{named(name)}.png", clips)

    @property
    def outcome(self) -> "Outcome":
        rows, tasks = ([done for what in each if (done := self.of(what))] for each in (ROWS, TASKS))
        return Outcome(rows, tasks)


@dataclass
class Outcome:
    rows: list[Done]
    tasks: list[Done]

    @property
    def whole(self) -> bool:
        return len(self.rows) == len(ROWS) and len(self.tasks) == len(TASKS)


def perform(browser: "Browser", url: str, folder: Path, results: Results, words: list[str]) -> Outcome:
    """Do the rows whose names have one of the words, and the tasks if "tasks" is one; without words, all.

    What the results have already is not done again. The server has no videos yet: the first task is that of a person
    who sees the page for the first time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for row in ROWS if not words or any(word.lower() in row.name.lower() for word in words)]
    tasks = TASKS if not words or "tasks" in words else []
    home, done = Home(), {}

    def attempted(person: Person, what: Row) -> None:
        done[what.name] = attempt(what, person, home, results)

    if TASKS[0] in tasks and not results.of(TASKS[0]):
        with profile(browser, url, folder) as person:
            attempted(person, TASKS[0])
    with profile(browser, url, folder) as person:
        prepare(person, home)
        for row in rows:
            if not results.of(row):
                attempted(person, row)
    for task in tasks[1:]:
        if results.of(task):
            continue
        with profile(browser, url, folder) as person:
            if "on the stage" in task.name:
                person.show(RED_CLIP)
            attempted(person, task)
    found = [[done.get(each.name) or results.of(each) for each in part] for part in (rows, tasks)]
    return Outcome(*found)


def attempt(what: Row, person: Person, home: Home, results: Results) -> Done:
    """Do a row or a task. What goes wrong is its problem, with a picture of the page, and does not stop the others."""
    from playwright.sync_api import Error

    begun, done = time.monotonic(), Done(what.name, [])
    person.begins()
    try:
        done.figures = what.do(person, home)
    except (Error, Problem, AssertionError, LookupError, TypeError, ValueError) as error:
        done.problem = " ".join(str(error).split())[:300]
        person.page.screenshot(path=results.folder / f"problem-{named(what.name)}.png", full_page=True)
        person.page.reload()
    done.actions = person.actions
    results.keep(done, home.sheets)
    home.sheets.clear()
    say(f"{what.name}: {len(done.actions)} actions, {time.monotonic() - begun:.0f} s")
    say("    " + "; ".join(done.actions))
    for line in [f"PROBLEM {done.problem}"] if done.problem else [each.line() for each in done.figures]:
        say(f"    {line}")
    return done


def named(title: str) -> str:
    """A file name from a row's name."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


@contextmanager
def profile(browser: "Browser", url: str, folder: Path) -> Iterator[Person]:
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, accept_downloads=True)
    try:
        yield Person(context.new_page(), url, folder)
    finally:
        context.close()


def tasks_of(outcome: Outcome) -> str:
    return "\n".join(
        f"{number}. **{task.name}** ({len(task.actions)}): {'; '.join(task.actions)}."
        + "".join(f" **Missed**: {line}." for line in task.missed)
        for number, task in enumerate(outcome.tasks, 1)
    )


def lines_of(row: Done) -> Iterator[str]:
    """The row's lines in the table; its name and actions are on the first."""
    count = str(len(row.actions))
    if row.problem:
        yield f"| {row.name} | **{row.problem}** | | | **missed** | {count} |"
    for place, figure in enumerate(row.figures):
        sign = "at least" if figure.at_least else "at most"
        target = "" if figure.target is None else f"{sign} {figure.target:g}{figure.unit}"
        verdict = {True: "met", False: "**missed**", None: ""}[figure.met]
        name, actions = ("", "") if place else (row.name, count)
        yield f"| {name} | {figure.name} | {short(figure.value)}{figure.unit} | {target} | {verdict} | {actions} |"


def document(outcome: Outcome, machine: str) -> str:
    rows = "\n".join(line for row in outcome.rows for line in lines_of(row))
    against = [row.name for row in outcome.rows if row.missed and row.name in AGAINST]
    rows += "".join(f"\n\n*{name}*: {AGAINST[name]}" for name in against)
    lacking = "\n".join(f"- **{name}.** {why}" for name, why in LACKING.items())
    return HEAD.format(machine=machine, most=MOST, tasks=tasks_of(outcome), rows=rows, lacking=lacking)


def look(file: Path, clips: list[Any]) -> None:
    """A contact sheet of a row's videos."""
    pack.load_media()
    from atelier_media.sheet import contact_sheet
    from PIL import Image

    sheet = contact_sheet(clips, SHOWN, WIDTH)[0]
    Image.fromarray((sheet * 255).round().byte().numpy()).save(file)


def gathered(folder: Path) -> Any:
    """The contact sheets of a folder in one picture of half the size, each below its name."""
    from PIL import Image, ImageDraw

    files = [file for file in sorted(folder.glob("*.png")) if not file.name.startswith("problem-")]
    sheets = [Image.open(file) for file in files]
    sheets = [sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS) for sheet in sheets]
    size = max(sheet.width for sheet in sheets), sum(sheet.height + LABEL for sheet in sheets)
    whole, top = Image.new("RGB", size, "#202020"), 0
    pen = ImageDraw.Draw(whole)
    for file, sheet in zip(files, sheets, strict=True):
        pen.text((4, top + 3), file.stem.replace("-", " "), fill="#e0e0e0")
        whole.paste(sheet, (0, top + LABEL))
        top += sheet.height + LABEL
    return whole


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="run.py studio",
        description="Does Sora's documented editor in the studio's page and writes docs/studio.md.",
    )
    options.add_argument(
        "words", nargs="*", metavar="WORD", help="only rows with one of these words (or: tasks), without writing"
    )
    options.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        help="keep every row's figures and contact sheet there; a later run does the rows that are missing",
    )
    return options


def main() -> int:
    options = parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="atelier-studio-") as base:
        results = Results(options.results or Path(base) / "results")
        outcome = results.outcome
        if options.words or not outcome.whole:
            with running(Path(base), "comfyui") as server, editor.chromium() as browser:
                outcome = perform(browser, server.url, Path(base) / "home", results, options.words)
        if not options.words:
            write(outcome, results)
    missed = [f"{done.name}: {line}" for done in (*outcome.rows, *outcome.tasks) for line in done.missed]
    say(f"{len(missed)} missed" + "".join(f"\n    {line}" for line in missed))
    return 0


def write(outcome: Outcome, results: Results) -> None:
    import bench

    about = ", ".join(f"{key} {value}" for key, value in bench.machine().items() if key not in ("machine", "load"))
    gathered(results.folder).save(SHEET, quality=70, method=6)
    DOCUMENT.write_text(document(outcome, f"Run of {about}."), encoding="utf-8")
    say(f"Written: {DOCUMENT.relative_to(comfyui.ROOT)}")


if __name__ == "__main__":
    sys.exit(guard(main))
