"""What the command of the benchmarks refuses, before it starts a ComfyUI."""

from __future__ import annotations

import logging

import bench
import comfy.utils
import pack
import pytest
import torch
from benchmarks.figure import chosen
from console import Problem


@pytest.mark.parametrize(
    "arguments,reason",
    [
        (["wheels"], "no benchmark 'wheels'.*gpu"),
        (["gpu", "step"], "gpu runs alone"),
        (["gpu"], "no CUDA card.*--tiny"),
    ],
)
def test_what_cannot_run_is_refused(monkeypatch, arguments, reason):
    monkeypatch.setattr("sys.argv", ["bench", *arguments])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Problem, match=reason):
        bench.main()


def test_what_takes_long_runs_only_if_it_is_named(monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(bench, "measure", lambda names, given: (ran.extend(names) or [], {}))
    for owner, name in ((pack, "prepare_comfyui"), (pack, "load"), (logging.getLogger(), "setLevel")):
        monkeypatch.setattr(owner, name, lambda *_, **__: None)
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_ENABLED", True)  # put back afterwards
    for arguments in ([], ["speed"]):
        monkeypatch.setattr("sys.argv", ["bench", *arguments])
        assert bench.main() == 0
    assert ran == [*bench.BENCHMARKS, "speed"] and "speed" not in bench.BENCHMARKS
    assert capsys.readouterr().out.count(f"Run only if named: {', '.join(bench.ON_REQUEST)}") == 1


def test_models_are_chosen_by_a_word_of_their_name():
    names = ["pocket", "pocket pyramid", "Mochi, random"]
    assert chosen(names, None) == names and chosen(names, "POCKET") == ["pocket"]
    assert chosen(names, "pyra") == ["pocket pyramid"] and chosen(names, "o") == names
    with pytest.raises(Problem, match="--model wan: .* Known: pocket; pocket pyramid; Mochi, random"):
        chosen(names, "wan")
