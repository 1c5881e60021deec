"""A subgraph blueprint in ComfyUI's front ends: served, found by search, put on the canvas, connected and run."""

from __future__ import annotations

import os
from pathlib import Path

import blueprints
import front_ends
import pytest
from shipped_pocket import SIDE

SERVED = "async () => Object.values(await (await app.api.fetchApi('/global_subgraphs')).json())"
TOOL = "app.graph._nodes.find(node => node.isSubgraphNode?.())"
CONNECT = f"""() => {{
    const tool = {TOOL}, of = type => app.graph._nodes.find(node => node.type === `Atelier${{type}}`)
    const join = (from, output, input) => from.connect(from.findOutputSlot(output), tool, tool.findInputSlot(input))
    join(of('LoadVideoModel'), 'MODEL', 'model')
    join(of('LoadVideoModel'), 'VAE', 'vae')
    join(of('EncodeVideoPrompt'), 'positive', 'positive')
    join(of('EncodeVideoPrompt'), 'negative', 'negative')
    join(of('SampleVideo'), 'LATENT', 'latent')
    tool.connect(0, of('DecodeVideo'), of('DecodeVideo').findInputSlot('latent'))
    return {{title: tool.title, widgets: tool.widgets.map(({{name, value}}) => [name, value]),
            inside: tool.subgraph.nodes.map(({{type}}) => type)}}
}}"""


@pytest.mark.slow
@pytest.mark.parametrize("view", front_ends.BOTH, indirect=True)
def test_a_blueprint_is_found_and_runs(view, request, tmp_path):
    keep = Path(os.environ.get("ATELIER_KEEP") or tmp_path)
    served = [each["name"] for each in view.page.evaluate(SERVED) if each["info"]["node_pack"].endswith("atelier")]
    assert sorted(served) == sorted(each.name for each in blueprints.BLUEPRINTS)
    view.open_template("text_to_video")
    view.page.wait_for_timeout(1000)
    view.page.mouse.dblclick(1480, 760)  # an empty place of the canvas
    view.page.keyboard.type("Loop a Clip", delay=30)
    view.page.wait_for_timeout(1500)
    view.screenshot(keep / f"blueprint-{request.node.callspec.params['view']}-search.png")
    view.page.keyboard.press("Enter")
    view.page.wait_for_function(f"() => {TOOL}", timeout=30_000)
    tool = view.page.evaluate(CONNECT)
    assert tool["inside"] == ["AtelierLoopShot", "AtelierSampleVideo", "AtelierJoinShot"]
    widgets = dict(tool["widgets"])
    assert widgets["seam"] == "normal" and widgets["overlap"] == 1.0 and widgets["steps"] == 0
    ended = view.run()
    assert ended["kind"] == "execution_success", ended
    (video,) = view.play()
    assert (video["width"], video["height"]) == (SIDE, SIDE)
    view.screenshot(keep / f"blueprint-{request.node.callspec.params['view']}.png")
    assert view.errors == []
