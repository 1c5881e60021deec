"""Files whose parts contradict each other: the error or notice names them, and nothing is guessed silently."""

from __future__ import annotations

import json

import published_files
import pytest
import sparse
import tiny
import tiny_cogvideox
import tiny_mochi
import torch
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from atelier.models.weights.errors import CheckpointError
from safetensors.torch import save_file

FOLDERS = {
    "LTX Video": tiny.folder,
    "CogVideoX": lambda path: tiny_cogvideox.folder(path, "5B"),
    "Mochi 1": tiny_mochi.folder,
}
LATENT = (1, 16, 3, 8, 8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("diffusers")
    return {family: write(base / family.replace(" ", "-")) for family, write in FOLDERS.items()}


@pytest.mark.parametrize("family", list(FOLDERS))
@pytest.mark.parametrize("other", list(FOLDERS))
def test_a_scheduler_config_of_another_model(folders, family, other):
    """It is ignored, and a note says so. The model's own causes no note."""
    path = folders[family] / "scheduler" / "scheduler_config.json"
    own, foreign = path.read_text(), (folders[other] / "scheduler" / "scheduler_config.json").read_text()
    expected = open_model(folders[family])
    try:
        path.write_text(foreign)
        found = open_model(folders[family])
    finally:
        path.write_text(own)
    said = [note for note in found.variant.notes if "scheduler_config.json is another model's" in note]
    assert len(said) == (family != other)
    if family != other:
        name = json.loads(foreign)["_class_name"]
        assert name in said[0] or "invert_sigmas" in said[0]
    ours, theirs = (one.family.schedule(one.variant, 8, LATENT) for one in (found, expected))
    assert torch.isfinite(ours).all() and (family == "LTX Video" or torch.equal(ours, theirs))


def test_a_metadata_config_that_contradicts_the_weights(tmp_path):
    small, large = (published_files.facts(name) for name in ("ltx-2b-0.9.5", "ltx-13b-0.9.7-dev"))
    weights = published_files.stored(published_files.ltx_network(2048, 28), "BF16")
    for told in (small, large):
        config = {"config": json.dumps(told["metadata_config"])}
        path = sparse.safetensors_file(tmp_path / told["file"], weights, config)
        if told is small:
            assert open_model(path).variant.name == "LTX Video 2B 0.9.5"
            continue
        with pytest.raises(CheckpointError, match="metadata of ltxv-13b.*contradicts its weights: .* is 128 .* 64 "):
            open_model(path)


@pytest.fixture(scope="module")
def vaes(tmp_path_factory):
    """LTX's three autoencoders as separate files; the one that fits the fewest models comes first."""
    base = tmp_path_factory.mktemp("vae")
    paths = {version: base / f"ltx_vae_{version}.safetensors" for version in ("0.9.5", "0.9.0", "0.9.1")}
    for version, path in paths.items():
        save_file(tiny.core_autoencoder(version).state_dict(), path)
    return paths


@pytest.mark.parametrize("version", ["0.9.0", "0.9.1", "0.9.5"])
def test_of_several_vaes_the_models_own_version_is_taken_and_named(tmp_path, vaes, version):
    model = open_model(tiny.single_file(tmp_path / f"ltx-video-2b-v{version}.safetensors", None))
    told = []
    vae = load.load_vae(model, lambda: list(vaes.values()), tell=told.append)
    assert told == [f"the VAE ltx_vae_{version}.safetensors"]
    expected = tiny.core_autoencoder(version).state_dict()["decoder.conv_in.conv.weight"]
    ours = vae.first_stage_model.autoencoder.vae.decoder.conv_in.conv.weight
    assert torch.equal(ours, expected)


def test_a_vae_whose_latents_are_others_is_refused_by_name(tmp_path, vaes):
    model = open_model(tiny.single_file(tmp_path / "ltx-video-2b-v0.9.5.safetensors", None))
    with pytest.raises(CheckpointError, match=r"ltx_vae_0.9.0.* is the VAE of LTX Video 0.9.0, but LTX Video 2B 0.9.5"):
        load.load_vae(model, chosen=vaes["0.9.0"])
    with pytest.raises(CheckpointError, match=r"is a LTX Video VAE of 0.9.5 \(looked at: ltx_vae_0.9.0"):
        load.load_vae(model, lambda: [vaes["0.9.0"], vaes["0.9.1"]])
    unknown = open_model(tiny.single_file(tmp_path / "some_model.safetensors", None))
    told = []
    assert load.load_vae(unknown, lambda: [vaes["0.9.0"]], tell=told.append) and told
    assert load.load_vae(open_model(tiny.single_file(tmp_path / "ltx-v0.9.1.safetensors", None)), chosen=vaes["0.9.0"])


def test_a_file_that_holds_another_versions_vae(tmp_path):
    told = published_files.facts("ltx-2b-0.9.5")
    network = published_files.stored(published_files.ltx_network(2048, 28), "BF16", published_files.CORE)
    vae = published_files.stored(published_files.ltx_vae("0.9.0"), "BF16", "vae.")
    config = {"config": json.dumps(told["metadata_config"])}
    model = open_model(sparse.safetensors_file(tmp_path / "mixed.safetensors", network | vae, config))
    with pytest.raises(CheckpointError, match="mixed.safetensors has the VAE of LTX Video 0.9.0.* latents of 0.9.5"):
        load.load_vae(model)


def test_a_folder_whose_vae_and_schedule_are_of_two_versions(tmp_path):
    path = published_files.write(tmp_path, "ltx-2b-0.9.5", "folder", "LTX-Video-0.9.5")
    assert open_model(path).variant.notes == ()
    older = published_files.write(tmp_path, "ltx-2b-0.9.0", "folder", "LTX-Video")
    (path / "vae").rename(tmp_path / "kept")
    (older / "vae").rename(path / "vae")
    assert any("its VAE is 0.9.0's, its scheduler_config.json" in note for note in open_model(path).variant.notes)
