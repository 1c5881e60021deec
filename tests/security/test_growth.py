"""Every parser of untrusted text takes time linear in the text's length, whatever the text is.

All parsers of the pack are listed in READERS. Each reads texts that make a pattern backtrack: a valid beginning, one
part repeated many times, and an end that does not match.
"""

from __future__ import annotations

import gc
import itertools
import json
import math
import re
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
"""Characters. The API reads prompts of up to 32,000; the other texts are shorter, or are refused at their own limit."""
QUICK = 0.05
"""Seconds of CPU time below which growth is not checked: one pass of the garbage collector takes as long."""
GROWTH = 8
"""Allowed ratio of times for four times the length. Linear is 4, quadratic is 16."""
ROUNDS = 8
"""How often a suspicious pair of texts is measured again. Its minimum counts: other load only ever adds time."""

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
"""How many of ENDS and of LENGTHS a test uses."""

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
    "a text model's length": (lambda text: text_model.cut_to(text, 80), ("", "A.")),
    "style": (lambda text: styles.styled(text, text, text), ("",)),
    "a LoRA's key": (lora, ("", "a.lora_A", "lora_unet_", "a.matrix_A.", "transformer.", "a.oft_")),
    "a LoRA's alphas": (alphas, ("", "^", "(a+)+", "(?:a|a)*", "[", "a{9}")),
    "notice": (notice.for_node, ("", "<", "[[a|", "__LNK")),
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
"""Name -> (parser, valid beginnings of its texts)."""
REFUSED = (ValueError, RuntimeError, ApiError)
"""Errors with which a parser refuses a text. CheckpointError, StoryboardError, JSON's and pydantic's are subclasses."""


def work(read: Callable[[str], object], text: str) -> float:
    """CPU seconds of this thread for one call. Waiting for a core does not count, and the garbage collector is off."""
    gc.disable()
    began = time.thread_time()
    try:
        read(text)
    except REFUSED:
        pass
    finally:
        taken = time.thread_time() - began
        gc.enable()
    return taken


def assert_linear(read: Callable[[str], object], first: str, part: str, end: str, lengths: Sequence[int]) -> None:
    texts = [first + (part * length)[:length] + end for length in lengths]
    before = work(read, texts[0])
    for shorter, longer in itertools.pairwise(texts):
        taken = work(read, longer)
        if taken > max(QUICK, GROWTH * before):
            before, taken = confirmed(read, shorter, longer)
            assert taken <= max(QUICK, GROWTH * before), f"{first!r} + {part!r} * n + {end!r}: {before} s, then {taken}"
        before = taken


def confirmed(read: Callable[[str], object], shorter: str, longer: str) -> tuple[float, float]:
    """The minimum time of each text over up to ROUNDS rounds. Each round measures both, so they meet the same load."""
    before = taken = math.inf
    for number in range(ROUNDS):
        before, taken = min(before, work(read, shorter)), min(taken, work(read, longer))
        if number and taken <= max(QUICK, GROWTH * before):
            break
    return before, taken


def test_a_quadratic_reader_is_caught():
    backtracking = re.compile("(?:a|b)*c")
    with pytest.raises(AssertionError, match="'a' \\* n"):
        assert_linear(backtracking.search, "", "a", "x", LENGTHS[:3])


@pytest.mark.parametrize("ends,lengths", AMOUNTS)
@pytest.mark.parametrize("name", READERS)
def test_the_time_grows_with_the_length(name, ends, lengths):
    read, firsts = READERS[name]
    for first, part, end in itertools.product(firsts, PARTS, ENDS[:ends]):
        assert_linear(read, first, part, end, LENGTHS[:lengths])


@pytest.mark.parametrize("ends,lengths", AMOUNTS)
def test_a_prompts_tokens(ends, lengths):
    """The pocket model's tokenizer, and ComfyUI's own parser of weights such as (word:1.2)."""
    tokenize = load_clip(open_model(folders.model_path(POCKET))).tokenize
    for first, part, end in itertools.product(("", "("), PARTS, ENDS[:ends]):
        assert_linear(tokenize, first, part, end, LENGTHS[:lengths])


SCRIPT = """
import {added, changed, read, removed} from %s
const [parts, firsts, ends, lengths, quick, growth, rounds] = JSON.parse(process.argv[2])
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
    let shorter = ''
    for (const length of lengths) {
        const text = first + part.repeat(length).slice(0, length) + end
        let taken = work(text)
        for (let round = 0; round < rounds && taken > Math.max(quick, growth * before); round++) {
            before = Math.min(before, work(shorter))
            taken = Math.min(taken, work(text))
        }
        if (taken > Math.max(quick, growth * before))
            throw new Error(JSON.stringify([first, part, end, length, before, taken]))
        before = taken
        shorter = text
    }
}
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed; it runs board.js")
def test_the_storyboard_editors_parser(tmp_path):
    """board.js parses the whole text at each key press."""
    for name in ("board.js", "words.js"):
        shutil.copy(ROOT / "web" / "storyboard" / name, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')  # Node.js takes .js for an older kind otherwise
    script = tmp_path / "growth.mjs"
    script.write_text(SCRIPT % json.dumps((tmp_path / "board.js").as_uri()), encoding="utf-8")
    given = json.dumps([PARTS, READERS["storyboard"][1], ENDS, LENGTHS, QUICK, GROWTH, ROUNDS])
    done = subprocess.run(["node", script, given], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
