"""Pyramid Flow from the files that artists have: published repositories, and single files in one folder."""

from __future__ import annotations

import shutil

import comfy.model_management as memory
import pytest
import tiny
import tiny_pyramid
import torch
from atelier.models.bridge.text_encoder import encode_text
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from atelier.models.weights.checkpoint import models_in, open_checkpoint
from atelier.models.weights.errors import CheckpointError

KINDS = ["miniflux", "sd3"]


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    base = tmp_path_factory.mktemp("pyramid")
    for kind in KINDS:
        tiny_pyramid.folder(base / kind, kind, ("384p", "768p"))
    return base


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    base = tmp_path_factory.mktemp("text_encoders")
    clips = [tiny_pyramid.clip_file(base / f"{name}.safetensors", name) for name in tiny_pyramid.CLIPS]
    return [tiny.t5_file(base / "t5xxl_fp16.safetensors"), *clips]


def same(loaded, plain) -> bool:
    ours, theirs = loaded.state_dict(), plain.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key].float(), theirs[key]) for key in ours)


@pytest.mark.parametrize("kind", KINDS)
def test_published_repository(repositories, kind):
    small, large = models_in(repositories / kind)
    model = load.load_model(open_model(large), "float32")
    assert model.model.variant.name.lower() == f"pyramid flow {kind} 768p"
    assert load.load_model(open_model(small), "float32").model.variant.name.endswith("384p")
    assert same(model.model.diffusion_model, tiny_pyramid.network(kind))
    assert same(load.load_vae(open_model(small)).first_stage_model.autoencoder.vae, tiny_pyramid.vae())


@pytest.mark.parametrize("prefix", ["", "dit."])
@pytest.mark.parametrize("kind", KINDS)
def test_single_files(tmp_path, kind, prefix):
    path = tiny_pyramid.network_file(tmp_path / "pyramid_384p.safetensors", kind, prefix)
    vae = load.load_vae(open_model(path), lambda: [tiny_pyramid.vae_file(tmp_path / "vae.safetensors")])
    assert same(load.load_model(open_model(path), "float32").model.diffusion_model, tiny_pyramid.network(kind))
    assert same(vae.first_stage_model.autoencoder.vae, tiny_pyramid.vae())


@pytest.mark.parametrize("kind", KINDS)
def test_text_from_the_repository_equals_that_from_files(repositories, tmp_path, encoders, kind):
    alone = tiny_pyramid.network_file(tmp_path / "pyramid.safetensors", kind)
    inside = load.load_clip(open_model(models_in(repositories / kind)[0]))
    found = load.load_clip(open_model(alone), lambda: encoders)
    chosen = load.load_clip(open_model(alone), lambda: encoders[1:], encoders[0])
    ((embeds, options),), _ = encode_text(inside, "a red circle")
    assert options["pooled_output"].shape[-1] == {"miniflux": 128, "sd3": 320}[kind]
    for clip in (found, chosen):
        ((others, theirs),), _ = encode_text(clip, "a red circle")
        assert torch.allclose(embeds, others)
        assert torch.allclose(options["pooled_output"], theirs["pooled_output"], atol=1e-5)


def test_sd3_with_miniflux_encoders(repositories, tmp_path, encoders):
    for part in ("text_encoder", "text_encoder_2", "tokenizer_2"):
        shutil.copytree(repositories / "miniflux" / part, tmp_path / part)
    shutil.copytree(repositories / "sd3" / "diffusion_transformer_384p", tmp_path / "diffusion_transformer_384p")
    with pytest.raises(CheckpointError, match="no text_projection.weight.*CLIP-L as Pyramid Flow SD3"):
        load.load_clip(open_model(tmp_path / "diffusion_transformer_384p"), lambda: encoders)
    file = tiny_pyramid.network_file(tmp_path / "sd3.safetensors", "sd3")
    with pytest.raises(
        CheckpointError, match="no CLIP-G text encoder inside.*found: t5xxl.*clip_l.*clip_g in its name"
    ):
        load.load_clip(open_model(file), lambda: encoders[:2])


def test_a_file_that_only_has_the_name_of_a_clip(tmp_path, encoders):
    file = tiny_pyramid.network_file(tmp_path / "miniflux.safetensors", "miniflux")
    wrong = tiny.t5_file(tmp_path / "clip_l.safetensors")
    with pytest.raises(CheckpointError, match="clip_l.safetensors has no text_model.*is not CLIP-L"):
        load.load_clip(open_model(file), lambda: [encoders[0], wrong])


@pytest.mark.parametrize("device_likes_it", [False, True])
def test_float16_is_kept_but_never_computed_in(repositories, device_likes_it, monkeypatch, caplog):
    """It overflows in float16, which ComfyUI by itself would use on a device that is fast in it."""
    monkeypatch.setattr(memory, "should_use_fp16", lambda *_, **__: device_likes_it)
    model = load.load_model(open_model(models_in(repositories / "miniflux")[0]), "float16")
    assert model.model.diffusion_model.proj_out.weight.dtype == torch.float16
    assert model.model.get_dtype() in (torch.bfloat16, torch.float32)
    assert "cannot compute in float16" in caplog.text
    caplog.clear()
    load.load_model(open_model(models_in(repositories / "miniflux")[0]), "float8_e4m3fn")
    assert "cannot compute" not in caplog.text


def test_the_repository_itself_is_no_model(repositories):
    with pytest.raises(CheckpointError, match="several models .*_384p, diffusion_transformer_768p.*Choose one"):
        open_checkpoint(repositories / "miniflux")


def test_a_network_without_its_other_parts(repositories, tmp_path):
    alone = shutil.copytree(
        repositories / "miniflux" / "diffusion_transformer_384p", tmp_path / "diffusion_transformer_384p"
    )
    found = open_checkpoint(alone)
    assert found.vae is None and found.text_encoder is None and found.clips == {}
