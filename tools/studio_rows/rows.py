"""Sora's documented editor, row by row: what a person does in the page for it, and what is measured on the videos.

Each row begins with the page as the row before left it, and with the two videos of `prepare` in the gallery.
"""

import itertools
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.figure import Figure

from studio_rows import films
from studio_rows.person import TIMEOUT, Person

RED = "a large red circle moving right on a black background"
BLUE = "a small blue square moving down on a black background"
GREEN = RED.replace("red", "green")
RED_CLIP, BLUE_CLIP = "Red", "Blue"
"""Names that the two videos have in the gallery."""
FPS, STEP, FRAMES = 8, 4, 25
"""Frames a second, frames that the model makes at a time, and frames of the two videos (3 seconds)."""
ONE_CLIP = 1.8
"""Largest step at a join over the median step, for one clip; the median of many in docs/shots.md has 1.5."""
PROMPT, DURATION = "Enter your prompt", "Duration"


@dataclass
class Home:
    """What the person has taken home: frames of the two videos, and clips for the picture of each row."""

    red: Any = None
    blue: Any = None
    sheets: dict[str, list[Any]] = field(default_factory=dict)

    def take(self, person: Person, row: str = "") -> Any:
        """The frames of the video on the stage; of a row, they are on its sheet."""
        clip = films.frames_of(person.takes_home())
        if row:
            self.sheets.setdefault(row, []).append(clip)
        return clip


@dataclass(frozen=True)
class Row:
    """``name`` is Sora's feature. ``do`` does it in the page and returns the figures."""

    name: str
    do: Callable[[Person, Home], list[Figure]]


def figure(name: str, value: float, target: float | None = None, unit: str = "", at_least: bool = False) -> Figure:
    return Figure(name, (value,), target, unit, at_least)


def kept(name: str, one: Any, other: Any, target: float = 30.0) -> Figure:
    from shots.studio import kept as decibels

    return figure(name, decibels(one, other) if one.shape == other.shape else 0.0, target, " dB", True)


def share(name: str, right: list[bool], target: float = 0.8) -> Figure:
    return figure(f"{name} (share)", sum(right) / len(right), target, at_least=True)


def relative(clip: Any, places: range) -> float:
    """The largest of these steps between frames, over the median step of the clip."""
    from shots.studio import steps_of

    steps = steps_of(clip)
    return max(steps[place] for place in places) / statistics.median(steps)


def seen(clip: Any) -> dict[str, Any]:
    from pocket.score import analyse

    return analyse(clip)


def prepare(person: Person, home: Home) -> None:
    """Two videos of three seconds with names, and a seed, so that a run can be repeated."""
    person.unfold("Advanced")
    person.write("Seed", "7")
    person.slide(DURATION, 3)
    for name, prompt in ((RED_CLIP, RED), (BLUE_CLIP, BLUE)):
        person.write(PROMPT, prompt)
        person.makes("Generate Video")
        person.names(name)
        clip = home.take(person, "source")
        home.red, home.blue = (clip, home.blue) if name == RED_CLIP else (home.red, clip)


# Making a video


def text_and_variations(person: Person, home: Home) -> list[Figure]:
    from shots.studio import kept as decibels

    person.choose("Variations", "4")
    person.slide(DURATION, 2)
    person.write(PROMPT, RED)
    person.makes("Generate Video")
    made = []
    for number in range(1, 5):
        if number > 1:
            person.press(f"Variation {number}", person.stage)
            person.finishes()
        made.append(home.take(person, "Text, 4 variations"))
    person.choose("Variations", "1")
    wanted = {"color": "red", "shape": "circle", "motion": "right", "background": "black"}
    right = [seen(clip)[name] == value for clip in made for name, value in wanted.items()]
    alike = max(decibels(one, other) for one, other in itertools.combinations(made, 2))
    return [
        share("colour, shape, motion, background as asked", right),
        figure("likeness of the two most alike", alike, 40.0, " dB"),
    ]


def aspects(person: Person, home: Home) -> list[Figure]:
    figures = []
    for aspect in ("16:9", "1:1", "9:16"):
        person.choose("Aspect", aspect)
        person.makes("Generate Video")
        clip = home.take(person, "Aspect")
        wide, high = map(int, aspect.split(":"))
        off = abs(clip.shape[2] / clip.shape[1] / (wide / high) - 1)
        figures.append(figure(f"{aspect}: {clip.shape[2]} × {clip.shape[1]}, ratio off by", off, 0.1))
    person.choose("Aspect", "1:1")
    return figures


def durations(person: Person, home: Home) -> list[Figure]:
    figures = []
    for seconds in (1, 2, 3):
        person.slide(DURATION, seconds)
        person.makes("Generate Video")
        off = abs(len(home.take(person)) / FPS - seconds)
        figures.append(figure(f"{seconds} s: off by", off, STEP / FPS, " s"))
    person.slide(DURATION, 2)
    return figures


def first_and_last_picture(person: Person, home: Home) -> list[Figure]:
    for place, frame in (("First frame", home.red[0]), ("Last frame", home.red[16])):
        person.bring(place, films.write_picture(person.folder / f"{place[:5]}.png", frame))
        person.page.get_by_role("button", name=f"Remove: {place}").wait_for()
    person.slide(DURATION, 2)
    person.write(PROMPT, RED)
    person.makes("Generate Video")
    clip = home.take(person, "Image to video")
    for place in ("First frame", "Last frame"):
        person.press(f"Remove: {place}")
    return [kept("first picture kept", clip[0], home.red[0]), kept("last picture kept", clip[-1], home.red[16], 25)]


def own_clip(person: Person, home: Home) -> list[Figure]:
    before = person.page.url
    person.bring("Bring back a file", films.write_clip(person.folder / "mine.mp4", home.red[4:21].flip(0), FPS))
    person.page.wait_for_url(lambda url: url != before)
    person.finishes()
    clip = home.take(person, "Own clip")
    person.press("Remix", person.stage)
    person.write(PROMPT, GREEN.replace("right", "left"))
    person.slide("Strength", 0.9)
    person.makes("Remix Video")
    made = home.take(person, "Own clip")
    return [
        kept("the clip comes in as it is", clip, home.red[4:21].flip(0)),
        share("the remix has the new colour", [seen(made)["color"] == "green"]),
    ]


def expansion(person: Person, home: Home) -> list[Figure]:
    short = "a red circle"
    person.write(PROMPT, short)
    person.press("Expand prompt")
    written = person.page.get_by_role("textbox", name="Generated prompt")
    person.page.get_by_text("Expanded by").wait_for()
    longer = len(written.input_value()) / len(short)
    person.makes("Generate Video")
    clip = seen(home.take(person, "Prompt expansion"))
    return [
        figure("generated prompt's length / the prompt's", longer, 1.5, at_least=True),
        share("colour and shape as asked", [clip["color"] == "red", clip["shape"] == "circle"]),
    ]


def style(person: Person, home: Home) -> list[Figure]:
    from shots.studio import kept as decibels

    named = person.page.get_by_label("Style", exact=True)
    offered = [text.lower() for text in named.get_by_role("option").all_text_contents()]
    presets = ("archival", "film noir", "cardboard & papercraft", "whimsical stop motion", "balloon world")
    person.write(PROMPT, RED)
    made = []
    for option in ("none", "film noir"):
        person.pick("Style", option)
        person.makes("Generate Video")
        made.append(home.take(person, "Style preset"))
    person.pick("Style", "the model's own")
    return [
        share("Sora's five presets are offered", [preset in offered for preset in presets], 1.0),
        figure("likeness without and with “film noir”, which this model has not learnt", decibels(*made), 60.0, " dB"),
    ]


# The editor


def remix(person: Person, home: Home) -> list[Figure]:
    made = {}
    for name, strength in (("subtle", 0.4), ("mild", 0.65), ("custom", 0.8), ("strong", 0.9)):
        person.show(RED_CLIP)
        person.press("Remix", person.stage)
        person.write(PROMPT, GREEN)
        person.slide("Strength", strength)
        person.makes("Remix Video")
        made[name] = home.take(person, "Remix")
    far = {name: float((clip - home.red).abs().mean()) for name, clip in made.items()}
    ordered = [one < other for one, other in itertools.pairwise(far.values())]
    return [
        share("subtle < mild < custom (0.8) < strong in distance", ordered, 1.0),
        share("the new colour is there at strong", [seen(made["strong"])["color"] == "green"]),
        figure("mild: the shape is off its place by", films.apart(made["mild"], home.red), 4.0, " pixels"),
        figure("strong: the shape is off its place by", films.apart(made["strong"], home.red), None, " pixels"),
    ]


def extend(person: Person, home: Home) -> list[Figure]:
    figures = []
    for option, which in (("After the end", "after"), ("Before the beginning", "before")):
        person.show(RED_CLIP)
        person.press("Extend", person.stage)
        person.choose("Which end", option)
        person.slide("Duration to add", 1)
        person.makes("Extend Video")
        clip = home.take(person, "Extend")
        old = clip[:FRAMES] if which == "after" else clip[-FRAMES:][1:]
        source = home.red if which == "after" else home.red[1:]
        place = FRAMES - 1 if which == "after" else len(clip) - FRAMES
        figures += [
            figure(f"{which}: seconds added", (len(clip) - FRAMES) / FPS, 1.0, " s", True),
            kept(f"{which}: kept", old, source),
            figure(f"{which}: step at the join / median step", relative(clip, range(place, place + 1)), ONE_CLIP),
        ]
    return figures


def recut_of(person: Person, name: str) -> None:
    """Open the pieces of a video. They are as they were left, so begin with the whole of it."""
    person.show(name)
    person.press("Re-cut", person.stage)
    if person.region("Re-cut").get_by_role("button", name="Start over").is_enabled():
        person.press("Start over")


def piece(person: Person, number: int, of: int) -> Any:
    return person.region("Re-cut").get_by_role("button", name=re.compile(rf"^Piece {number} of {of}: "))


def mark(person: Person, seconds: int) -> Any:
    """The mark of a time on the ruler."""
    return person.region("Re-cut").get_by_text(f"{seconds} s", exact=True)


def recut(person: Person, home: Home) -> list[Figure]:
    recut_of(person, RED_CLIP)
    for second in (1, 2):
        person.point(mark(person, second), f"press the ruler at {second} s")
        person.key("s")
    person.drag(piece(person, 3, 3), piece(person, 1, 3), "drag the third piece to the front")
    person.point(piece(person, 3, 3).get_by_text("–"), "press the third piece")
    person.key("Delete")
    person.point(piece(person, 1, 2).get_by_text("–"), "press the first piece")
    person.key("r")
    person.makes("Make the re-cut")
    clip, wanted = home.take(person, "Re-cut"), home.red[[*range(16, FRAMES), *range(16, FRAMES), *range(8)]]
    return [
        figure("frames", len(clip), len(wanted), at_least=True),
        kept("the kept seconds are the same pixels", clip, wanted, 40.0),
    ]


def reprompt(person: Person, home: Home) -> list[Figure]:
    recut_of(person, RED_CLIP)
    person.sweep(mark(person, 1), mark(person, 2), "drag over the ruler from 1 s to 2 s")
    person.key("Delete")
    person.point(mark(person, 1), "press the ruler at 1 s")
    person.key("g")
    person.key("g")
    person.write("What fills the gaps", GREEN)
    person.makes("Make the re-cut")
    clip = home.take(person, "Re-cut, filled")
    kept_, rest = [*range(8), *range(16, FRAMES)], FRAMES - 16
    return [
        figure("seconds of the part", (len(clip) - len(kept_)) / FPS, 1.0, " s", True),
        kept("kept before and after", clip[[*range(8), *range(len(clip) - rest, len(clip))]], home.red[kept_], 40.0),
        share("the part follows its own prompt", [seen(clip[10 : len(clip) - rest - 2])["color"] == "green"]),
        figure("largest step in and around the part / median step", relative(clip, range(7, len(clip) - rest)), None),
    ]


def blend(person: Person, home: Home) -> list[Figure]:
    person.show(RED_CLIP)
    person.press("Blend", person.stage)
    bench = person.region("Blend")
    shelf = bench.get_by_role("list", name="Second video")
    with person.doing("press the second video"):
        shelf.get_by_role("button", name=BLUE).first.click()
    person.slide("Length of the blend", 1.5)
    person.press("Ease", bench)
    point = bench.get_by_role("slider", name="Point 3 of 5")
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    start = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    with person.doing("drag the curve's middle point down"):
        person.move(start, (start[0], start[1] + 20))
    person.makes("Blend videos", bench)
    clip = home.take(person, "Blend")
    span = round(1.5 * FPS)
    rest = FRAMES - span
    one, two = home.red, home.blue
    influence = []
    for place in range(rest, FRAMES):
        to_one, to_two = (clip[place] - one[place]).abs().mean(), (clip[place] - two[place - rest + 1]).abs().mean()
        influence.append(float(to_one / (to_one + to_two)))
    falls = [max(0.0, a - b) for a, b in itertools.pairwise(influence)]
    return [
        kept("kept of the first", clip[:rest], one[:rest]),
        kept("kept of the second", clip[FRAMES:], two[span + 1 :]),
        figure("largest fall of the second's influence", max(falls), 0.1),
        figure("the second's influence in the middle, pulled down from 0.5", influence[span // 2], 0.5),
    ]


def loops(person: Person, home: Home) -> list[Figure]:
    figures = []
    for seam in ("Short", "Normal", "Long"):
        person.show(RED_CLIP)
        person.press("Loop", person.stage)
        person.choose("Seam", seam)
        person.makes("Loop Video")
        clip = home.take(person, "Loop")
        figures += seam_figures(seam.lower(), clip, home.red)
    return figures


def loop_of_a_range(person: Person, home: Home) -> list[Figure]:
    recut_of(person, RED_CLIP)
    person.sweep(mark(person, 2), mark(person, 3), "drag over the ruler from 2 s to 3 s")
    person.key("Delete")
    person.makes("Make the re-cut")
    person.press("Loop", person.stage)
    person.choose("Seam", "Short")
    person.makes("Loop Video")
    clip = home.take(person, "Loop of a range")
    return seam_figures("range", clip, home.red[:17])


def seam_figures(name: str, clip: Any, source: Any) -> list[Figure]:
    import torch

    seam = relative(torch.cat([clip, clip[:1]]), range(len(clip) - 1, len(clip)))
    right = [value >= 30 for value in films.best(clip, source)]
    return [
        figure(f"{name}: step from last to first / median step", seam, 1.5),
        figure(f"{name}: frames kept of {len(clip)}", sum(right), None),
    ]


# Storyboard


def cards(person: Person, count: int) -> list[Any]:
    """The cards on the time line, once there are so many."""
    from playwright.sync_api import expect

    shown = person.region("Storyboard").get_by_role("slider", name=re.compile(r"^Card \d+ of"))
    expect(shown).to_have_count(count, timeout=TIMEOUT)
    return shown.all()


def begins(card: Any) -> int:
    """The frame with which a card begins, from the time that is written on it."""
    return round(float(re.search(r"([\d.]+) s", card.inner_text())[1]) * FPS)


def board(person: Person, text: str) -> None:
    person.press("Storyboard")
    area = person.page.get_by_label("The board as text", exact=True)
    if not area.is_visible():
        person.unfold("The board as text")
    person.write("The board as text", text)
    cards(person, len(text.splitlines()))


def storyboard(person: Person, home: Home) -> list[Figure]:
    prompts = [f"a small {color} square moving right on a black background" for color in ("red", "green", "blue")]
    person.write(PROMPT, "\n".join(prompts))
    person.slide(DURATION, 3)
    person.press("Storyboard")
    starts = [begins(card) for card in cards(person, len(prompts))]
    person.makes("Generate storyboard")
    clip = home.take(person, "Storyboard, three cards")
    parts = [clip[at + STEP * bool(at) : end] for at, end in itertools.pairwise([*starts, len(clip)])]
    right = [seen(part)["color"] == color for part, color in zip(parts, ("red", "green", "blue"), strict=True)]
    return [
        figure("cards", len(starts), 3, at_least=True),
        share("each card's words are seen at its time", right),
        figure("largest step where cards flow / median step", relative(clip, range(STEP, len(clip) - 1)), None),
    ]


def pictured_storyboard(person: Person, home: Home) -> list[Figure]:
    picture = films.write_picture(person.folder / "card.png", home.blue[8])
    person.slide(DURATION, 3)
    board(person, f"0s: {RED}\n1.13s cut: {BLUE}\n2.13s cut: {BLUE}")
    bench = person.region("Storyboard")
    person.unfold("From the gallery")
    with person.doing("press the first card"):
        cards(person, 3)[0].click()
    with person.doing("press a video of the gallery's"):
        bench.get_by_role("list", name="From the gallery").get_by_role("button", name=RED).last.click()
    with person.doing("press the third card"):
        cards(person, 3)[2].click()
    person.bring("Add pictures or clips", picture)
    bench.get_by_role("button", name=re.compile("^Remove image 2")).wait_for()
    at = [begins(card) for card in cards(person, 3)]
    person.makes("Generate storyboard")
    clip = home.take(person, "Storyboard, clip and picture")
    return [
        kept("the clip is seen on its card", clip[: at[1]], home.red[: at[1]]),
        kept("the picture is seen on its card", clip[at[2]], home.blue[8]),
    ]


def card_to_text(person: Person, home: Home) -> list[Figure]:
    bench = person.region("Storyboard")
    before = [card.inner_text() for card in cards(person, 3)]
    person.press("Remove image 2", bench)
    after = [card.inner_text() for card in cards(person, 3)]
    words = [re.sub(r"\[?image \d+\S*\]?|\s+", " ", text).split() for text in (before[2], after[2])]
    return [share("the card keeps its words and time", [words[0] == words[1]], 1.0)]


def stitch(person: Person, home: Home) -> list[Figure]:
    person.press("Storyboard")
    bench = person.region("Storyboard")
    for number in range(bench.get_by_role("button", name=re.compile("^Remove image")).count(), 0, -1):
        person.press(f"Remove image {number}", bench)
    board(person, f"0s: {RED}\n1.63s cut: {BLUE}")
    for place, prompt in enumerate((RED, BLUE)):
        with person.doing(f"press card {place + 1}"):
            cards(person, 2)[place].click()
        with person.doing("press a video of the gallery's"):
            bench.get_by_role("list", name="From the gallery").get_by_role("button", name=prompt).last.click()
    person.makes("Generate storyboard")
    clip = home.take(person, "Stitch")
    at = begins(cards(person, 2)[1])
    return [
        kept("kept of the first", clip[:at], home.red[:at]),
        kept("kept of the second", clip[at:], home.blue[: len(clip) - at], 25.0),
    ]


def pacing(person: Person, home: Home) -> list[Figure]:
    person.slide(DURATION, 3)
    board(person, f"0s: {RED}\n1.13s: {GREEN}\n2.13s: {GREEN}\n2.63s: {BLUE}")
    how = [card.get_attribute("aria-valuetext") for card in cards(person, 4)]
    at = [begins(card) for card in cards(person, 4)]
    person.makes("Generate storyboard")
    clip = home.take(person, "Storyboard, pacing")
    return [
        share("close cards cut, far cards flow", ["flows" in how[1], "after a cut" in how[3]], 1.0),
        figure("step at the close card / median step", relative(clip, range(at[3] - 1, at[3])), 3.0, at_least=True),
        figure("step at the far card / median step", relative(clip, range(at[1] - 1, at[1])), None),
    ]


ROWS = [
    Row("Text to video; 1, 2 or 4 variations", text_and_variations),
    Row("Aspect 16:9, 1:1, 9:16", aspects),
    Row("Duration", durations),
    Row("Image to video (and a last image)", first_and_last_picture),
    Row("Video as input", own_clip),
    Row("Prompt expansion", expansion),
    Row("Style presets", style),
    Row("Remix: subtle, mild, strong, custom", remix),
    Row("Extend, forward and backward", extend),
    Row("Re-cut: split, drag, delete, repeat", recut),
    Row("Re-cut: a part with a prompt of its own", reprompt),
    Row("Blend along a dragged curve", blend),
    Row("Loop: short, normal, long", loops),
    Row("Loop of a selected range", loop_of_a_range),
    Row("Storyboard: cards of text", storyboard),
    Row("Storyboard: close cards cut, far cards flow", pacing),
    Row("Storyboard: cards of image and video", pictured_storyboard),
    Row("Storyboard: a card turned back into text", card_to_text),
    Row("Stitch: one video after the other", stitch),
]
