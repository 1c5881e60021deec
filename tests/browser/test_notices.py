"""What nodes say in ComfyUI's page: words of files, graphs and models stay words, and no script of theirs runs."""

import json
import shutil
from pathlib import Path

import adapters
import front_ends
import pytest
from safetensors.torch import load_file

POCKET = Path(__file__).parents[2] / "models" / "pocket"
SCRIPT = "<img src=x onerror=ran=1>"
MARKUP = f"{SCRIPT} &lt;b&gt; [[a|javascript:ran=2]] __LNK7__"
"""An element with a script, entities, and the front ends' own way to write a link and its placeholder."""

# The template's model becomes the artist's own with a LoRA on it, its video is saved by Save Video As, and a prompt is
# expanded beside it: four nodes that show words of a file or a graph.
WIRE = """([model, lora, prefix, prompt]) => {
    const graph = app.graph, find = type => graph._nodes.find(node => node.type === type)
    const set = (node, values) => node.widgets.forEach(widget => { widget.value = values[widget.name] ?? widget.value })
    const add = (type, values) => {
        const node = LiteGraph.createNode(type)
        graph.add(node)
        set(node, values)
        return node
    }
    const load = find('AtelierLoadVideoModel'), sample = find('AtelierSampleVideo'), core = find('SaveVideo')
    const place = (node, name) => node.inputs.findIndex(input => input.name === name)
    set(load, {model})
    set(sample, {steps: 2})
    const style = add('AtelierLoadVideoLoRA', {lora}), save = add('AtelierSaveVideoAs', {filename_prefix: prefix})
    load.connect(0, style, place(style, 'model'))
    style.connect(0, sample, place(sample, 'model'))
    find('AtelierDecodeVideo').connect(0, save, place(save, 'video'))
    const expand = add('AtelierExpandPrompt', {prompt})
    graph.remove(core)
    return [load, style, save, expand].map(node => String(node.id))
}"""
ELEMENTS = '() => [...document.querySelectorAll(\'img[src="x"], a[href^="javascript"]\')].length'


@pytest.fixture
def files(comfyui, request) -> dict[str, str]:
    """A model folder whose recipe.json, and a LoRA whose key names, are HTML: their names in the nodes' lists."""
    models = comfyui(request.node.callspec.params["view"]).base / "models"
    shutil.copytree(POCKET, models / "diffusers" / "hostile", dirs_exist_ok=True)
    recipe = models / "diffusers" / "hostile" / "recipe.json"
    recipe.write_text(json.dumps(json.loads(recipe.read_text()) | {"name": MARKUP, "negative_prompt": MARKUP}))
    state = load_file(next(POCKET.glob("transformer/*.safetensors")))
    modules = [name for name in adapters.matrices(state) if ".attn1.to_" in name]
    lora = adapters.adapter(state, modules)
    lora[MARKUP] = next(iter(lora.values())).clone()
    adapters.file(models / "loras" / "hostile.safetensors", lora)
    return {"model": "diffusers/hostile", "lora": "hostile.safetensors"}


@pytest.mark.parametrize("view", front_ends.BOTH, indirect=True)
def test_words_of_files_and_graphs_are_shown_and_never_run(view, files):
    view.open_template("text_to_video")
    places = view.page.evaluate(WIRE, [files["model"], files["lora"], SCRIPT, f"a red circle {MARKUP}"])
    ended = view.run()
    assert ended["kind"] == "execution_success", ended
    view.keeps_notices()
    shown = view.notices()
    for place, words in zip(places, (MARKUP, MARKUP, SCRIPT, MARKUP), strict=True):
        assert " ".join(words.split()) in " ".join(shown[place].replace("\u2060", "").split())
    assert view.page.evaluate("() => window.ran") is None and view.page.evaluate(ELEMENTS) == 0
    assert view.errors == []


@pytest.mark.parametrize("view", front_ends.BOTH, indirect=True)
def test_an_error_with_a_files_words_in_it_is_shown_and_never_run(view, files, comfyui, request):
    models = comfyui(request.node.callspec.params["view"]).base / "models"
    state = load_file(next(POCKET.glob("transformer/*.safetensors")))
    module = next(name for name in adapters.matrices(state) if ".attn1.to_" in name)
    misfit = {key.replace(module, SCRIPT): value for key, value in adapters.adapter(state, [module]).items()}
    adapters.file(models / "loras" / "hostile.safetensors", misfit)
    view.open_template("text_to_video")
    view.page.evaluate(WIRE, ["pocket (built in)", files["lora"], "film", "a red circle"])
    ended = view.run()
    assert ended["kind"] == "execution_error" and SCRIPT in ended["exception_message"], ended
    view.page.wait_for_timeout(1000)  # for the page to draw what it was told
    assert view.page.evaluate("() => window.ran") is None and view.page.evaluate(ELEMENTS) == 0


INTO_A_SUBGRAPH = """() => {
    const graph = app.graph, node = graph._nodes.find(node => node.type === 'AtelierExpandPrompt')
    return String(graph.convertToSubgraph(new Set([node])).node.id)
}"""
TEXT_ON = """id => app.canvas.graph.getNodeById(id)?.widgets?.filter(widget => typeof widget.value === 'string')
    .map(widget => widget.value).find(text => text.includes('Expanded by'))"""
ONE_STEP = """() => app.graph._nodes.filter(node => node.type === 'AtelierSampleVideo')
    .forEach(node => { node.widgets.find(widget => widget.name === 'steps').value = 1 })"""


@pytest.mark.parametrize("view", front_ends.BOTH, indirect=True)
def test_notices_from_inside_a_subgraph(view):
    view.open_template("expand_prompt")
    view.page.evaluate(ONE_STEP)
    outer = view.page.evaluate(INTO_A_SUBGRAPH)
    assert view.run()["kind"] == "execution_success"
    view.page.wait_for_function(f"() => ({TEXT_ON})('{outer}')", timeout=20_000)
    # Another graph, in which nothing has the ids of that one: its notices stay, and nothing throws.
    view.open_template("expand_prompt")
    view.page.evaluate(ONE_STEP)
    assert view.run()["kind"] == "execution_success"
    view.keeps_notices()
    assert view.errors == []
