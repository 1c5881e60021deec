"""GGUF files of every family and of T5: the same numbers as the package gguf reads, kept quantised in memory."""

from __future__ import annotations

import sys
from dataclasses import replace

import adapters
import gguf
import numpy as np
import pytest
import quantised
import tiny
import tiny_ltx2
import torch
from atelier.models.bridge.text_encoder import encode_text
from atelier.models.families.ltx_video import layouts
from atelier.models.families.mochi import layouts as mochi_layouts
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from atelier.models.loading.lora import add_lora
from atelier.models.weights import checkpoint as files
from atelier.models.weights.errors import CheckpointError
from atelier.models.weights.gguf import Blocks
from atelier.models.weights.quantised import EightBits, Quantised, in_eight_bits
from benchmarks.layout import genmo_network
from quantised import NETWORKS, kept, loaded, numbers
from reference import relative
from safetensors.torch import load_file, save_file

KINDS = ["Q8_0", "Q4_0", "Q5_1", "F16", "BF16"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", list(NETWORKS))
def test_network_has_the_files_numbers(tmp_path, layout, kind):
    make, shape = NETWORKS[layout]
    state = make()
    path = quantised.write(tmp_path / "model.gguf", state, kind)
    save_file(quantised.rounded(state, path), tmp_path / "same.safetensors")
    network = loaded(load.load_model(open_model(path), "float32"))
    same = loaded(load.load_model(open_model(tmp_path / "same.safetensors"), "float32"))
    expected, ours = same.state_dict(), numbers(network)
    assert ours.keys() == expected.keys() and all(torch.equal(ours[key], expected[key]) for key in expected)
    assert (len(kept(network)) > 0) == kind.startswith("Q")
    if shape:
        x, text = torch.randn(shape), torch.randn(1, 8, tiny.TEXT_WIDTH)
        made, reference = (net(x, torch.tensor([500.0]), text) for net in (network, same))
        assert relative(made, reference) <= 1e-6


@pytest.mark.parametrize(("layout", "kind"), [("mochi original", "Q8_0"), ("cogvideox", "Q4_0")])
def test_blocks_in_a_safetensors_file(tmp_path, layout, kind):
    """Repackaged files store GGUF blocks as `attn.qkv_x.Q8_0_qweight`: the network is the same as from GGUF."""
    state = NETWORKS[layout][0]()
    path = quantised.write_blocks(tmp_path / "model.safetensors", state, kind, named=True)
    rounded = {
        key: weight.numbers() if isinstance(weight, Quantised) else weight
        for key, weight in files.open_component(path, "network").state_dict().items()
    }
    expected = {
        key: torch.from_numpy(gguf.quants.dequantize(weight.rows().numpy(), gguf.GGMLQuantizationType[kind]))
        for key, weight in files.open_component(path, "network").state_dict().items()
        if isinstance(weight, Quantised)
    }
    assert len(expected) > 5 and all(torch.equal(rounded[key], expected[key]) for key in expected)
    save_file(rounded, tmp_path / "same.safetensors")
    ours, same = (
        loaded(load.load_model(open_model(tmp_path / f"{name}.safetensors"), "float32")) for name in ("model", "same")
    )
    assert kept(ours) and all(torch.equal(numbers(ours)[key], weight) for key, weight in same.state_dict().items())


def test_blocks_of_an_unknown_kind_are_named(tmp_path):
    state = {"blocks.0.attn.Q9_X_qweight": torch.zeros(4, 34, dtype=torch.uint8)}
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="model.safetensors is quantised as Q9_X.*Download the model as Q8_0"):
        files.open_checkpoint(tmp_path / "model.safetensors")
    save_file({"a.Q8_0_qweight": torch.zeros(34, dtype=torch.uint8)}, tmp_path / "flat.safetensors")
    with pytest.raises(CheckpointError, match="flat.safetensors is damaged: its a.Q8_0_qweight has no rows of bytes"):
        files.open_checkpoint(tmp_path / "flat.safetensors")


def test_layouts_move_quantised_rows_as_they_move_numbers():
    """Mochi's layout splits queries, keys and values and swaps halves."""
    generator = torch.Generator().manual_seed(0)
    matrices = {key: torch.randn(12, 32, generator=generator) for key in genmo_network()}
    rows = {key: Quantised.of(in_eight_bits(matrix), Blocks("Q8_0")) for key, matrix in matrices.items()}
    expected = mochi_layouts.network_state({key: weight.numbers() for key, weight in rows.items()})
    assert all(
        torch.equal(weight.numbers(), expected[key]) for key, weight in mochi_layouts.network_state(rows).items()
    )


@pytest.mark.parametrize("kind", ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"])
def test_kinds_that_only_llama_cpp_writes(kind):
    """Random bytes with finite scales are a valid matrix of any type."""
    sort = gguf.GGMLQuantizationType[kind]
    _, size = gguf.GGML_QUANT_SIZES[sort]
    blocks = np.random.default_rng(0).integers(0, 255, (6, size), dtype=np.uint8)
    scale = np.array([0.013, 0.021], dtype=np.float16).view(np.uint8)
    place = {"Q2_K": slice(-4, None), "Q3_K": slice(-2, None), "Q6_K": slice(-2, None)}.get(kind, slice(0, 4))
    blocks[:, place] = scale[: len(blocks[0, place])]
    rows = blocks.reshape(3, -1)
    ours = Blocks(kind).numbers(torch.from_numpy(rows))
    assert ours.shape == (3, 512)
    assert torch.allclose(ours, torch.from_numpy(gguf.quants.dequantize(rows, sort)), rtol=1e-6)


def test_eight_bits_as_gguf_writes_them():
    matrix = torch.randn(5, 96, generator=torch.Generator().manual_seed(0))
    matrix[0, :32] = 0
    theirs = gguf.quants.quantize(matrix.numpy(), gguf.GGMLQuantizationType.Q8_0)
    ours, read = EightBits().numbers(in_eight_bits(matrix)), Blocks("Q8_0").numbers(torch.from_numpy(theirs))
    assert torch.allclose(ours, read, atol=1e-6)
    assert torch.equal(EightBits().numbers(torch.from_numpy(theirs)), read)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_lora_on_quantised_weights(tmp_path, kind):
    """In a fully loaded model, a patched weight is stored in eight bits; without the patch, the file's bytes return."""
    state = tiny.core_network().state_dict()
    path = quantised.write(tmp_path / "model.gguf", state, kind)
    modules = adapters.matrices(state)
    lora = adapters.adapter(state, modules)
    model = load.load_model(open_model(path), "float32")
    before = {key: weight.clone() for key, weight in loaded(model).state_dict().items()}
    applied = add_lora(model, adapters.file(tmp_path / "lora.safetensors", lora), 0.5)
    network = loaded(applied.model)
    expected = layouts.network_state(adapters.merged(quantised.rounded(state, path), lora, modules, strength=0.5))
    assert not applied.unused
    assert all(relative(weight, expected[key]) < 1e-2 for key, weight in numbers(network).items())
    assert len(kept(network)) > 10
    applied.model.detach()
    after = loaded(model).state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize("kind", KINDS)
def test_text_encoder(tmp_path, kind):
    """From llama.cpp's names, the embedding equals that of the same numbers in a safetensors file."""
    tiny.folder(tmp_path / "model")
    state = {key: weight for key, weight in tiny.t5().state_dict().items() if "embed_tokens" not in key}
    named = quantised.t5_names(state)
    path = quantised.write(tmp_path / "t5-v1_1-xxl-encoder.gguf", named, kind, "t5encoder")
    values = quantised.rounded(named, path)
    same = {key: values[name] for key, name in zip(state, named, strict=True)}
    save_file(same, tmp_path / "same.safetensors")
    ours, theirs = (
        load.load_clip(open_model(tmp_path / "model"), chosen=file) for file in (path, tmp_path / "same.safetensors")
    )
    kept = [w for w in ours.cond_stage_model.t5xxl.transformer.state_dict().values() if w.dtype == torch.uint8]
    assert (len(kept) > 5) == kind.startswith("Q")
    ((a, _),), _ = encode_text(ours, "a red circle moving left")
    ((b, _),), _ = encode_text(theirs, "a red circle moving left")
    assert relative(a, b) < 5e-3  # the other is rounded to float16


@pytest.mark.parametrize("kind", ["Q8_0", "BF16"])
def test_a_gemma_with_its_tokenizer(tmp_path, kind):
    """From llama.cpp's names, words become the same tokens and the same text as from a safetensors file."""
    pipe = tiny_ltx2.pipeline("2.0")
    opened = open_model(tiny_ltx2.folder(tmp_path / "model", "2.0", pipe))
    same = tiny_ltx2.gemma_file(tmp_path / "gemma.safetensors", pipe)
    state = load_file(same)
    proto = bytes(state.pop("spiece_model").tolist())
    path = quantised.write_gemma(tmp_path / "gemma-3-12b-it.gguf", state, proto, kind)
    ours, theirs = (load.load_clip(opened, chosen=file) for file in (path, same))
    for words in (*tiny_ltx2.WORDS, " two  spaces\n, an umlaut ä and <bos> "):
        tokens, expected = (clip.tokenize(words) for clip in (ours, theirs))
        assert [n for n, *_ in tokens["gemma"][0]] == [n for n, *_ in expected["gemma"][0]]
    ((a, _),), _ = encode_text(ours, tiny_ltx2.PROMPT)
    ((b, _),), _ = encode_text(theirs, tiny_ltx2.PROMPT)
    assert relative(a, b) < (0.05 if kind == "Q8_0" else 1e-2)
    found = load.load_clip(replace_encoder(opened), candidates=lambda: [path])
    assert torch.equal(encode_text(found, tiny_ltx2.PROMPT)[0][0][0], a)


def replace_encoder(opened):
    """The model without its own text encoder."""
    return replace(opened, checkpoint=replace(opened.checkpoint, text_encoder=None))


def test_truncated(tmp_path):
    whole = quantised.write(tmp_path / "model.gguf", tiny.core_network().state_dict())
    data = whole.read_bytes()
    for share in (0.001, 0.01, 0.3, 0.9):
        (tmp_path / "cut.gguf").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(CheckpointError, match="damaged or incomplete GGUF"):
            files.open_checkpoint(tmp_path / "cut.gguf")


def test_without_the_package(tmp_path, monkeypatch):
    path = quantised.write(tmp_path / "model.gguf", tiny.core_network().state_dict())
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(CheckpointError, match="pip install gguf"):
        files.open_checkpoint(path)


def test_another_architecture(tmp_path):
    path = quantised.write(tmp_path / "flux.gguf", {"img_in.weight": torch.zeros(64, 64)}, architecture="flux")
    with pytest.raises(CheckpointError, match="not a model of a family this pack knows"):
        load.load_model(open_model(path))
