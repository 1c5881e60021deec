"""The studio's bench, in a real browser on a real ComfyUI with the pocket model: storyboard, re-cut and blend."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import clips
import httpx2 as httpx
import pytest
import studio_page
import wire_client
from playwright.sync_api import expect
from studio_page import Studio, serious

TEXT = "The board as text"
FRAMES = 24

DROP_VIDEO = """([selector, id]) => {
    const carried = new DataTransfer()
    carried.setData('application/x-atelier-video', id)
    for (const kind of ['dragenter', 'dragover', 'drop'])
        document.querySelector(selector).dispatchEvent(
            new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: carried}))
}"""
BARS = """() => {
    const screen = document.querySelector('.viewer .screen'), {width, height} = screen
    const pixels = screen.getContext('2d').getImageData(width / 2, 0, 1, height).data
    return [...Array(8).keys()].reduce((number, bit) =>
        number + (pixels[4 * Math.floor((bit + 0.5) * height / 8)] > 128 ? 2 ** bit : 0), 0)
}"""
"""The number that a frame of `clips.numbered` on the screen shows."""


@pytest.fixture
def url(comfyui) -> str:
    return comfyui("pinned", "--preview-method", "auto").url


@pytest.fixture
def http(url) -> Iterator[httpx.Client]:
    with wire_client.connect(url) as client:
        yield client


@pytest.fixture
def numbered(http, tmp_path) -> dict:
    """A finished video of the gallery whose frames show their numbers."""
    path = clips.make(tmp_path / "numbered.mp4", clips.numbered(FRAMES, 64, 64), fps=8)
    with path.open("rb") as file:
        fields = {"prompt": "frames with numbers", "recut": "0 -"}
        video = wire_client.wait(http, http.post("/videos/edits", data=fields, files={"video": file}).json())
    assert (video["status"], video["num_frames"]) == ("completed", FRAMES), video
    return video


@pytest.fixture
def studio(browser, url, numbered) -> Iterator[Studio]:
    with studio_page.opened(browser, url, bypass_csp=True) as opened:
        opened.open(f"#{numbered['id']}")
        opened.plays()
        yield opened


def board(studio: Studio, text: str) -> None:
    """Open the storyboard, and write it as text."""
    studio.press("Storyboard")
    studio.page.evaluate("() => document.querySelectorAll('#bench details').forEach(fold => fold.open = true)")
    write(studio, text)


def write(studio: Studio, text: str) -> None:
    studio.page.get_by_label(TEXT).fill(text)
    cards = studio.page.locator("#bench .lane .card")
    expect(cards).to_have_count(len(text.splitlines()), timeout=5000)


def asked(studio: Studio, button: str) -> tuple[dict, dict[str, Any]]:
    """Press a button that asks for a video; returns it and the request's fields."""
    with studio.page.expect_response(lambda answer: answer.request.method == "POST") as answer:
        studio.press(button)
    request = answer.value.request
    return answer.value.json(), json.loads(request.post_data) if "json" in request.headers["content-type"] else {}


def pieces(studio: Studio) -> list[str]:
    return [text.strip() for text in studio.page.locator(".piece .label").all_inner_texts()]


def test_a_board_with_pictures_is_dragged_written_cut_undone_and_made(studio, http, numbered):
    board(studio, "0s: a red circle moving right\n1s cut: a blue square rising")
    lane, press = "#bench .lane .card", studio.page.keyboard.press
    studio.drop(f"{lane}:nth-child(2)", "sky.png", "image/png", wire_client.png("blue"))
    studio.page.locator(".shelf.own img").first.wait_for()
    studio.page.evaluate(DROP_VIDEO, [f"{lane}:nth-child(1)", numbered["id"]])
    text = studio.page.get_by_label(TEXT)
    wanted = "0s [image 2]: a red circle moving right\n1s cut [image 1]: a blue square rising"
    assert text.input_value() == wanted
    studio.page.locator(lane).nth(1).focus()
    press("Shift+ArrowRight")
    assert "1.01s cut [image 1]" in text.input_value()
    press("Control+z")
    assert text.input_value() == wanted
    press("Control+Shift+z")
    assert "1.01s" in text.input_value()
    studio.advanced(num_inference_steps=2, seed=3)
    made, _ = asked(studio, "Generate storyboard")
    made = wire_client.wait(http, made)
    assert (made["status"], made["operation"], made["warnings"]) == ("completed", "storyboard", []), made
    # references come before files, so the numbers are exchanged
    assert made["storyboard"].splitlines()[0] == "0s [image 1]: a red circle moving right"
    studio.page.reload()
    studio.ready()
    studio.press("Storyboard")
    studio.page.locator(".shelf.own img").nth(1).wait_for()
    assert "1.01s cut [image 1]" in studio.page.get_by_label(TEXT).input_value()

    board(studio, "0s: other words")
    studio.page.get_by_label(TEXT).blur()
    studio.page.get_by_label("Enter your prompt").fill("other words, too")
    studio.advanced(num_inference_steps="", seed="")
    studio.press("Reuse settings")
    expect(studio.page.get_by_label(TEXT)).to_have_value(made["storyboard"])
    expect(studio.page.locator(".shelf.own img")).to_have_count(2)
    assert (studio.value("Enter your prompt"), studio.value("Seed")) == ("a red circle moving right", "3")
    again, _ = asked(studio, "Generate storyboard")
    again = wire_client.wait(http, again)
    assert {name: again[name] for name in ("status", "storyboard", "num_frames")} == {
        name: made[name] for name in ("status", "storyboard", "num_frames")
    }
    first, second = (http.get(f"/videos/{each['id']}/content?variant=thumbnail").content for each in (made, again))
    assert first == second
    studio.page.locator("#bench-title").focus()
    press("Control+z")
    expect(studio.page.get_by_label(TEXT)).to_have_value("0s: other words")
    studio.page.locator("#notices").get_by_role("button", name="Undo").last.click()
    assert (studio.value("Enter your prompt"), studio.value("Seed")) == ("other words, too", "")

    content = http.get(f"/videos/{made['id']}/content").content
    http.delete(f"/videos/{made['id']}")
    studio.drop("#gallery", "made.mp4", "video/mp4", content)
    studio.page.locator("#notices").get_by_text("among the videos").wait_for()
    studio.press("Reuse settings")  # a file has the board's words alone
    studio.page.locator("#bench-fault").get_by_text("their cards have only words now").wait_for()
    words = "0s: a red circle moving right\n1.01s cut: a blue square rising"
    expect(studio.page.get_by_label(TEXT)).to_have_value(words)


def test_the_middle_second_is_cut_out_in_five_actions(studio, http, numbered):
    studio.press("Re-cut")
    ruler = studio.page.locator(".cutting .ruler").bounding_box()
    at = [ruler["x"] + ruler["width"] * second / 3 for second in (1, 2)]
    studio.page.mouse.move(at[0], ruler["y"] + 9)
    studio.page.mouse.down()
    studio.page.mouse.move(at[1], ruler["y"] + 9, steps=5)
    studio.page.mouse.up()
    studio.page.keyboard.press("Delete")
    assert pieces(studio) == ["0–1", "2–3"]
    made, fields = asked(studio, "Make the re-cut")
    assert fields["recut"] == [{"start": 0, "end": 1}, {"start": 2, "end": 3}]
    made = wire_client.wait(http, made)
    assert (made["status"], made["operation"], made["num_frames"], made["warnings"]) == ("completed", "recut", 16, [])
    studio.plays()
    studio.press("Reuse settings")
    assert pieces(studio) == ["0–1", "2–3"]


def test_pieces_are_split_moved_repeated_filled_and_seen_frame_by_frame(studio, http):
    studio.press("Re-cut")
    scrub, press = studio.page.get_by_label("Frame of the result"), studio.page.keyboard.press

    def shows(number: int) -> None:
        studio.page.wait_for_function(f"() => ({BARS})() === {number}", timeout=10_000)

    shows(0)
    scrub.focus()
    for _ in range(8):
        press("ArrowRight")
    shows(8)
    press("s")
    assert pieces(studio) == ["0–1", "1–3"]
    press("Alt+ArrowLeft")
    assert pieces(studio) == ["1–3", "0–1"]
    press("r")
    press("Control+z")
    scrub.fill("20")
    shows(4)  # of the clip: the second piece begins at 16
    press("]")
    assert pieces(studio) == ["1–3", "0–0.63"]
    scrub.fill("16")
    press("g")
    assert pieces(studio)[1].startswith("Gap")
    studio.page.get_by_text("A gap: the model makes this part.").wait_for()
    studio.page.get_by_label("What fills the gaps").fill("a red circle moving left")
    studio.advanced(num_inference_steps=2, seed=3)
    made, fields = asked(studio, "Make the re-cut")
    assert fields["prompt"] == "a red circle moving left" and "gap" in fields["recut"][1]
    made = wire_client.wait(http, made)
    assert (made["status"], made["operation"], made["warnings"]) == ("completed", "fill", []), made


def named(studio: Studio, button: str, name: str) -> None:
    """Save what is on the bench under a name, and wait until it is among the saved boards."""
    studio.press(button)
    studio.page.get_by_label("Name", exact=True).fill(name)
    studio.press("Save")
    studio.page.locator(".boards").get_by_text(name, exact=True).wait_for()


@pytest.mark.slow
def test_a_recut_and_a_blend_in_work_are_kept_and_saved(studio, http, numbered):
    press = studio.page.keyboard.press
    studio.press("Re-cut")
    studio.page.get_by_label("Frame of the result").fill("8")
    press("s")
    press("Delete")
    studio.page.reload()
    studio.ready()
    studio.press("Re-cut")
    expect(studio.page.locator(".piece .label")).to_have_text(["0–1"])
    press("Control+z")
    assert pieces(studio) == ["0–3"]
    press("Control+y")
    named(studio, "Save re-cut", "My cut")
    press("Control+z")
    studio.press("Blend")
    studio.page.locator("#bench .shelf button").last.wait_for()
    other = wire_client.wait(http, http.post("/videos", json=wire_client.FAST | {"prompt": "another one"}).json())
    studio.page.locator(f"#bench .shelf [data-id='{other['id']}']").click()
    studio.page.get_by_label("Length of the blend").fill("0.75")
    studio.press("Sharp")
    named(studio, "Save blend", "My blend")
    studio.page.reload()
    studio.ready()
    studio.press("Open: My cut")
    expect(studio.page.locator(".piece .label")).to_have_text(["0–1"])
    studio.press("Open: My blend")
    expect(studio.page.locator("#bench .pair")).to_contain_text("another one")
    assert studio.value("Length of the blend") == "0.75"
    expect(studio.page.get_by_role("slider", name="Point 4 of 4")).to_be_visible()
    http.delete(f"/videos/{numbered['id']}")
    studio.page.reload()
    studio.ready()
    studio.press("Open: My cut")
    studio.page.locator("#notices").get_by_text("has been deleted").wait_for()
    for name in ("My cut", "My blend"):
        studio.press(f"Delete: {name}")
        studio.page.get_by_role("dialog").get_by_role("button", name="Delete").click()


@pytest.mark.slow
def test_a_board_that_two_pages_change_becomes_two_boards(browser, url, studio):
    studio.page.get_by_label("Enter your prompt").fill("one line\nand another")
    studio.press("Storyboard")
    expect(studio.page.get_by_label(TEXT)).to_have_value("0s: one line\n1.13s: and another")
    board(studio, "0s: first words")
    named(studio, "Save board", "Ours")
    tab = Studio(studio.page.context.new_page(), url)  # what is in work in two tabs of a browser is kept apart
    board(tab, "0s: in another tab")
    tab.page.get_by_label(TEXT).blur()
    tab.page.close()
    studio.page.reload()
    studio.ready()
    studio.press("Storyboard")
    expect(studio.page.get_by_label(TEXT)).to_have_value("0s: first words")
    with studio_page.opened(browser, url) as other:
        other.press("Open: Ours")
        other.page.get_by_text("The board as text").click()
        write(other, "0s: theirs")
        other.press("Save board")
        other.page.locator("#notices").get_by_text("Ours is saved").wait_for()
        other.press("Rename: Ours")
        other.page.get_by_label("Name", exact=True).fill("Theirs")
        other.press("Save")
        # This page learns of it, so the server would take its change.
        studio.page.locator(".boards").get_by_text("Theirs").wait_for()
    board(studio, "0s: mine")
    studio.press("Save board")
    studio.page.locator("#notices").get_by_text("kept beside it").wait_for()
    for name, words in (("Theirs", "0s: theirs"), ("Theirs (2)", "0s: mine")):
        studio.press(f"Open: {name}")
        expect(studio.page.get_by_label(TEXT)).to_have_value(words)
        studio.press(f"Delete: {name}")
        studio.page.get_by_role("dialog").get_by_role("button", name="Delete").click()


@pytest.mark.slow
def test_two_videos_are_blended_along_a_curve(studio, http, numbered):
    body = wire_client.FAST | {"prompt": f"a blue star of {numbered['id']}", "num_frames": 25}
    other = wire_client.wait(http, http.post("/videos", json=body).json())
    studio.page.get_by_role("button", name=f"{other['prompt']}, completed").wait_for()
    studio.press("Blend")
    studio.press("Blend videos")
    studio.page.locator("#bench-fault").get_by_text("Choose a second video").wait_for()
    studio.page.evaluate(DROP_VIDEO, ["#bench .pair", other["id"]])
    point = studio.page.get_by_role("slider", name="Point 1 of 2")
    point.press("Enter")
    studio.page.get_by_role("slider", name="Point 2 of 3").press("ArrowDown")
    studio.advanced(num_inference_steps=2, seed=3)
    made, fields = asked(studio, "Blend videos")
    assert fields["blend"] == {"video": {"id": other["id"]}, "seconds": 1, "curve": [[0, 0], [0.5, 0.45], [1, 1]]}
    made = wire_client.wait(http, made)
    assert (made["status"], made["operation"]) == ("completed", "blend"), made
    assert made["num_frames"] == FRAMES + 25 - 8 - 1
    studio.press("Linear")
    studio.open(f"#{made['id']}")
    studio.press("Reuse settings")
    expect(studio.page.locator("#bench .pair")).to_contain_text(other["prompt"])
    expect(studio.page.get_by_role("slider", name="Point 2 of 3")).to_be_visible()
    http.delete(f"/videos/{other['id']}")
    studio.open(f"#{made['id']}")
    studio.press("Reuse settings")
    studio.page.locator("#notices").get_by_text("Choose another one").wait_for()
    http.delete(f"/videos/{numbered['id']}")
    studio.open(f"#{made['id']}")
    studio.press("Reuse settings")
    studio.page.locator("#notices").get_by_text("only its settings are here").wait_for()


def test_what_goes_wrong_on_the_bench_is_said_and_loses_nothing(studio, http, numbered):
    fault = studio.page.locator("#bench-fault")
    strange = "0s: \u0645\u0631\u062d\u0628\u0627 \U0001f3ac <b>\n0.5s: " + "x" * 500
    board(studio, strange)
    studio.drop("#bench .tray", "notes.txt", "text/plain", b"words")
    fault.get_by_text("neither a picture nor a clip").wait_for()
    studio.page.evaluate("""() => { const file = new File(['x'], 'long.mp4', {type: 'video/mp4'})
        Object.defineProperty(file, 'size', {value: 4e9}); window.long = file }""")
    studio.page.evaluate(
        "async () => { const {ofFile} = await import('./atelier/bench/pictures.js'); window.told = await ofFile(long) }"
    )
    assert studio.page.evaluate("() => told") == "board.file.large"
    studio.page.evaluate(DROP_VIDEO, ["#bench .lane .card", numbered["id"]])
    assert "[image 1]" in studio.page.get_by_label(TEXT).input_value()
    studio.page.context.set_offline(True)
    studio.press("Generate storyboard")
    fault.get_by_text("does not answer").wait_for()
    studio.page.context.set_offline(False)
    http.delete(f"/videos/{numbered['id']}")
    studio.page.locator(".shelf.own .fault").wait_for()
    studio.press("Generate storyboard")
    fault.get_by_text("is a video that has been deleted").wait_for()
    assert strange.splitlines()[1] in studio.page.get_by_label(TEXT).input_value()
    write(studio, "\n".join(f"{n}s: card {n}" for n in range(200)))
    studio.page.evaluate(
        "() => { IDBObjectStore.prototype.put = () => { throw new DOMException('', 'QuotaExceededError') } }"
    )
    studio.press("Generate storyboard")
    fault.get_by_text("but the shot ends at").wait_for()
    studio.page.locator("#notices").get_by_text("storage is full").first.wait_for()
    write(studio, "\n".join(f"{n / 100:g}s: card {n}" for n in range(200)))
    studio.advanced(num_inference_steps=1)
    made = wire_client.wait(http, asked(studio, "Generate storyboard")[0])
    assert (made["status"], len(made["storyboard"].splitlines())) == ("completed", 200), made


@pytest.mark.parametrize("scheme,width", [pytest.param("light", 1280, marks=pytest.mark.slow), ("dark", 360)])
def test_the_bench_fits_a_phone_and_has_no_serious_fault(browser, url, numbered, scheme, width):
    viewport = {"width": width, "height": 800}
    still = {"color_scheme": scheme, "reduced_motion": "reduce", "bypass_csp": True, "viewport": viewport}
    with studio_page.opened(browser, url, **still) as studio:
        studio.open(f"#{numbered['id']}")
        studio.page.locator("#stage video").wait_for()
        for name in ("Storyboard", "Re-cut", "Blend"):
            studio.press(name)
            studio.page.evaluate("() => document.querySelectorAll('#bench details').forEach(fold => fold.open = true)")
            studio.page.wait_for_timeout(300)
            assert studio.page.evaluate("() => document.scrollingElement.scrollWidth") == width
            assert serious(studio.page, "#bench") == []
