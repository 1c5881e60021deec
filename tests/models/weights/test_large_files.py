"""Files larger than memory: headers are read, weights are mapped in parts, and an error says what does not fit."""

from __future__ import annotations

import json
from types import SimpleNamespace

import comfy.model_management as memory
import psutil
import pytest
import sparse
import tiny
import torch
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from atelier.models.weights import mapped
from atelier.models.weights.checkpoint import open_component
from atelier.models.weights.errors import CheckpointError
from safetensors.torch import load_file, save_file

SHAPE = (2**15, 2**15)  # 2 GiB in 16 bits


def larger_than_memory() -> int:
    """How many matrices of SHAPE exceed memory and swap together."""
    return (psutil.virtual_memory().total + psutil.swap_memory().total) // 2**31 + 2


@pytest.mark.parametrize("kind", ["safetensors", "gguf"])
def test_a_file_larger_than_memory_is_opened(tmp_path, kind):
    names = [f"blocks.{n}.weight" for n in range(larger_than_memory())]
    if kind == "gguf":
        path = sparse.gguf_file(tmp_path / "large.gguf", {name: ("F16", SHAPE) for name in names}, "ltxv")
    else:
        path = sparse.safetensors_file(tmp_path / "large.safetensors", {name: ("F16", SHAPE) for name in names})
    before = psutil.Process().memory_info().rss
    component = open_component(path, "network")
    assert component.shapes == dict.fromkeys(names, SHAPE)
    state = component.state_dict()
    state[names[-1]][-1, -1] = 2.0  # weights may be rearranged where they are; the file stays as it is
    assert state[names[-1]][-1, -3:].tolist() == [0.0, 0.0, 2.0] and state[names[0]][5, 5] == 0
    assert open_component(path, "network").state_dict()[names[-1]][-1, -1] == 0.0
    assert psutil.Process().memory_info().rss - before < 2**29


def test_windows_give_the_numbers_that_safetensors_itself_reads(tmp_path, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    state = {f"w{n}": torch.randn(n, 7, generator=generator) for n in range(9)}
    state |= {"half": state["w8"].half(), "eight": state["w7"].to(torch.float8_e4m3fn), "whole": torch.arange(5)}
    state |= {"scalar": torch.tensor(3.0), "yes": torch.tensor([True, False])}
    save_file(state, tmp_path / "a.safetensors", {"note": "x"})
    expected = load_file(tmp_path / "a.safetensors")
    for window in (1, 100, 2**31):
        monkeypatch.setattr(mapped, "WINDOW", window)
        read = open_component(tmp_path / "a.safetensors", "part").state_dict()
        assert read.keys() == expected.keys()
        assert all(read[key].dtype == expected[key].dtype and read[key].shape == expected[key].shape for key in read)
        assert all(torch.equal(read[key].float(), expected[key].float()) for key in read)


def test_a_model_that_does_not_fit_says_what_is_missing(tmp_path, monkeypatch):
    path = tiny.single_file(tmp_path / "ltx.safetensors", None, dtype=torch.bfloat16)
    assert load.load_model(open_model(path), "float32")
    monkeypatch.setattr(memory, "get_free_memory", lambda *_: 100)
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(free=0))
    with pytest.raises(
        CheckpointError, match=r"LTX Video 2B \(ltx.safetensors\) takes .* as float32; 0.0 GB are free.*'bfloat16'"
    ):
        load.load_model(open_model(path), "float32")
    assert load.load_model(open_model(path), "bfloat16")  # as in the file: read from disk as needed


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [-4], "data_offsets": [16, 0]},
        {"dtype": "F32", "shape": [4]},
        {"dtype": "F32", "shape": "4", "data_offsets": [0, 16]},
        ["F32"],
    ],
)
def test_headers_that_cannot_be_true_are_named(tmp_path, entry):
    text = json.dumps({"weight": entry, "__metadata__": ["no", "dictionary"]}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
    with pytest.raises(CheckpointError, match="a.safetensors is a damaged safetensors file.*'weight'.*Download"):
        open_component(path, "part")
