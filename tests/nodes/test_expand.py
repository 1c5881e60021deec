"""Expand Prompt in a real ComfyUI: by rules, with text models, progress and interrupt, and what cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import graphs
import pytest
import tiny_writer
from atelier.api.graphs import saved_graph
from client import JobFailed, JobInterrupted
from graphs import node
from serving import remove_new
from shipped_pocket import SIDE

RULES = "rules (built in)"


@pytest.fixture
def llm(server) -> Iterator[Path]:
    """ComfyUI's models/LLM. It is emptied after each test, so that "automatic" means the rules again."""
    models = server.base / "models"
    before = set(models.rglob("*"))
    yield models / "LLM"
    remove_new(models, before)


def expand(server, prompt: str, expander: str = "automatic", seed: int = 1, expanded: str = "", **more) -> dict:
    """The node's output: the text, the expander that wrote it, and a remark."""
    step = node("AtelierExpandPrompt", prompt=prompt, expander=expander, seed=seed, expanded=expanded)
    step["inputs"] |= {"model": ["load", 0]} if "load" in more else {}
    shown = server.client.run({"expand": step, **more})["expand"]
    return {name: values[0] for name, values in shown.items()}


def test_saved_graph_runs_as_it_is(server, workflow):
    graph = workflow("expand_prompt")
    prompt = saved_graph.to_api(graph, server.client.object_info(saved_graph.node_types(graph)))
    outputs = server.client.run(prompt)
    assert graphs.frames(server.client, {"save": outputs["6"]}).shape == (17, SIDE, SIDE, 3)
    assert outputs["8"]["text"][0].endswith("background")


def test_what_is_written_is_used_as_it_is(server):
    shown = expand(server, "a red circle", expanded="a blue  square, ")
    assert (shown["text"], shown["expander"]) == ("a blue  square, ", "you")


def test_the_model_says_what_it_reads(server):
    load = graphs.text_to_video()["load"]
    small = expand(server, "a red circle", load=load)["text"]
    large = expand(server, "a red circle")["text"]
    assert small.endswith("background") and len(small.split()) < 12 < len(large.split())


@pytest.mark.parametrize("make", [tiny_writer.folder, tiny_writer.gguf_file], ids=["folder", "gguf"])
def test_a_text_model_writes_and_a_video_follows(server, llm, make):
    """As in the saved graph: load, expand, encode, sample; here for a model that reads any words."""
    name = "fox" if make is tiny_writer.folder else "fox.gguf"
    make(llm / name)
    shown = expand(server, "a fox", f"LLM/{name}")
    assert shown == {"text": tiny_writer.SENTENCE, "expander": f"LLM/{name}", "remark": ""}
    graph = graphs.text_to_video()
    words = dict(prompt="a fox", expander="automatic", seed=1, expanded="")
    graph["expand"] = node("AtelierExpandPrompt", **words)
    graph["text"]["inputs"]["prompt"] = ["expand", 0]
    outputs = server.client.run(graph)
    assert outputs["expand"]["text"] == [tiny_writer.SENTENCE]
    assert graphs.frames(server.client, {"save": outputs["save"]}).shape == (17, SIDE, SIDE, 3)


def test_a_model_of_few_words_is_served_by_the_rules(server, llm):
    tiny_writer.folder(llm / "fox")
    shown = expand(server, "a red circle", load=graphs.text_to_video()["load"])
    assert shown["expander"] == RULES and shown["text"].endswith("background")


def test_progress_and_interrupt_while_it_writes(server, llm):
    """After about a hundred of 2,240 tokens it is interrupted, and the next job runs normally."""
    tiny_writer.folder(llm / "endless", template=tiny_writer.THINKING, endless=True)
    seen = []

    def stop(kind: str, data: dict) -> None:
        if kind == "progress":
            seen.append(data["value"])
            if len(seen) == 5:
                server.client.interrupt()

    step = node("AtelierExpandPrompt", prompt="a fox", expander="LLM/endless", seed=7, expanded="")
    with pytest.raises(JobInterrupted):
        server.client.run({"expand": step}, stop)
    assert 5 <= len(seen) and max(seen) < 2000
    assert expand(server, "a fox", RULES)["expander"] == RULES


def test_a_text_model_that_was_replaced_is_asked_again(server, llm):
    tiny_writer.folder(llm / "fox")
    assert expand(server, "a fox", "LLM/fox")["text"] == tiny_writer.SENTENCE
    tiny_writer.folder(llm / "fox", silent=True)
    assert expand(server, "a fox", "LLM/fox")["remark"].startswith("LLM/fox gave no text")


def test_what_cannot_be_used_says_what_to_do_and_the_server_goes_on(server, llm):
    (tiny_writer.folder(llm / "pickle") / "model.safetensors").rename(llm / "pickle" / "pytorch_model.bin")
    whole = tiny_writer.gguf_file(llm / "short.gguf")
    whole.write_bytes(whole.read_bytes()[:20_000])
    for name, said in (("pickle", "download the model as safetensors"), ("short.gguf", "Download it again")):
        with pytest.raises(JobFailed, match=said):
            expand(server, "a fox", f"LLM/{name}")
    assert expand(server, "a fox", RULES)["expander"] == RULES
