"""Previews as an artist sees them: the clip plays on the node while it is sampled, in every front end."""

import front_ends
import pytest

# What stands on the sampler's node, thirty times a second: pictures drawn on the canvas, or those of Nodes 2.0.
WATCH = """() => {
    const seen = window.seen = {between: 0, steps: 0, pictures: new Set()}
    let stepped = true
    app.api.addEventListener('b_preview_with_metadata', () => {
        if (!stepped) seen.between++
        stepped = false
    })
    app.api.addEventListener('progress', () => { seen.steps++; stepped = true })
    const node = app.graph._nodes.find(node => node.type === 'AtelierSampleVideo')
    setInterval(() => {
        const shown = [...node.imgs ?? [], ...document.querySelectorAll(`[data-node-id="${node.id}"] img`)]
        for (const picture of shown) if (picture.src.startsWith('blob:')) seen.pictures.add(picture.src)
    }, 30)
}"""
SET_STEPS = """steps => {
    const node = app.graph._nodes.find(node => node.type === 'AtelierSampleVideo')
    node.widgets.find(widget => widget.name === 'steps').value = steps
}"""
STEPS = 100
LONG_AND_LAST = """() => {
    app.graph.remove(app.graph._nodes.find(node => node.type === 'SaveVideo'))
    const values = {steps: 2, seconds: 0, frames: 129, width: 96, height: 96}
    for (const widget of app.graph._nodes.flatMap(node => node.widgets ?? []))
        if (widget.name in values) widget.value = values[widget.name]
}"""


@pytest.mark.parametrize("view", [*front_ends.BOTH, "newest, Nodes 2.0"], indirect=True)
@pytest.mark.comfyui("--preview-method", "auto")
def test_the_clip_plays_on_the_node(view):
    view.open_template("text_to_video")
    view.page.evaluate(SET_STEPS, STEPS)
    view.page.evaluate(WATCH)
    assert view.run()["kind"] == "execution_success"
    seen = view.page.evaluate("() => ({...seen, pictures: seen.pictures.size})")
    assert seen["steps"] >= STEPS and seen["between"] > 0  # ComfyUI alone sends a picture with each step, none between
    assert seen["pictures"] > 5
    assert view.errors == []


@pytest.mark.parametrize("view", ["pinned"], indirect=True)
@pytest.mark.comfyui("--preview-method", "auto")
def test_a_finished_clip_plays_on_decode_video_with_previews_on(view):
    """Without a node behind it, Decode Video shows its video. A preview on it would stay in the video's place."""
    view.open_template("text_to_video")
    view.page.evaluate(LONG_AND_LAST)
    assert view.run()["kind"] == "execution_success"
    (video,) = view.play()
    assert video["width"] == 96 and video["error"] is None
    assert view.errors == []
