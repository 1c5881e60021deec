"""A finished clip is seen where it was made or saved: in Decode Video that leads nowhere, and in Save Video As."""

from __future__ import annotations

import os
from pathlib import Path

import front_ends
import pytest
from shipped_pocket import SIDE

# Beside the graph's own: a Decode Video whose outputs lead nowhere, and the clip saved as it is, as GIF and as WebP.
WIRE = """() => {
    const graph = app.graph, find = type => graph._nodes.find(node => node.type === type)
    const decode = find('AtelierDecodeVideo'), save = find('SaveVideo')
    const place = (node, row) => { graph.add(node); node.pos = [save.pos[0] + 420 * row, save.pos[1]]; return node }
    const alone = place(LiteGraph.createNode('AtelierDecodeVideo'), 0)
    for (const name of ['vae', 'latent']) {
        const link = graph.links[decode.inputs.find(input => input.name === name).link]
        graph.getNodeById(link.origin_id).connect(link.origin_slot, alone,
            alone.inputs.findIndex(input => input.name === name))
    }
    const saved = ['as it is', 'gif', 'webp (animated)'].map((format, row) => {
        const node = place(LiteGraph.createNode('AtelierSaveVideoAs'), row + 1)
        decode.connect(0, node, 0)
        node.widgets.find(widget => widget.name === 'format').value = format
        return String(node.id)
    })
    graph.remove(save)
    return [String(alone.id), ...saved]
}"""
PICTURES = """() => Object.fromEntries(app.graph._nodes.map(node => [String(node.id),
    (node.imgs ?? []).filter(picture => picture.complete && picture.naturalWidth).map(picture => picture.src)]))"""

# Videos in two nodes, and pictures in the others; a front end may show an animated WebP as either.
ALL_SHOWN = f"""([gif, webp]) => {{
    const pictures = ({PICTURES})(), videos = [...document.querySelectorAll('video')]
    const moving = videos.some(video => video.currentSrc.includes('.webp'))
    return videos.length >= 2 + moving && pictures[gif].length && (moving || pictures[webp].length)
}}"""


@pytest.mark.parametrize("view", front_ends.BOTH, indirect=True)
def test_the_clip_is_shown_in_the_nodes_that_make_and_save_it(view, tmp_path):
    view.open_template("text_to_video")
    alone, as_it_is, gif, webp = view.page.evaluate(WIRE)
    assert view.run()["kind"] == "execution_success"
    view.fit()
    view.page.wait_for_function(ALL_SHOWN, arg=[gif, webp], timeout=60_000)
    videos, areas = view.play(), view.areas()
    shown = {
        node: [video["source"] for video in videos if _inside(video["area"], areas[node])] for node in (alone, as_it_is)
    }
    assert [len(sources) for sources in shown.values()] == [1, 1], (videos, areas)
    assert "type=temp" in shown[alone][0] and "type=output" in shown[as_it_is][0]
    assert all(video["error"] is None and video["width"] == SIDE for video in videos)
    pictures = view.page.evaluate(PICTURES)
    assert ".gif" in pictures[gif][0]
    assert ".webp" in (pictures[webp] or [""])[0] or ".webp" in str(videos)
    view.screenshot(Path(os.environ.get("ATELIER_KEEP", tmp_path)) / "finished_clips.png")
    assert view.errors == []


def _inside(inner: list[float], outer: list[float], slack: float = 4.0) -> bool:
    return all(
        outer[i] - slack <= inner[i] and inner[i] + inner[i + 2] <= outer[i] + outer[i + 2] + slack for i in (0, 1)
    )
