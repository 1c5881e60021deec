"""A new user's five tasks: each begins with the page as it opens, and may take five actions at most."""

from benchmarks.figure import Figure

from studio_rows import films
from studio_rows.person import Person
from studio_rows.rows import FPS, PROMPT, RED, Home, Row, cards, figure, kept, mark, seam_figures, seen, share

MOST = 5
"""Actions of a task."""


def first_clip(person: Person, home: Home) -> list[Figure]:
    person.press("a red circle moving left", person.stage)
    person.makes("Generate Video")
    return [share("the colour is as asked", [seen(home.take(person, "Task 1"))["color"] == "red"])]


def image_to_video(person: Person, home: Home) -> list[Figure]:
    person.bring("First frame", films.write_picture(person.folder / "task.png", home.red[0]))
    person.page.get_by_role("button", name="Remove: First frame").wait_for()
    person.write(PROMPT, RED)
    person.makes("Generate Video")
    return [kept("picture kept", home.take(person, "Task 2")[0], home.red[0])]


def three_cards(person: Person, home: Home) -> list[Figure]:
    person.write(PROMPT, "\n".join(f"a {color} circle moving right" for color in ("red", "green", "blue")))
    person.slide("Duration", 3)
    person.press("Storyboard")
    count = len(cards(person, 3))
    person.makes("Generate storyboard")
    long = len(home.take(person, "Task 3")) / FPS
    return [figure("cards", count, 3, at_least=True), figure("seconds", long, 3.0, " s", True)]


def cut_out_the_middle(person: Person, home: Home) -> list[Figure]:
    person.press("Re-cut", person.stage)
    person.sweep(mark(person, 1), mark(person, 2), "drag over the ruler from 1 s to 2 s")
    person.key("Delete")
    person.makes("Make the re-cut")
    return [kept("the rest is the same pixels", home.take(person, "Task 4"), home.red[[*range(8), *range(16, 25)]], 40)]


def loop(person: Person, home: Home) -> list[Figure]:
    person.press("Loop", person.stage)
    person.makes("Loop Video")
    return seam_figures("loop", home.take(person, "Task 5"), home.red)


TASKS = [
    Row("First clip", first_clip),
    Row("Image to video", image_to_video),
    Row("Storyboard of three cards", three_cards),
    Row("Cut out the middle second of the video on the stage", cut_out_the_middle),
    Row("Loop the video on the stage", loop),
]
