"""Every family in a real ComfyUI: the saved graphs run it once another model is chosen in the loader."""

from __future__ import annotations

import graph as saved_graph
import graphs
import pytest
import tiny_cogvideox
import tiny_mochi

FOLDERS = {
    "mochi": (tiny_mochi.folder, 13),
    "cogvideox-2b": (lambda path: tiny_cogvideox.folder(path, "2B"), 9),
    "cogvideox-1.5-5b-i2v": (lambda path: tiny_cogvideox.folder(path, "1.5 5B I2V"), 9),
}


@pytest.mark.parametrize("graph_name", ["text_to_video", "image_to_video"])
@pytest.mark.parametrize("family", list(FOLDERS))
def test_saved_graph_runs_by_changing_only_the_loader(server, workflow, family, graph_name):
    write, frames = FOLDERS[family]
    folder = server.base / "models" / "diffusers" / f"tiny-{family}"
    if not folder.is_dir():
        write(folder)
    graph = workflow(graph_name)
    prompt = saved_graph.to_api(graph, server.client.object_info(saved_graph.node_types(graph)))
    (loader,) = [n for n in prompt.values() if n["class_type"] == "AtelierLoadVideoModel"]
    (empty,) = [n for n in prompt.values() if n["class_type"] == "AtelierEmptyVideoLatent"]
    (sampler,) = [n for n in prompt.values() if n["class_type"] == "AtelierSampleVideo"]
    loader["inputs"]["model"] = f"diffusers/{folder.name}"
    empty["inputs"] |= dict(width=64, height=48, frames=frames)  # the recommended size would take hours here
    sampler["inputs"]["steps"] = 2
    assert graphs.frames(server.client, server.client.run(prompt)).shape == (frames, 48, 64, 3)
