"""Expand Prompt in ComfyUI's front end: its expansion is shown, taken over with a click, changed, and used so."""

import front_ends
import pytest

VALUE = """(value) => {
    const node = app.graph._nodes.find(node => node.type === 'AtelierExpandPrompt')
    const written = node.widgets.find(widget => widget.name === 'expanded')
    if (value !== null) written.value = value
    return written.value
}"""
CLICK = """() => app.graph._nodes.find(node => node.type === 'AtelierExpandPrompt')
    .widgets.find(widget => widget.type === 'button').callback()"""
FEW_STEPS = """() => {
    const widgets = app.graph._nodes.find(node => node.type === 'AtelierSampleVideo').widgets
    widgets.find(widget => widget.name === 'steps').value = 2
}"""


@pytest.mark.parametrize("view", front_ends.BOTH, indirect=True)
def test_an_expansion_is_taken_over_changed_and_used(view):
    def run() -> str:
        assert view.run()["kind"] == "execution_success"
        return view.notices()["8"]

    view.open_template("expand_prompt")
    view.page.evaluate(FEW_STEPS)
    view.page.evaluate(CLICK)
    assert view.page.evaluate(VALUE, None) == ""  # there is nothing to take over yet
    shown, remark = (" ".join(text.split()) for text in run().split("\n\n"))
    assert shown.endswith(" background") and remark == "Expanded by rules (built in)."
    view.page.evaluate(CLICK)
    assert view.page.evaluate(VALUE, None) == shown
    view.page.evaluate(VALUE, "a blue square moving up")
    assert run() == "a blue square moving up\n\nThe text in 'expanded' is used."
    assert view.errors == []
