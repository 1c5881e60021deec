"""The studio at /atelier, in a real browser on a real ComfyUI with the pocket model."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator

import editor
import httpx2 as httpx
import numpy as np
import pytest
import sounds
import studio_page
import tiny
import tiny_ltx2
import tiny_upscaler
import wire_client
from comfy_server import free_port, running
from PIL import Image, ImageSequence
from playwright.sync_api import expect
from pocket.ltx2.sound import PITCHES
from shipped_pocket import SIDE
from studio_page import Studio, serious

PREVIEWS = ("--preview-method", "auto")
PYRAMID = "pocket pyramid (built in)"
PHONE = {"viewport": {"width": 360, "height": 740}}


@pytest.fixture
def url(comfyui) -> str:
    return comfyui("pinned", *PREVIEWS).url


@pytest.fixture
def http(url) -> Iterator[httpx.Client]:
    """The same server for a program. Each test begins without videos."""
    with wire_client.connect(url) as client:
        while videos := client.get("/videos", params={"limit": 100}).json()["data"]:
            for video in videos:
                client.delete(f"/videos/{video['id']}")
        yield client


@pytest.fixture
def studio(browser, url, http) -> Iterator[Studio]:
    with studio_page.opened(browser, url) as opened:
        yield opened


@pytest.fixture
def made(http) -> Callable[..., dict]:
    """``made(prompt="...")``: a finished video that a program has asked for."""

    def make(**fields) -> dict:
        video = wire_client.wait(http, http.post("/videos", json=wire_client.FAST | fields).json())
        assert video["status"] == "completed", video
        return video

    return make


def png(color: str) -> bytes:
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(picture, "PNG")
    return picture.getvalue()


def test_a_prompt_becomes_a_video_that_plays_and_stays(studio, http):
    assert studio.page.get_by_label("Enter your prompt").get_attribute("placeholder") == (
        "Describe the video you want to generate..."
    )
    identity = studio.generate("a red circle moving left", steps=4, seed=7)
    assert studio.plays() > 0.3
    video = http.get(f"/videos/{identity}").json()
    assert (video["prompt"], video["seed"], video["num_inference_steps"], video["warnings"]) == (
        *("a red circle moving left", 7, 4),
        [],
    )
    assert studio.cards.count() == 1

    studio.page.reload()
    studio.ready()
    assert studio.plays() > 0.3
    assert studio.value("Enter your prompt") == "a red circle moving left"
    studio.page.evaluate("() => localStorage.clear()")
    studio.open()
    assert studio.cards.count() == 1 and studio.plays() > 0.3


def test_steps_preview_and_cancel(studio, http):
    identity = studio.generate(steps=900)
    studio.page.get_by_role("button", name="Cancel", exact=True).focus()
    studio.page.wait_for_function("() => /\\d+ % · 0:/.test(document.querySelector('#stage').innerText)")
    assert studio.focused() == "Cancel"  # it began while the button had the focus
    studio.page.wait_for_function(
        "() => { const seen = document.querySelector('#stage img'); return seen && !seen.hidden && seen.naturalWidth }"
    )
    assert int(studio.stage.get_by_role("progressbar").get_attribute("aria-valuenow")) < 100
    studio.page.keyboard.press("Enter")
    studio.says("Cancelled")
    assert studio.focused() == "stage-title"
    assert http.get(f"/videos/{identity}").json()["error"]["code"] == "cancelled"


@pytest.mark.slow
def test_the_finished_part_of_a_clip_plays_while_the_rest_is_made(studio, http):
    studio.page.locator("#model").select_option(PYRAMID)
    identity = studio.generate(steps=100, seed=5)  # it is cancelled below
    shown = studio.stage.locator(".so-far")
    shown.get_by_text(re.compile(r"So far, in rough colours: \d[.\d]* of \d")).wait_for()
    picture, moves = studio.stage.locator(".frame > img"), False
    while not moves:
        assert http.get(f"/videos/{identity}").json()["status"] == "in_progress"
        address, first = picture.get_attribute("src"), picture.screenshot()
        moves = picture.screenshot() != first and picture.get_attribute("src") == address

    answer = http.get(f"/videos/{identity}/content", params={"variant": "so_far"})
    video = http.get(f"/videos/{identity}").json()
    assert video["status"] == "in_progress" and answer.headers["X-Decoded"] == "false"
    assert 0 < float(answer.headers["X-Seconds"]) <= float(video["seconds"])
    animation = Image.open(io.BytesIO(answer.content))
    assert animation.format == "WEBP" and animation.n_frames > 1

    studio.press("Cancel")
    studio.says("Cancelled")
    assert http.get(f"/videos/{identity}").json()["error"]["code"] == "cancelled"
    assert wire_client.error(http.get(f"/videos/{identity}/content", params={"variant": "so_far"}))[1] == "no_preview"


def so_far(http: httpx.Client, identity: str) -> tuple[str, np.ndarray]:
    """The part of a running clip that is there: its version, and its frames [F, H, W, 3] in 0..255."""
    answer = http.get(f"/videos/{identity}/content", params={"variant": "so_far"})
    with Image.open(io.BytesIO(answer.content)) as animation:
        frames = [np.asarray(frame.convert("RGB"), np.int16) for frame in ImageSequence.Iterator(animation)]
    return answer.headers["ETag"], np.stack(frames)


@pytest.mark.slow
def test_the_finished_scene_of_a_storyboard_plays_while_the_next_is_made(studio, http):
    studio.page.get_by_label("Enter your prompt").fill("a red circle moving right\na blue square rising")
    studio.page.locator("#seconds").fill("3")
    studio.advanced(num_inference_steps=400, seed=5)  # it is cancelled below
    studio.press("Storyboard")
    identity = studio.sends("Generate storyboard")
    shown = studio.stage.locator(".so-far")
    shown.get_by_text(re.compile(r"in rough colours: 1[.\d]* of 3")).wait_for()
    _, scene = so_far(http, identity)
    shown.get_by_text(re.compile(r"in rough colours: 3[.\d]* of 3")).wait_for()
    version, before = so_far(http, identity)
    while (newest := so_far(http, identity))[0] == version:
        pass
    _, after = newest
    assert len(scene) < len(before) == len(after)
    change = np.abs(before - after).max(axis=(1, 2, 3))
    assert change[: len(scene)].max() < 8 < change[len(scene) :].max(), change
    assert http.get(f"/videos/{identity}").json()["status"] == "in_progress"
    studio.press("Cancel")
    studio.says("Cancelled")


@pytest.mark.slow
def test_decoded_frames_play_as_they_come(request, studio, comfyui, http):
    """A clip of 32 seconds, whose decoding takes the pocket model's autoencoder seconds."""
    owner = comfyui("pinned", *PREVIEWS).base / "user" / "atelier" / "api.json"
    owner.parent.mkdir(parents=True, exist_ok=True)
    long = {"model": "pocket (built in)", "size": "192x192", "max_pixels": 192 * 192, "max_frames": 257}
    owner.write_text(json.dumps({"models": {"long": long}}))
    request.addfinalizer(owner.unlink)
    studio.page.reload()
    studio.ready()
    studio.page.locator("#model").select_option("long")
    studio.page.locator("#seconds").fill("32")
    with studio.page.expect_response(lambda answer: answer.headers.get("x-decoded") == "true") as decoded:
        studio.generate(steps=1)
        studio.stage.locator(".so-far").get_by_text(re.compile(r"So far: [.\d]+ of 32")).wait_for()
    assert 0 < float(decoded.value.headers["x-seconds"]) < 32.125, "it is a part of the clip"


def test_several_jobs_wait_in_line_and_a_reload_finds_them(studio):
    running = studio.generate(steps=900)
    waiting = studio.generate("a big blue square rising", steps=2)
    last = studio.generate("a small green triangle spinning", steps=2)
    studio.says("2nd in line")
    studio.page.reload()
    studio.ready()
    studio.says("2nd in line")
    assert studio.page.evaluate("() => location.hash") == f"#{last}"
    studio.press("Cancel")
    studio.says("Cancelled")
    for identity in (waiting, running):
        studio.open(f"#{identity}")
        studio.press("Cancel")
        studio.says("Cancelled")
    assert studio.cards.count() == 3


def test_a_dropped_picture_is_the_first_frame(studio, http):
    studio.drop("#first-frame", "sky.png", "image/png", png("blue"))
    studio.page.locator("#first-frame img").wait_for()
    identity = studio.generate("a red circle", steps=4)
    studio.plays()
    picture = http.get(f"/videos/{identity}/content", params={"variant": "thumbnail"}).content
    red, _, blue = Image.open(io.BytesIO(picture)).convert("RGB").resize((1, 1)).getpixel((0, 0))
    assert blue > red + 60
    studio.press("Remove: First frame")
    assert studio.page.locator("#first-frame img").count() == 0


def test_remix_extend_and_loop_from_the_gallery(studio, http, made):
    source = made(seed=11)
    studio.open()
    for act, button, operation in (
        ("Remix", "Remix Video", "edit"),
        ("Extend", "Extend Video", "extend"),
        ("Loop", "Loop Video", "loop"),
    ):
        studio.page.locator(f"#sheet .card[aria-label^='{source['prompt']}']").last.click()
        studio.press(act)
        assert studio.value("Enter your prompt") == source["prompt"]
        studio.advanced(num_inference_steps=2)
        identity = studio.sends(button)
        studio.plays()
        video = http.get(f"/videos/{identity}").json()
        assert (video["status"], video["operation"]) == ("completed", operation)
        assert (video["remixed_from_video_id"], video["warnings"]) == (source["id"], [])
    assert studio.cards.count() == 4
    assert studio.page.locator("#generate").inner_text() == "Generate Video"


def test_variations_and_reusing_settings(studio, http):
    studio.choose("Variations", "2")
    first = studio.generate("a big yellow star falling", seed=21)
    studio.plays()
    studio.press("Variation 2")
    studio.plays()
    video = http.get(f"/videos/{studio.page.evaluate('() => location.hash.slice(1)')}").json()
    assert video["seed"] == 22 and video["variations"][0] == first
    studio.page.locator("#prompt").fill("something else")
    studio.advanced(seed="", num_inference_steps="")
    studio.press("Reuse settings")
    assert studio.value("Enter your prompt") == "a big yellow star falling"
    assert (studio.value("Seed"), studio.value("Steps")) == ("22", "2")


def test_delete_can_be_undone_and_lasts(studio, http, made):
    video = made(seed=31)
    studio.open()
    studio.press("Delete")
    assert studio.cards.count() == 0
    studio.page.locator("#notices").get_by_role("button", name="Undo").click()
    assert studio.cards.count() == 1 and studio.plays() > 0
    studio.press("Delete")
    studio.page.goto("about:blank")  # gone before the time for undoing was over
    deadline = 50
    while http.get(f"/videos/{video['id']}").status_code != 404 and deadline:
        studio.page.wait_for_timeout(100)
        deadline -= 1
    studio.open()
    assert studio.cards.count() == 0
    studio.says("Your video appears here")


def test_with_the_keyboard_alone(studio):
    press = studio.page.keyboard.press

    def reach(wanted: str, key: str = "Tab") -> None:
        seen = []
        while studio.focused() != wanted:
            press(key)
            seen.append(studio.focused())
            assert len(seen) < 60, seen

    reach("Skip to the prompt")
    press("Enter")
    reach("prompt")
    studio.page.keyboard.type("a red circle moving left")
    reach("generate")
    assert studio.page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") != "none"
    press("Enter")
    studio.plays()
    reach("Reuse settings")
    press("Enter")
    reach("random-seed")
    press("Enter")
    assert studio.value("Seed") == ""
    card = studio.cards.first.inner_text().split("\n")[-1]
    reach(studio.page.evaluate("() => document.querySelector('.card').textContent.trim()"))
    assert card == "a red circle moving left"
    press("Enter")
    assert studio.focused() == "stage-title"


def test_nonsense_is_answered_in_words_and_loses_nothing(studio):
    studio.press("Generate Video")
    assert (studio.fault("prompt"), studio.focused()) == ("Describe what the video should show.", "prompt")
    markup = "<img src=x onerror=\"document.title='broken'\"> \u202e \U0001f3ac '; DROP TABLE jobs; --"
    studio.page.locator("#prompt").fill(markup)
    studio.advanced(seed="minus one", num_inference_steps="0", guidance_scale="1e9", fps="-3")
    studio.press("Generate Video")
    assert studio.focused() == "seed"
    for name in ("seed", "num_inference_steps", "guidance_scale", "fps"):
        assert "number" in studio.fault(name)
        assert studio.page.locator(f"#{name}").get_attribute("aria-invalid") == "true"
    studio.drop("#first-frame", "letter.png", "image/png", b"not a picture")
    studio.page.locator("#picture-fault").get_by_text("letter.png").wait_for()
    studio.drop("body", "stray.png", "image/png", png("red"))
    assert studio.value("Enter your prompt") == markup

    studio.advanced(seed="", num_inference_steps="2", guidance_scale="", fps="")
    studio.sends("Generate Video")
    studio.plays()
    assert markup in studio.stage.inner_text() and "broken" not in studio.page.title()
    studio.page.locator("#prompt").fill("x" * 32001)
    studio.press("Generate Video")
    assert "32000" in studio.fault("prompt")
    studio.open("#video_nonsense")
    studio.plays()


def test_the_reason_why_something_cannot_be(studio):
    studio.page.locator("#model").select_option("pocket (built in)")
    for name in ("360p", "1080p"):
        choice = studio.page.get_by_role("radio", name=re.compile(name))
        assert choice.is_disabled()
        assert f"{SIDE**2:,} pixels" in studio.page.locator(f"#{choice.get_attribute('aria-describedby')}").inner_text()
    assert float(studio.page.locator("#seconds").get_attribute("max")) <= 3.2


def test_high_quality_is_offered_where_it_can_be(studio, comfyui, http):
    """A model without a second pass shows no choice; one without its upscaler says what to fetch."""
    models = comfyui("pinned", *PREVIEWS).base / "models"
    name = tiny.folder(models / "diffusers" / "tiny-ltxv-2b-0.9.8-distilled", "0.9.5").name
    upscalers = models / "latent_upscale_models"
    upscalers.mkdir(exist_ok=True)
    quality, high = studio.page.locator("#quality"), studio.page.get_by_role("radio", name="High", exact=True)
    note = studio.page.locator("#quality-note")
    studio.page.reload()
    studio.ready()
    studio.page.locator("#model").select_option("pocket (built in)")
    assert quality.is_hidden()
    studio.page.locator("#model").select_option(f"diffusers/{name}")
    assert high.is_disabled() and "models get ltx-spatial-upscaler-0.9.8" in note.inner_text()
    tiny_upscaler.single_file(upscalers / "ltxv-spatial-upscaler-0.9.8.safetensors", "spatial")
    studio.page.reload()
    studio.ready()
    native = studio.page.locator("#resolution small").first
    small = native.inner_text()
    studio.choose("Quality", "High")
    assert [int(side) for side in native.inner_text().split(" × ")] == [2 * int(side) for side in small.split(" × ")]
    assert "half the size" in note.inner_text()
    studio.page.get_by_role("radio", name=re.compile("360p")).check()
    studio.page.locator("#seconds").fill("1")
    video = wire_client.wait(http, http.get(f"/videos/{studio.generate(steps=2)}").json())
    assert (video["status"], video["quality"], video["warnings"]) == ("completed", "high", [])
    assert all(int(side) % 64 == 0 for side in video["size"].split("x"))
    studio.page.locator("#model").select_option("pocket (built in)")
    assert quality.is_hidden() and quality.locator("input[value=standard]").is_checked()


def test_the_server_goes_away_and_comes_back(studio, made):
    made(seed=41)
    studio.page.context.set_offline(True)
    studio.page.get_by_text("ComfyUI does not answer; trying again").wait_for()
    studio.page.locator("#prompt").fill("a red circle moving left")
    studio.press("Generate Video")
    assert "does not answer" in studio.fault("generate")
    studio.page.context.set_offline(False)
    studio.page.locator("#connection").get_by_text("ComfyUI").wait_for(state="hidden")
    assert studio.cards.count() == 1
    studio.sends("Generate Video")


def test_an_expanded_prompt_is_shown_changed_and_used(studio, http):
    studio.page.locator("#prompt").fill("red circle, left")
    studio.advanced(num_inference_steps=2)
    studio.press("Expand prompt")
    studio.page.wait_for_function("() => document.querySelector('#expanded').value.length > 0")
    assert studio.page.locator("#use-expanded").is_checked()
    studio.page.locator("#expanded").fill("a big red circle moving left")
    made = http.get(f"/videos/{studio.sends('Generate Video')}").json()
    assert made["prompt"] == "a big red circle moving left"
    studio.page.locator("#prompt").fill("blue square")
    assert not studio.page.locator("#use-expanded").is_checked()
    made = http.get(f"/videos/{studio.sends('Generate Video')}").json()
    assert made["prompt"] == "blue square"


def test_nothing_but_its_own_files_runs_in_the_page(studio, url):
    policy = httpx.get(f"{url}/atelier").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    studio.page.evaluate(
        """() => { const script = document.createElement('script'); script.textContent = 'window.ran = true'
        document.body.append(script) }"""
    )
    assert studio.page.evaluate("() => window.ran") is None
    for path in ("..%2fapi%2fapp.py", "../api/app.py", "font", "font/LICENSE", "nothing.js"):
        assert httpx.get(f"{url}/atelier/{path}").status_code == 404
    assert str(httpx.get(f"{url}/atelier/", follow_redirects=True).url) == f"{url}/atelier"


def test_on_a_phone_in_the_dark_without_motion(browser, url, http, made):
    made(seed=51)
    with studio_page.opened(browser, url, **PHONE, color_scheme="dark", reduced_motion="reduce") as studio:
        width = "() => document.scrollingElement.scrollWidth"
        assert studio.page.evaluate(width) == 360
        background = "() => getComputedStyle(document.body).backgroundColor"
        assert studio.page.evaluate(background) == "rgb(25, 25, 25)"
        studio.choose("Colours of the page", "Light")
        assert studio.page.evaluate(background) == "rgb(230, 230, 228)"
        studio.page.reload()
        studio.ready()
        assert studio.page.evaluate(background) == "rgb(230, 230, 228)"
        studio.page.wait_for_function("() => document.querySelector('#stage video').readyState >= 2")
        assert studio.page.evaluate("() => document.querySelector('#stage video').paused")
        studio.page.evaluate("() => { for (const fold of document.querySelectorAll('details')) fold.open = true }")
        studio.press("Remix")
        assert studio.page.evaluate(width) == 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_accessibility_fault(browser, url, http, scheme):
    with studio_page.opened(browser, url, color_scheme=scheme, bypass_csp=True) as studio:
        studio.says("Your video appears here")
        assert serious(studio.page) == []
        studio.advanced(seed="minus one")
        studio.page.locator("#prompt").fill("a red circle moving left")
        studio.press("Generate Video")  # a fault to be seen
        assert serious(studio.page) == []
        studio.generate(steps=900, seed="")
        studio.page.wait_for_function("() => /\\d+ % · 0:/.test(document.querySelector('#stage').innerText)")
        assert serious(studio.page) == []
        studio.press("Cancel")
        studio.says("Cancelled")
        studio.generate(steps=2, seed="1")
        studio.plays()
        studio.press("Remix")
        assert serious(studio.page) == []


@pytest.mark.parametrize("version", ["pinned", pytest.param("newest", marks=pytest.mark.slow)])
def test_a_video_opens_in_the_node_graph(browser, comfyui, version):
    url = comfyui(version, *PREVIEWS).url
    editor.prepare(url)
    with wire_client.connect(url) as client:
        body = wire_client.FAST | {"prompt": "a blue square rising", "seed": 61}
        video = wire_client.wait(client, client.post("/videos", json=body).json())
    with studio_page.opened(browser, url, viewport={"width": 1400, "height": 900}) as studio:
        studio.open(f"#{video['id']}")
        studio.page.context.add_init_script(editor.NO_BANNERS)
        with studio.page.context.expect_page() as opened:
            studio.page.get_by_role("link", name="Open in node graph").click()
        view = editor.Editor(opened.value)
        view.wait_until_ready()
        view.page.wait_for_function(
            "() => app.graph._nodes.some(node => node.widgets?.some(widget => widget.value === 'a blue square rising'))"
        )
        samplers = [node for node in view.nodes() if node["type"] == "AtelierSampleVideo"]
        assert samplers and all(node["widgets"][0]["value"] == 61 for node in samplers)
        assert not [node["type"] for node in view.nodes() if not node["known"]]
        assert "atelier_video" not in view.page.url and view.errors == []
        view.page.evaluate("() => app.extensionManager.command.execute('Atelier.OpenStudio')")
        view.page.context.wait_for_event("page", lambda page: page.url.endswith("/atelier"), timeout=10_000)


@pytest.mark.slow
def test_a_key_and_a_restart(browser, tmp_path, monkeypatch):
    """The owner asks for a key; the server is stopped while the page is open, and started again."""
    monkeypatch.setenv("ATELIER_API_KEY", "swordfish")
    port = free_port()
    with running(tmp_path, "comfyui", port=port, options=PREVIEWS) as server:
        profile = browser.new_context()
        page = profile.new_page()
        page.goto(f"{server.url}/atelier")
        page.get_by_label("API key").fill("wrong")
        page.get_by_role("button", name="Continue").click()
        page.get_by_label("API key").fill("swordfish")
        page.get_by_role("button", name="Continue").click()
        studio = Studio(page, server.url)
        identity = studio.generate(steps=2)
        assert studio.plays() > 0.3
        assert page.evaluate("() => document.querySelector('#stage video').src").startswith("blob:")
        studio.page.reload()
        studio.ready()
        assert studio.plays() > 0.3 and studio.cards.count() == 1
        with page.context.expect_page() as opened:
            page.get_by_role("link", name="Open in node graph").click()
        view = editor.Editor(opened.value)
        view.page.wait_for_function(
            "() => window.app?.graph?._nodes?.some(node => node.type === 'AtelierSampleVideo')", timeout=120_000
        )
        view.page.close()
        running_job = studio.generate(steps=900)
        studio.page.wait_for_function("() => /\\d+ % · 0:/.test(document.querySelector('#stage').innerText)")
        server.process.kill()
        page.get_by_text("ComfyUI does not answer; trying again").wait_for()
    with running(tmp_path, "comfyui", port=port, options=PREVIEWS):
        studio.says("This did not work")
        assert page.evaluate("() => location.hash") == f"#{running_job}"
        page.locator("#sheet li:nth-child(2) .card").click()
        assert studio.plays() > 0 and page.evaluate("() => location.hash") == f"#{identity}"
        assert studio.errors == []
        profile.close()


IN_STEP = """async () => {
    const players = [...document.querySelectorAll('#compare video')]
    let most = 0
    for (let look = 0; look < 30; look++) {
        await new Promise((done) => requestAnimationFrame(done))
        most = Math.max(most, Math.abs(players[0].currentTime - players[1].currentTime))
    }
    return { most, count: players.length, at: players[0].currentTime }
}"""
"""How far the two videos of the sheet are apart at most, in seconds, over 30 frames of the screen."""


def test_variations_in_step_and_two_versions_under_a_wipe(studio, http):
    page = studio.page
    studio.choose("Variations", "2")
    first = studio.generate("a big yellow star falling", seed=21)
    studio.plays()
    beside = page.get_by_role("button", name="Side by side")
    expect(beside).to_be_enabled(timeout=60_000)  # when the second one is made, too
    beside.click()
    page.wait_for_function("() => document.querySelector('#compare video')?.currentTime > 0.2")
    seen = page.evaluate(IN_STEP)
    assert seen["count"] == 2 and seen["most"] < 0.15, seen
    page.get_by_role("button", name="Pause").click()
    page.get_by_label("Moment").fill("0.5")
    page.wait_for_function(
        "() => [...document.querySelectorAll('#compare video')].every((one) => one.currentTime === 0.5)"
    )
    assert serious(page) == []
    page.get_by_role("button", name="Pick Variation 2").click()
    assert not page.locator("#compare").is_visible()
    assert page.evaluate("() => location.hash.slice(1)") == http.get(f"/videos/{first}").json()["variations"][1]

    studio.press("Compare")
    assert studio.focused() == "compare-wipe" and page.locator("#compare-with").input_value() == first
    page.keyboard.press("ArrowRight")
    share = "() => document.querySelector('.wipe').style.getPropertyValue('--share')"
    assert page.evaluate(share) == "51%"
    box = page.locator(".wipe").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
    page.mouse.up()
    assert page.evaluate(share) in ("24%", "25%", "26%")
    assert page.evaluate(IN_STEP)["most"] < 0.15 and serious(page) == []
    page.keyboard.press("Escape")
    studio.plays()


HEARD = """async () => {
    const content = await (await fetch(document.querySelector('#stage video').src)).arrayBuffer()
    const sound = await new OfflineAudioContext(1, 1, 24000).decodeAudioData(content).catch(() => null)
    if (!sound) return null
    const samples = sound.getChannelData(0)
    const power = samples.reduce((sum, one) => sum + one * one, 0) / samples.length
    const strength = (hertz) => {
        let [real, imaginary] = [0, 0]
        samples.forEach((one, at) => {
            real += one * Math.cos((2 * Math.PI * hertz * at) / sound.sampleRate)
            imaginary += one * Math.sin((2 * Math.PI * hertz * at) / sound.sampleRate)
        })
        return Math.hypot(real, imaginary)
    }
    const tones = Array.from({ length: 28 }, (_, at) => 100 + 50 * at) // Hz
    const pitch = tones.reduce((best, one) => (strength(one) > strength(best) ? one : best))
    return { seconds: sound.duration, level: Math.sqrt(power), pitch }
}"""
"""The sound of the video on the stage as the browser decodes it: its length, its level (RMS, 1 = full scale), and which
multiple of 50 Hz is the strongest."""


@pytest.mark.slow
def test_a_model_with_sound_is_heard_and_can_be_silent(request, browser, comfyui, http):
    """LTX-2 with random weights: with sound, without, following a given one. Other models show no switch for it."""
    server = comfyui("pinned", *PREVIEWS)
    tiny_ltx2.folder(server.base / "models" / "diffusers" / "tiny-ltx2", "2.0")
    owner = server.base / "user" / "atelier" / "api.json"
    owner.parent.mkdir(parents=True, exist_ok=True)
    owner.write_text(json.dumps({"models": {"small": {"model": "diffusers/tiny-ltx2", "size": "64x64"}}}))
    request.addfinalizer(owner.unlink)
    with studio_page.opened(browser, server.url) as studio:
        page = studio.page
        switch = page.get_by_role("switch", name="Generate sound")
        assert not switch.is_visible()
        page.locator("#model").select_option("small")
        page.locator("#seconds").fill("2")
        studio.generate("footsteps", steps=1, seed=1)
        studio.plays()
        sound, picture = page.evaluate(HEARD), page.evaluate("() => document.querySelector('#stage video').duration")
        assert sound["level"] > 1e-4 and abs(sound["seconds"] - picture) < 0.1
        page.evaluate("() => { document.querySelector('#stage video').muted = false }")
        switch.uncheck()
        identity = studio.sends("Generate Video")
        studio.plays()
        assert page.evaluate(HEARD) is None and http.get(f"/videos/{identity}").json()["generate_sound"] is False
        assert not page.evaluate("() => document.querySelector('#stage video').muted")
        studio.drop("#given-sound", "notes.txt", "text/plain", b"not a sound")
        page.locator("#audio_reference-fault").get_by_text("notes.txt").wait_for()
        studio.drop("#given-sound", "tone.wav", "audio/wav", sounds.tone(0.4))
        page.locator("#given-sound audio").wait_for()
        assert serious(page) == []
        switch.check()
        studio.sends("Generate Video")
        studio.plays()
        assert page.evaluate(HEARD)["level"] > 1e-4
        page.locator("#model").select_option("pocket (built in)")
        assert not switch.is_visible()


@pytest.mark.slow
def test_the_pocket_with_sound_is_heard_in_its_colours(studio):
    studio.page.locator("#model").select_option("pocket sound (built in)")
    for color in ("green", "blue"):
        studio.generate(f"a large {color} circle moving left on a white background", steps=24, seed=1)
        studio.plays()
        sound = studio.page.evaluate(HEARD)
        assert sound["pitch"] == PITCHES[color] and sound["level"] > 0.02, sound


KEYS_SHOWN = r"""() => [...document.querySelectorAll('body *')].flatMap((seen) =>
    [...[...seen.childNodes].filter((child) => child.nodeType === 3).map((child) => child.data),
        ...['aria-label', 'placeholder', 'label'].map((name) => seen.getAttribute(name) ?? '')])
    .map((text) => text.trim()).filter((text) => /^[a-z_]+(\.[a-z_]+)+$|\{[a-z]+\}/.test(text))"""
"""The texts of the page that are a key, or have a place for a value."""


def test_the_page_in_four_languages(browser, url, http, made):
    """The browser's language first; changed in the page, every text follows, and what was written stays."""
    arabic = "قارب ورقي ينجرف في شارع ممطر"
    made(seed=61, prompt=arabic)
    with studio_page.opened(browser, url, **PHONE, locale="fr-CA") as studio:
        page = studio.page
        assert page.evaluate("() => document.documentElement.lang") == "fr"
        page.get_by_label("Votre prompt").fill(arabic)
        for code, generate, remix in (
            ("ja", "動画を生成", "リミックス"),
            ("zh", "生成视频", "重混"),
            ("en", "Generate Video", "Remix"),
            ("fr", "Générer la vidéo", "Remixer"),
        ):
            page.locator("#language").select_option(code)
            page.locator("#generate").get_by_text(generate, exact=True).wait_for()
            studio.stage.get_by_role("button", name=remix, exact=True).wait_for()
            assert page.evaluate(KEYS_SHOWN) == []
            assert page.evaluate("() => document.scrollingElement.scrollWidth") == 360, code
        assert page.locator("#prompt").input_value() == arabic
        for shown in ("#prompt", ".made > p", "#sheet .name"):
            assert page.locator(shown).first.evaluate("(seen) => getComputedStyle(seen).direction") == "rtl", shown
        page.reload()
        studio.ready()
        assert page.locator("#language").input_value() == "fr"
        page.locator("#advanced").evaluate("(details) => { details.open = true }")
        page.locator("#seed").fill("moins un")
        page.locator("#generate").click()
        assert studio.fault("seed") == "Une graine est un nombre entier, 0 ou plus."
        page.locator("#storyboard-open").click()
        expect(page.locator("#bench .lane")).to_have_attribute("aria-label", re.compile("Ligne de temps : "))
