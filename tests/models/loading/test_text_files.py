"""Which file becomes a model's text encoder: T5 and umT5 have the same key names and width, but different words."""

from __future__ import annotations

import logging

import pytest
import sparse
import tiny
from atelier.models.library.folders import POCKET, model_path
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from atelier.models.weights.checkpoint import open_checkpoint, open_component
from atelier.models.weights.errors import CheckpointError

UMT5 = "umt5_xxl_fp8_e4m3fn_scaled.safetensors"


@pytest.fixture
def files(tmp_path):
    """A model, Wan's text encoder of the same width, and a T5, in the order of a folder's listing."""
    shapes = {key: tuple(weight.shape) for key, weight in tiny.t5().state_dict().items() if "embed_tokens" not in key}
    words = {"shared.weight": (256_384, tiny.TEXT_WIDTH)}
    umt5 = sparse.safetensors_file(tmp_path / UMT5, {key: ("F16", s) for key, s in (shapes | words).items()})
    model = tiny.single_file(tmp_path / "ltx.safetensors", None)
    return model, umt5, tiny.t5_file(tmp_path / "google_t5-v1_1-xxl_encoderonly-fp16.safetensors")


def test_automatic_passes_over_umt5(files, caplog):
    model, umt5, t5 = files
    with caplog.at_level(logging.INFO):
        clip = load.load_clip(open_model(model), lambda: [umt5, t5])
    assert clip.cond_stage_model.t5xxl.transformer.shared.weight.shape[0] == tiny.VOCABULARY
    assert f"skipped {UMT5}" in caplog.text and "256,384 words" in caplog.text


def test_umt5_alone_is_refused_by_name(files):
    model, umt5, _ = files
    with pytest.raises(CheckpointError, match=r"no text encoder inside.*found: umt5.*has 256,384 words.*Wan.*T5"):
        load.load_clip(open_model(model), lambda: [umt5])
    with pytest.raises(CheckpointError, match="256,384 words.*Wan.*Choose another file for 'text_encoder'"):
        load.load_clip(open_model(model), chosen=umt5)


def test_a_t5_of_another_size_is_passed_over(files, tmp_path):
    model, _, t5 = files
    small = tmp_path / "t5xxl_small.safetensors"
    shapes = {key: tuple(w.shape) for key, w in tiny.t5(64).state_dict().items() if "embed_tokens" not in key}
    sparse.safetensors_file(small, {key: ("F16", shape) for key, shape in shapes.items()})
    assert load.load_clip(open_model(model), lambda: [small, t5])
    with pytest.raises(CheckpointError, match="t5xxl_small.safetensors has a width of 64"):
        load.load_clip(open_model(model), lambda: [small])


def test_a_vocabulary_with_its_own_tokenizer_is_the_models_own():
    """The pocket models have a small vocabulary of their own, which fits them."""
    assert load.load_clip(open_model(model_path(POCKET)))
    assert open_checkpoint(model_path(POCKET)).tokenizer is not None


def test_sparse_files_are_read_as_files(tmp_path):
    file = sparse.safetensors_file(tmp_path / "a.safetensors", {"a": ("BF16", (3, 4)), "b": ("F32", (2,))})
    assert open_component(file, "part").state_dict()["a"].tolist() == [[0.0] * 4] * 3
    quantised = sparse.gguf_file(tmp_path / "a.gguf", {"w": ("Q8_0", (4, 64)), "v": ("F32", (7,))}, "ltxv")
    state = open_component(quantised, "part").state_dict()
    assert state["w"].numbers().shape == (4, 64) and not state["w"].numbers().any() and state["v"].shape == (7,)
