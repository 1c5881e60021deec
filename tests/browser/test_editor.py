"""Every saved graph in ComfyUI's own front end, as an artist meets it: opened, queued, and the video seen."""

import itertools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import editor
import front_ends
import published_graphs
import pytest
from shipped_pocket import SIDE

ROOT = Path(__file__).resolve().parents[2]
GRAPHS = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
NODES = sorted(path.stem for path in (ROOT / "web" / "docs").glob("*.md"))

NOTICES = {
    "AtelierLoadVideoModel": rf"Atelier pocket recommends {SIDE} x {SIDE}",
    "AtelierEmptyVideoLatent": rf"{SIDE} x {SIDE}, \d+ frames at \d+ fps",
    "AtelierEncodeVideo": rf"{SIDE} x {SIDE}, \d+ frames at 8 fps",
    "AtelierPlaceFrames": r"frame 1 of \d+ is given",
    "AtelierPlaceKeyframes": r"images begin at frames 1, 6, 14",
    "AtelierExtendShot": r"to make: frames 18 to 25\s25 in all = 3.12 s",
    "AtelierLoopShot": r"to make: frames 3 to 10\s16 in all = 2.00 s",
    "AtelierBlendShots": r"to make: frames 6 to 17\s21 in all = 2.62 s",
    "AtelierRecutShot": r"to make: frames 6 to 9\s17 in all = 2.12 s",
    "AtelierRemixShot": r"90% noise: denoise 0.\d+",
    "AtelierInpaintShot": r"\d+% of the clip will be regenerated",
    "AtelierPickVariation": r"variation 1 of 4",
    "AtelierExpandPrompt": r"a \w+ red circle [\w\s]+background\s+Expanded by rules",
    "AtelierStoryboard": r"2 cards in 3.12 s, 0 of them after a cut",
}


IN_NODES_2 = ("expand_prompt", "storyboard", "text_to_video", "variations")
"""Graphs that the normal run opens in Nodes 2.0, too: those with parts of ours in it, and the plainest one."""
VIEWS = {"pinned": GRAPHS, "newest": (), "newest, Nodes 2.0": IN_NODES_2}
"""Which graphs the normal run opens in a front end."""
OPENED = [
    pytest.param(view, name, marks=() if name in VIEWS[view] else pytest.mark.slow)
    for view, name in itertools.product(VIEWS, GRAPHS)
    if name not in published_graphs.GRAPHS
]


@pytest.fixture(scope="module")
def open_page(browser, comfyui) -> Iterator[Callable[[str], editor.Editor]]:
    """``open_page("newest")``: the page with that front end. It stays open until another front end is asked for, as an
    artist opens one graph after the other in it: loading the page costs more than most graphs."""
    opened: dict[str, editor.Editor] = {}
    with ExitStack() as pages:

        def get(name: str) -> editor.Editor:
            if name not in opened:
                pages.close()
                opened.clear()
                version, _, nodes_2 = name.partition(", ")
                settings = {"Comfy.VueNodes.Enabled": bool(nodes_2)}
                opened[name] = pages.enter_context(editor.opened(browser, comfyui(version).url, settings))
            return opened[name]

        yield get


@pytest.fixture
def view(request: pytest.FixtureRequest, open_page) -> editor.Editor:
    page = open_page(request.param)
    page.errors.clear()
    return page


@pytest.fixture
def keep(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where this test's screenshot goes: ATELIER_KEEP names a folder that outlives the test."""
    folder = os.environ.get("ATELIER_KEEP")
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    return (Path(folder) if folder else tmp_path) / f"{name}.png"


@pytest.mark.parametrize("view,name", OPENED, indirect=["view"])
def test_a_saved_graph_opens_runs_and_shows_its_video(view, workflow, name, keep):
    saved = workflow(name)
    view.open_template(name)
    opened_as_saved(view, saved)

    ended = view.run()
    assert ended["kind"] == "execution_success", ended
    assert not [node["type"] for node in view.nodes() if node["error"]]
    said_on_the_nodes(view, saved)

    videos = view.play()
    view.screenshot(keep)
    shown_in_the_save_node(view, saved, videos)
    nothing_overlaps(view, saved)
    assert view.errors == []


@pytest.mark.parametrize("view", ["pinned"], indirect=True)
@pytest.mark.parametrize("name", published_graphs.GRAPHS)
def test_a_graph_for_published_files_opens(view, workflow, name):
    """Without its files, which tests/nodes/test_graphs.py has, tiny, to run it: every node stands and is connected."""
    saved = workflow(name)
    view.open_template(name)
    nodes = {node["id"]: node for node in view.nodes()}
    assert set(nodes) == {str(node["id"]) for node in saved["nodes"]}
    assert all(node["known"] for node in nodes.values())
    assert view.links() == links_of(saved)
    nothing_overlaps(view, saved)
    view.page.keyboard.press("Escape")  # ComfyUI's dialog about the missing files


@pytest.mark.parametrize("view", front_ends.BOTH, indirect=True)
def test_help_pages_are_served(view):
    fetch = "async path => { const answer = await fetch(path); return [answer.status, await answer.text()] }"
    assert NODES
    for node in NODES:
        status, text = view.page.evaluate(fetch, f"/extensions/atelier/docs/{node}.md")
        assert status == 200
        assert text == (ROOT / "web" / "docs" / f"{node}.md").read_text(encoding="utf-8")
    for picture in (ROOT / "web" / "docs").glob("*.webp"):
        assert view.page.evaluate(fetch, f"/extensions/atelier/docs/{picture.name}")[0] == 200


SEE_PICTURES = """async names => Promise.all(names.map(name => new Promise(done => {
    const picture = new Image()
    picture.onload = () => done([picture.naturalWidth, picture.naturalHeight])
    picture.onerror = () => done(name)
    picture.src = app.api.apiURL(`/workflow_templates/atelier/${name}.jpg`)
})))"""


@pytest.mark.parametrize("view", ["pinned"], indirect=True)
def test_templates_have_pictures_where_the_template_browser_looks(view):
    sizes = view.page.evaluate(SEE_PICTURES, GRAPHS)
    assert all(size[0] == size[1] > 300 for size in sizes), sizes


def opened_as_saved(view, saved: dict) -> None:
    """No node is missing or wrong; values and links on the canvas are those of the file."""
    nodes = {node["id"]: node for node in view.nodes()}
    assert set(nodes) == {str(node["id"]) for node in saved["nodes"]}
    assert not [node["type"] for node in nodes.values() if node["error"] or not node["known"]]
    for node in saved["nodes"]:
        widgets = nodes[str(node["id"])]["widgets"]
        assert [widget["value"] for widget in widgets] == node["widgets_values"], node["type"]
        assert not [w["name"] for w in widgets if w["choices"] and w["value"] not in w["choices"]], node["type"]
    texts = view.page.locator("textarea").evaluate_all("areas => areas.map(area => area.value)")
    prompts = [node["widgets_values"][0] for node in saved["nodes"] if re.search("Prompt|Storyboard", node["type"])]
    assert prompts and not [prompt for prompt in prompts if prompt not in texts]
    assert view.links() == links_of(saved)


def links_of(saved: dict) -> set[tuple[str, str, str, str]]:
    by_id = {node["id"]: node for node in saved["nodes"]}
    return {
        (str(start), by_id[start]["outputs"][output]["name"], str(end), by_id[end]["inputs"][place]["name"])
        for _, start, output, end, place, _ in saved["links"]
    }


def said_on_the_nodes(view, saved: dict) -> None:
    """What a node decided was to be read on it while the graph ran, and still is."""
    view.keeps_notices()
    types = {str(node["id"]): node["type"] for node in saved["nodes"]}
    said = {types[node]: text for node, text in view.notices().items()}
    assert set(said) == set(NOTICES) & set(types.values())
    for node, text in said.items():
        assert re.match(NOTICES[node], text), text


def shown_in_the_save_node(view, saved: dict, videos: list[dict]) -> None:
    """There is one video; it is the file this graph saves, it has played, and it stands inside the Save Video node."""
    save = next(node for node in saved["nodes"] if node["type"] == "SaveVideo")
    folder, prefix = save["widgets_values"][0].split("/")
    (video,) = videos
    assert f"filename={prefix}_" in video["source"] and f"subfolder={folder}" in video["source"]
    assert video["error"] is None and video["time"] > 0
    assert (video["width"], video["height"]) == (SIDE, SIDE)
    assert video["area"][2] > 100 and video["area"][3] > 100
    assert inside(video["area"], view.areas()[str(save["id"])])


def nothing_overlaps(view, saved: dict) -> None:
    """After the run, with notices and previews on the nodes, every node still stands clear of every other."""
    titles = {str(node["id"]): node.get("title", node["type"]) for node in saved["nodes"]}
    areas = view.areas()
    overlaps = [(titles[a], titles[b]) for a, b in itertools.combinations(areas, 2) if overlap(areas[a], areas[b])]
    assert overlaps == []


def inside(inner: list[float], outer: list[float], slack: float = 2.0) -> bool:
    return all(
        outer[i] - slack <= inner[i] and inner[i] + inner[i + 2] <= outer[i] + outer[i + 2] + slack for i in (0, 1)
    )


def overlap(one: list[float], other: list[float]) -> bool:
    return all(one[i] < other[i] + other[i + 2] and other[i] < one[i] + one[i + 2] for i in (0, 1))


DROP = """async ([url, name]) => {
    const answer = await fetch(url)
    const file = new File([await answer.blob()], name, {type: answer.headers.get('Content-Type')})
    const carried = new DataTransfer()
    carried.items.add(file)
    const canvas = app.canvas.canvas, {x, y, width, height} = canvas.getBoundingClientRect()
    const place = {clientX: x + width / 2, clientY: y + height - 40, bubbles: true, cancelable: true}
    for (const kind of ['dragenter', 'dragover', 'drop'])
        canvas.dispatchEvent(new DragEvent(kind, {...place, dataTransfer: carried}))
}"""


@pytest.mark.parametrize("view", front_ends.BOTH, indirect=True)
def test_dropping_the_saved_mp4_on_the_canvas_brings_the_graph_back(view, workflow):
    saved = workflow("text_to_video")
    view.open_template("text_to_video")
    assert view.run()["kind"] == "execution_success"
    (video,) = view.play()
    view.page.evaluate("() => app.graph.clear()")
    assert view.nodes() == []

    view.page.evaluate(DROP, [video["source"], "atelier.mp4"])
    view.page.wait_for_function("() => app.graph._nodes.length > 0", timeout=30_000)
    opened_as_saved(view, saved)
    assert view.errors == []
