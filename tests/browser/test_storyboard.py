"""The storyboard's time line, with mouse and keyboard: what it shows, what it writes, and that it keeps nothing."""

import json
from pathlib import Path

import front_ends
import pytest

EXAMPLES = json.loads((Path(__file__).parents[1] / "storyboards.json").read_text(encoding="utf-8"))
TURN = "0s: a red circle moving right on a black background\n1.6s: a red circle moving left on a black background"

READ = """async examples => {
    const {read, check} = await import('/extensions/atelier/storyboard/board.js')
    return examples.map(({text, repeat = 1, length = null, images = null}) => {
        const {cards, errors} = read(text.repeat(repeat))
        errors.push(...check(cards, length, images))
        const names = ['line', 'time', 'words', 'cut', 'image', 'strength', 'last']
        const seen = cards.map(card => Object.fromEntries(names.map(name => [name, card[name]])))
        return errors.length ? {error: errors[0].message} : {cards: seen}
    })
}"""
NODE = "() => { window.board = app.graph._nodes.find(node => node.type === 'AtelierStoryboard') }"
TEXT = "() => board.widgets.find(widget => widget.name === 'board').value"
SAVED = "() => JSON.parse(JSON.stringify(app.graph.serialize().nodes.find(node => node.type === 'AtelierStoryboard')))"
PROMPT = "async () => Object.keys((await app.graphToPrompt()).output[board.id].inputs)"
SET = """([type, name, value]) => {
    const node = app.graph._nodes.find(node => node.type === type)
    node.widgets.find(widget => widget.name === name).value = value
}"""

FRONT_ENDS = pytest.mark.parametrize("view", [*front_ends.BOTH, "newest, Nodes 2.0"], indirect=True)


@pytest.fixture
def storyboard(view):
    """The storyboard's saved graph, with its time line drawn for the shot's whole length."""
    view.open_template("storyboard")
    view.page.evaluate(NODE)
    view.page.wait_for_function(
        "() => document.querySelector('.atelier-storyboard .message')?.innerText.includes('3.12 s')"
    )
    return view.page


def text(page) -> str:
    return page.evaluate(TEXT)


def cards(page) -> list[tuple[str, str]]:
    """What a screen reader says of each card: its time and kind, its words."""
    return [
        (card.get_attribute("aria-valuetext"), card.get_attribute("aria-label").partition(": ")[2])
        for card in page.get_by_role("slider").all()
    ]


def drag(page, card: int, seconds: float, shift: bool = False) -> None:
    lane = page.locator(".atelier-storyboard .lane").bounding_box()
    box = page.get_by_role("slider").nth(card).bounding_box()
    x, y = box["x"] + 6, box["y"] + box["height"] / 2
    if shift:
        page.keyboard.down("Shift")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + seconds / 3.125 * lane["width"], y, steps=8)
    page.mouse.up()
    if shift:
        page.keyboard.up("Shift")


@pytest.mark.parametrize("view", ["pinned"], indirect=True)
def test_it_reads_a_board_as_python_does(view):
    """tests/models/timeline/test_storyboard.py reads the same examples."""
    wanted = [{key: value for key, value in each.items() if key in ("error", "cards")} for each in EXAMPLES]
    assert view.page.evaluate(READ, EXAMPLES) == wanted


@FRONT_ENDS
def test_cards_are_dragged_added_written_cut_and_removed(storyboard, view):
    page = storyboard
    assert cards(page) == [
        ("0 seconds, the start", "a red circle moving right on a black background"),
        ("1.6 seconds, flows", "a red circle moving left on a black background"),
    ]
    drag(page, 1, 0.5)  # to where a latent frame begins: (4 n + 1) / 8 s
    assert text(page) == TURN.replace("1.6s", "2.13s")
    drag(page, 1, -0.37, shift=True)
    assert 1.7 < float(text(page).splitlines()[1].split("s")[0]) < 1.82
    drag(page, 1, 9)
    assert text(page) == TURN.replace("1.6s", "2.63s")  # the shot's last latent frame

    lane = page.locator(".atelier-storyboard .lane").bounding_box()
    page.mouse.dblclick(lane["x"] + 0.36 * lane["width"], lane["y"] + 40)  # 1.125 s
    assert text(page).splitlines()[1] == "1.13s: a red circle moving right on a black background"
    page.keyboard.type("a  blue square\n")
    page.get_by_role("textbox", name="Number of the image").fill("2-17")
    assert text(page).splitlines()[1].startswith("1.13s [images 2-17]:")
    page.get_by_role("textbox", name="Number of the image").fill("2")
    page.get_by_role("spinbutton", name="How strictly").fill("0.8")
    page.get_by_role("button", name="Flows:").click()
    assert text(page).splitlines()[1] == "1.13s cut [image 2, 0.8]: a blue square"
    assert "names image 2, but 0 are connected" in page.locator(".atelier-storyboard .message").inner_text()
    page.get_by_role("textbox", name="Number of the image").fill("")
    page.get_by_role("button", name="A cut:").click()
    page.get_by_role("button", name="Remove this card").click()
    assert text(page) == TURN.replace("1.6s", "2.63s")

    page.get_by_role("button", name="Add a card after this one").click()
    page.keyboard.type("last")
    assert len(cards(page)) == 3 and text(page).endswith(": last")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+z")
    page.wait_for_function("() => !document.querySelector('.atelier-storyboard textarea').value.includes('last')")
    assert view.errors == []


@FRONT_ENDS
def test_cards_are_moved_with_the_keyboard(storyboard, view):
    page = storyboard
    page.get_by_role("slider").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert text(page) == TURN.replace("1.6s", "1.63s")
    for key in ("ArrowRight", "Shift+ArrowLeft", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    assert text(page) == TURN.replace("1.6s", "2.11s")
    page.keyboard.press("Enter")
    page.keyboard.press("Control+a")
    page.keyboard.type("a green star")
    page.keyboard.press("Enter")
    page.keyboard.press("c")
    assert text(page).splitlines()[1] == "2.11s cut: a green star"
    page.keyboard.press("Delete")
    assert text(page) == TURN.splitlines()[0]
    for _ in range(3):  # the card, and then nothing, least of all the node
        page.keyboard.press("Delete")
    assert [node["type"] for node in view.nodes()].count("AtelierStoryboard") == 1
    assert text(page) == "" and "The storyboard is empty" in page.locator(".atelier-storyboard .message").inner_text()
    assert view.errors == []


@FRONT_ENDS
def test_text_written_by_hand_is_drawn_and_broken_lines_are_kept(storyboard, view):
    page = storyboard
    hand = page.locator("textarea").filter(visible=True).first
    assert hand.input_value() == TURN
    hand.fill("0s: one\nnonsense\n1.2s: two\n1.5s: three\n9s: four")
    page.wait_for_function("() => document.querySelectorAll('.atelier-storyboard .card').length === 4")
    said = page.locator(".atelier-storyboard .message").inner_text()
    assert (
        "Line 2 ('nonsense') is not a card." in said
        and "Line 5: the card is at 9 s, but the shot ends at 3.12 s." in said
    )
    assert [kind for kind, _ in cards(page)][2] == "1.5 seconds, after a cut"  # less than a second after the one before
    page.get_by_role("button", name="Line 2").click()
    assert (
        page.evaluate(
            "() => getSelection().toString() || document.activeElement.value.slice("
            "document.activeElement.selectionStart, document.activeElement.selectionEnd)"
        )
        == "nonsense"
    )
    page.get_by_role("slider").nth(1).focus()
    page.keyboard.press("ArrowRight")
    assert text(page) == "0s: one\nnonsense\n1.63s: two\n1.5s: three\n9s: four"
    assert view.errors == []


@FRONT_ENDS
def test_the_line_is_as_long_as_the_shot(storyboard, view):
    page = storyboard

    def said(what: str) -> None:
        page.wait_for_function(
            "what => document.querySelector('.atelier-storyboard .message').innerText.includes(what)", arg=what
        )

    page.evaluate(SET, ["AtelierEmptyVideoLatent", "frames", 41])
    said("5.12 s")
    page.evaluate(SET, ["AtelierEmptyVideoLatent", "frames", 0])
    page.evaluate(SET, ["AtelierEmptyVideoLatent", "seconds", 4.0])
    said("4.12 s")  # the model's own frame rate, and the nearest number of frames it can make
    page.evaluate(SET, ["AtelierLoadVideoModel", "model", "gone"])
    said("4.00 s")
    page.evaluate("() => board.disconnectInput(board.inputs.findIndex(input => input.name === 'latent'))")
    said("length known when the graph runs")
    assert view.errors == []


@FRONT_ENDS
def test_it_saves_nothing_of_its_own(storyboard, view, workflow):
    page = storyboard
    saved = next(node for node in workflow("storyboard")["nodes"] if node["type"] == "AtelierStoryboard")
    now = page.evaluate(SAVED)
    assert now["widgets_values"] == saved["widgets_values"]
    assert [each for each in now["inputs"] if each["name"] == "time_line"] == []
    assert set(page.evaluate(PROMPT)) == {"clip", "vae", "latent", "board", "negative_prompt", "style", "flow"}
    page.evaluate(SET, ["AtelierStoryboard", "negative_prompt", "noise"])
    page.evaluate("async () => app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())))")
    page.evaluate(NODE)
    assert page.evaluate(SAVED)["widgets_values"] == [TURN, "noise", "the model's own", "windows"]
    page.wait_for_function("() => document.querySelectorAll('.atelier-storyboard .card').length === 2")
    assert view.errors == []
