"""Drives ComfyUI's front end in headless Chromium: opens it, loads a saved graph, queues it, and reads the screen.

The browser tests and screenshot.py use it. Chromium renders in software, so all waits are for conditions, not times.
"""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client import Client
from console import Problem

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Response

Json = dict[str, Any]

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
SETTINGS = {
    "Comfy.TutorialCompleted": True,  # keeps the template browser from covering a new user's canvas
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
}
NO_BANNERS = (
    "for (const name of ['vueNodesBannerDismissed', 'comfy.vueNodesMigration.dismissed']) localStorage[name] = 'true'"
)
LOAD_TIMEOUT, RUN_TIMEOUT, DRAW_TIMEOUT = 120.0, 240.0, 60.0

READY = """() => window.app?.vueAppReady && window.app.graph
    && window.app.extensionManager && !window.app.extensionManager.spinner"""

OPEN_TEMPLATE = """async ([pack, name]) => {
    const listed = (await (await app.api.fetchApi('/workflow_templates')).json())[pack] ?? []
    if (!listed.includes(name)) throw new Error(`templates of ${pack}: ${listed}`)
    const graph = await (await app.api.fetchApi(`/workflow_templates/${pack}/${name}.json`)).json()
    await app.loadGraphData(graph, true, true, name)
}"""

NODES = """() => app.graph._nodes.map(node => ({
    id: String(node.id), type: node.type, known: node.type in LiteGraph.registered_node_types,
    error: Boolean(node.has_errors),
    widgets: (node.widgets ?? []).filter(widget => widget.serialize !== false).map(widget => {
        const choices = typeof widget.options?.values === 'function' ? widget.options.values() : widget.options?.values
        return {name: widget.name, value: widget.value, choices: Array.isArray(choices) ? choices : null}
    }),
}))"""

LINKS = """() => app.graph._nodes.flatMap(node => (node.inputs ?? []).map(input => [node, input]))
    .filter(([node, input]) => input.link != null)
    .map(([node, input]) => {
        const link = app.graph.getLink ? app.graph.getLink(input.link) : app.graph.links[input.link]
        const origin = app.graph.getNodeById(link.origin_id)
        return [String(origin.id), origin.outputs[link.origin_slot].name, String(node.id), input.name]
    })"""

# Reads each node's notice from the screen, during the job and after it.
RECORD = """() => {
    const onScreen = (id, text) => {
        const node = app.graph.getNodeById(id) ?? app.graph.getNodeById(Number(id))
        const onNode = node?.widgets?.some(widget => widget.value === text)
        return onNode && document.body.innerText.replace(/\\s+/g, ' ').includes(text.replace(/\\s+/g, ' '))
    }
    const record = window.atelierRecord = {ended: null, said: {}, shown: {}, onScreen}
    for (const kind of ['execution_success', 'execution_error', 'execution_interrupted'])
        app.api.addEventListener(kind, event => { record.ended = {kind, ...event.detail} })
    app.api.addEventListener('progress_text', ({detail}) => { record.said[detail.nodeId] = detail.text })
    const reading = setInterval(() => {
        if (record !== window.atelierRecord) return clearInterval(reading)  // the next run has begun
        for (const [id, text] of Object.entries(record.said))
            if (!(id in record.shown) && onScreen(id, text)) record.shown[id] = text
    }, 100)
}"""

NOTICES_STAY = "() => Object.entries(atelierRecord.said).every(([id, text]) => atelierRecord.onScreen(id, text))"

AREAS = """() => {
    const {scale, offset} = app.canvas.ds, canvas = app.canvas.canvas.getBoundingClientRect()
    const title = LiteGraph.NODE_TITLE_HEIGHT
    const drawn = ({pos: [x, y], size: [width, height]}) => [
        (x + offset[0]) * scale + canvas.x, (y - title + offset[1]) * scale + canvas.y,
        width * scale, (height + title) * scale]
    const element = ({x, y, width, height}) => [x, y, width, height]
    return Object.fromEntries(app.graph._nodes.map(node => {
        const own = document.querySelector(`[data-node-id="${node.id}"]`)  // Nodes 2.0
        return [String(node.id), own ? element(own.getBoundingClientRect()) : drawn(node)]
    }))
}"""

VIDEOS = """() => [...document.querySelectorAll('video')].map(video => {
    const {x, y, width, height} = video.getBoundingClientRect()
    return {source: video.currentSrc, time: video.currentTime, error: video.error?.message ?? null,
            width: video.videoWidth, height: video.videoHeight, area: [x, y, width, height]}
})"""

PLAYABLE = "() => [...document.querySelectorAll('video')].some(video => video.readyState >= 2 && video.videoWidth)"
PLAY = "() => { for (const video of document.querySelectorAll('video')) { video.muted = true; video.play() } }"
PLAYED = "() => [...document.querySelectorAll('video')].every(video => video.currentTime > 0.25)"
SEEK = """async seconds => { for (const video of document.querySelectorAll('video')) {
    video.pause(); video.controls = false
    await new Promise(done => { video.onseeked = done; video.currentTime = seconds })
} }"""

FIT = """([left, top, right, bottom]) => {
    const edges = ({pos: [x, y], size: [width, height]}, title) => [x, y - title, x + width, y + height]
    const boxes = [...app.graph._nodes.map(node => edges(node, LiteGraph.NODE_TITLE_HEIGHT)),
                   ...app.graph._groups.map(group => edges(group, 0))]
    const low = [0, 1].map(i => Math.min(...boxes.map(box => box[i])))
    const high = [2, 3].map(i => Math.max(...boxes.map(box => box[i])))
    const ds = app.canvas.ds
    ds.scale = Math.min((right - left) / (high[0] - low[0]), (bottom - top) / (high[1] - low[1]), 1)
    ds.offset[0] = (left + right) / 2 / ds.scale - (low[0] + high[0]) / 2
    ds.offset[1] = (top + bottom) / 2 / ds.scale - (low[1] + high[1]) / 2
    app.canvas.setDirty(true, true)
}"""


def unavailable() -> str | None:
    """Why no browser can be driven here; None if one can."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed (python run.py test installs it)"
    if _chromium() is None:
        return f"no Chromium on this machine (looked for {', '.join(CHROMIUM)}; on Debian: apt install chromium)"
    return None


def _is_queueing(response: "Response") -> bool:
    return response.request.method == "POST" and response.url.endswith("/prompt")


def _chromium() -> str | None:
    return next((path for name in CHROMIUM if (path := shutil.which(name))), None)


@dataclass
class Editor:
    """One browser page with ComfyUI's editor in it. ``errors`` are the exceptions that reached the page."""

    page: "Page"
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def wait_until_ready(self) -> None:
        self._wait(READY, LOAD_TIMEOUT)

    def open_template(self, name: str, pack: str = "atelier") -> None:
        """Load a saved graph as the template browser does: from the server's list and file."""
        self.page.evaluate(OPEN_TEMPLATE, [pack, name])

    def nodes(self) -> list[Json]:
        """Each node: id, type, known, error, widgets (name, value, choices)."""
        return self.page.evaluate(NODES)

    def links(self) -> set[tuple[str, str, str, str]]:
        """(from node, its output, to node, its input)."""
        return {tuple(link) for link in self.page.evaluate(LINKS)}

    def areas(self) -> dict[str, list[float]]:
        """Node id -> x, y, width, height on the screen, title included."""
        return self.page.evaluate(AREAS)

    def run(self) -> Json:
        """Queue the graph with the editor's own function and wait for its end: ``kind`` and the server's data."""
        self.page.evaluate(RECORD)
        with self.page.expect_response(_is_queueing) as answer:
            self.page.evaluate("async () => { await app.queuePrompt(0) }")
        if not answer.value.ok:
            return {"kind": "rejected", "exception_message": answer.value.text()}
        self._wait("() => atelierRecord.ended", RUN_TIMEOUT)
        return self.page.evaluate("() => atelierRecord.ended")

    def keeps_notices(self) -> None:
        """Wait until every node shows its notice, and check that they stay."""
        self._wait(NOTICES_STAY, DRAW_TIMEOUT)
        self.page.wait_for_timeout(500)
        self._wait(NOTICES_STAY, 1.0)

    def notices(self) -> dict[str, str]:
        """Node id -> the notice that the node showed during the run."""
        return self.page.evaluate("() => atelierRecord.shown")

    def play(self) -> list[Json]:
        """Play every video on the page until each has advanced. Returns their state."""
        self._wait(PLAYABLE, DRAW_TIMEOUT)
        self.page.evaluate(PLAY)
        self._wait(PLAYED, DRAW_TIMEOUT)
        return self.page.evaluate(VIDEOS)

    def hold(self, seconds: float) -> None:
        """Pause every video at a time, with its controls hidden."""
        self.page.evaluate(SEEK, seconds)

    def fit(self, left: int = 80, top: int = 140, margin: int = 20) -> None:
        """Zoom so that the whole graph fits in the free part of the window, beside and below the bars."""
        size = self.page.viewport_size
        self.page.evaluate(FIT, [left, top, size["width"] - margin, size["height"] - margin])

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.page.screenshot(path=path)

    def _wait(self, condition: str, seconds: float) -> None:
        self.page.wait_for_function(condition, timeout=seconds * 1000)


@contextmanager
def chromium() -> Iterator["Browser"]:
    """A headless Chromium with its own profile."""
    if reason := unavailable():
        raise Problem(f"The browser cannot be driven: {reason}.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: "Browser", url: str, settings: Json | None = None, width: int = 1600, height: int = 900, query: str = ""
) -> Iterator[Editor]:
    """The editor of the ComfyUI at ``url``, in a fresh profile of ``browser``, ready for use.

    query: what the address has behind the path, such as "?template=loop&source=atelier".
    """
    prepare(url, settings)
    context = browser.new_context(viewport={"width": width, "height": height})
    try:
        page = context.new_page()
        page.add_init_script(NO_BANNERS)
        editor = Editor(page)
        page.goto(f"{url}/{query}", timeout=LOAD_TIMEOUT * 1000)
        editor.wait_until_ready()
        yield editor
    finally:
        context.close()


def prepare(url: str, settings: Json | None = None) -> None:
    """Write the front end's settings, so that no first-visit dialog covers the canvas."""
    with Client(url) as client:
        client.post("/settings", SETTINGS | (settings or {}))
