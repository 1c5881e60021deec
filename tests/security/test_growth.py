"""Text of strangers is read in a time that grows with its length and no faster, whatever is in it.

Every reader of the pack that looks for a form in foreign text is here. Each is given texts that repeat what makes
patterns start over: a beginning that looks right, a part many times, and an end that does not fit.
"""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from atelier.api import errors, settings
from atelier.api.errors import ApiError
from atelier.api.graphs import marks
from atelier.api.request import body, fields, json_text, references
from atelier.editing import changes, recut
from atelier.models.contract.grid import Grid
from atelier.models.library import folders
from atelier.models.loading.identify import open_model
from atelier.models.loading.load import load_clip
from atelier.models.loading.lora import modules_of
from atelier.models.loading.lora_alphas import read_alphas
from atelier.models.timeline import placing, storyboard
from atelier.nodes import notice
from atelier.prompts import english, rules, styles, text_model

ROOT = Path(__file__).resolve().parents[2]
LENGTHS = (500, 2000, 8000, 32_000)
"""Characters. A prompt of the API has up to 32,000; the other texts are shorter, or are cut at their own limit."""
QUICK = 0.05
"""Seconds of the processor for which no growth is looked at: clocks and caches are as large."""
GROWTH = 8
"""Times as long for four times the length: twice of linear, half of quadratic."""

PARTS = (
    *(
        " ",
        "1",
        "a",
        "-",
        ".",
        ",",
        ":",
        "(",
        "()",
        "[",
        "[]",
        "{",
        "{}",
        "<",
        "\n",
        "\\",
        "/",
        "_",
        "'",
        '"',
        "=",
        "&",
    ),
    *(
        "1 ",
        "1.",
        "1-",
        "a ",
        "a.",
        "a_",
        "é",
        "ing",
        "in the ",
        "red ",
        "an ",
        "/a",
        "0s: a\n",
        "{a=",
        "[a]",
        "\u2028",
    ),
)
ENDS = ("x", "", "!")
AMOUNTS = [pytest.param(1, 3, id="some"), pytest.param(3, 4, id="all", marks=pytest.mark.slow)]
"""How many of ENDS and of LENGTHS."""

GRID = Grid(16, 4, 8)
LATENT = {"samples": torch.zeros(1, 16, 5, 2, 2), "frame_rate": 8.0}
POCKET = "pocket (built in)"


def lora(key: str) -> object:
    return modules_of({key: torch.zeros(1, 1), "a.lora_A.weight": torch.zeros(1, 1)}, {}, "lora")


def alphas(pattern: str) -> object:
    noted = json.dumps({"lora_alpha": 1, "alpha_pattern": {pattern: 2}})
    read = read_alphas({"lora_adapter_metadata": noted}, "lora")
    return read.of_module([pattern[:400], "a" * 400, "a." * 200])


def completed(prompt: str) -> object:
    return rules.by_rules(prompt, 1, folders.vocabulary(POCKET))


READERS: dict[str, tuple[Callable[[str], object], tuple[str, ...]]] = {
    "storyboard": (storyboard.read, ("", "1", "0s ", "0s cut ", "0s [image ", "0s [image 1, ", "0s:")),
    "cuts": (lambda text: recut.read_cuts(text, 17, 8.0, GRID), ("", "1", "gap ", "gap 1", "1-1", "gap 1,")),
    "points": (changes.read_points, ("", "0:0,", "0:")),
    "times": (lambda text: placing.keyframes(text, "1", 1, LATENT, GRID), ("", "1", "50%,")),
    "prompt, by rules": (lambda text: english.expanded(text, 1), ("", "a cat ", "in the ")),
    "prompt, by words": (completed, ("", "a red ", "red circle ", "red x circle ", "circle ")),
    "a text model's answer": (text_model.cleaned, ("", "sure", "here is ", "<think>", "the prompt", "paragraph")),
    "a text model's length": (lambda text: text_model.fitted(text, 80), ("", "A.")),
    "style": (lambda text: styles.styled(text, text, text), ("",)),
    "a LoRA's key": (lora, ("", "a.lora_A", "lora_unet_", "a.matrix_A.", "transformer.", "a.oft_")),
    "a LoRA's alphas": (alphas, ("", "^", "(a+)+", "(?:a|a)*", "[", "a{9}")),
    "notice": (notice.plain, ("", "<", "[[a|", "__LNK")),
    "mark": (lambda text: marks._marks({"title": text}), ("", "{", "{a", "{bypass without ", "{ ")),
    "model's name": (lambda text: settings.Settings().local(text), ("", "sora-2-", "-2025-10-")),
    "an error's words": (errors.without_paths, ("", "/", "C:\\", "/home/")),
    "JSON": (json_text.parsed, ("", "[", '{"', '{"a":"', '"\\')),
    "a form": (lambda text: body._form(text.encode()), ("", "a=", "a[", "%")),
    "a field's name": (lambda text: body.nested([(text, "x")]), ("", "a[", "a[]")),
    "a data URL": (lambda text: references._decoded(text, "video"), ("", "data:image/png;base64,")),
    "fields": (
        lambda text: fields.shot(dict.fromkeys(("prompt", "size", "storyboard", "characters", "loop", "x"), text)),
        ("", "1x", '[{"', '{"'),
    ),
}
"""What reads a text, and beginnings that look right to it."""
REFUSED = (ValueError, RuntimeError, ApiError)
"""How a text is refused: CheckpointError, StoryboardError, JSON's and pydantic's errors are kinds of these."""


def work(read: Callable[[str], object], text: str) -> float:
    """Seconds that this thread computes."""
    began = time.thread_time()
    try:
        read(text)
    except REFUSED:
        pass
    return time.thread_time() - began


def assert_linear(read: Callable[[str], object], first: str, part: str, end: str, lengths: Sequence[int]) -> None:
    texts = [first + (part * length)[:length] + end for length in lengths]
    before = work(read, texts[0])
    for shorter, text in itertools.pairwise(texts):
        taken = work(read, text)
        if taken > QUICK and taken > GROWTH * before:  # once more, without what came between
            before, taken = (min(work(read, each) for _ in range(3)) for each in (shorter, text))
            assert taken <= max(QUICK, GROWTH * before), f"{first!r} + {part!r} * n + {end!r}: {before} s, then {taken}"
        before = taken


@pytest.mark.parametrize("ends,lengths", AMOUNTS)
@pytest.mark.parametrize("name", READERS)
def test_the_time_grows_with_the_length(name, ends, lengths):
    read, firsts = READERS[name]
    for first, part, end in itertools.product(firsts, PARTS, ENDS[:ends]):
        assert_linear(read, first, part, end, LENGTHS[:lengths])


@pytest.mark.parametrize("ends,lengths", AMOUNTS)
def test_a_prompts_tokens(ends, lengths):
    """With the pocket model's tokenizer, and ComfyUI's own reading of weights."""
    tokenize = load_clip(open_model(folders.model_path(POCKET))).tokenize
    for first, part, end in itertools.product(("", "("), PARTS, ENDS[:ends]):
        assert_linear(tokenize, first, part, end, LENGTHS[:lengths])


SCRIPT = """
import {added, changed, read, removed} from %s
const [parts, firsts, ends, lengths, quick, growth] = JSON.parse(process.argv[2])
const work = text => {
    const began = process.cpuUsage()
    const {cards} = read(text)
    added(text, cards, 1, text)
    if (cards.length) changed(text, cards[0], {words: text}), removed(text, cards[0])
    const {user, system} = process.cpuUsage(began)
    return (user + system) / 1e6
}
for (const first of firsts) for (const part of parts) for (const end of ends) {
    let before = Infinity
    for (const length of lengths) {
        const text = first + part.repeat(length).slice(0, length) + end
        let taken = work(text)
        if (taken > quick && taken > growth * before) taken = Math.min(work(text), work(text))
        if (taken > quick && taken > growth * before)
            throw new Error(JSON.stringify([first, part, end, length, before, taken]))
        before = taken
    }
}
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node to run board.js")
def test_the_time_lines_own_reader(tmp_path):
    """board.js reads what is typed, with every key."""
    board = tmp_path / "board.mjs"
    board.write_text((ROOT / "web" / "storyboard" / "board.js").read_text(encoding="utf-8"), encoding="utf-8")
    script = tmp_path / "growth.mjs"
    script.write_text(SCRIPT % json.dumps(board.as_uri()), encoding="utf-8")
    given = json.dumps([PARTS, READERS["storyboard"][1], ENDS, LENGTHS, QUICK, GROWTH])
    done = subprocess.run(["node", script, given], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
