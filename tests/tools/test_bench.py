"""What the command of the benchmarks refuses, before it starts a ComfyUI."""

from __future__ import annotations

import bench
import pytest
import torch
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
