"""Mochi 1's parts and files; whole clips are compared with diffusers' pipeline in test_parity.py."""

from __future__ import annotations

import pytest
import reference
import tiny
import tiny_mochi
import torch
from atelier.editing.decoding import scenes_apart
from atelier.models.bridge.sampling import sample, warnings, with_options
from atelier.models.bridge.text_encoder import encode_text
from atelier.models.bridge.vae import decode
from atelier.models.families.mochi import autoencoder, layouts
from atelier.models.families.mochi import family as mochi
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from atelier.models.timeline import placing
from atelier.models.weights.checkpoint import Component, open_checkpoint, open_component
from atelier.models.weights.errors import CheckpointError
from benchmarks.layout import genmo_network
from diffusers import AutoencoderKLMochi, MochiTransformer3DModel
from diffusers.loaders.single_file_utils import convert_mochi_transformer_checkpoint_to_diffusers
from reference import PROMPT, relative


def shapes(state: dict) -> dict:
    return {key: tuple(weight.shape) for key, weight in state.items()}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return reference.Mochi("preview", tmp_path_factory.mktemp("diffusers"))


@pytest.mark.parametrize("text", ["", PROMPT, "a " * 500])
def test_text_equals_the_pipelines(case, text):
    ((embeds, options),) = case.folder.conditioning(text)
    theirs, mask, _, _ = case.pipe.encode_prompt(text, do_classifier_free_guidance=False)
    assert torch.equal(options["attention_mask"].bool(), mask)
    assert relative(embeds, theirs) <= 1e-5


def test_a_text_without_a_mask_of_its_padding_is_said(case, caplog):
    """CLIPLoader's type 'sd3' gives no mask, so the padding is read as words. Only the notice shows that."""
    conditioning = case.folder.conditioning(PROMPT)
    assert warnings(case.folder.model, case.empty(), conditioning) == []
    unmasked = with_options(conditioning, {"attention_mask": None})
    (warning,) = warnings(case.folder.model, case.empty(), unmasked)
    assert "without a mask of its padding" in warning and "CLIPLoader" in warning
    sample(case.folder.model, case.empty(), unmasked, conditioning, seed=1, sigmas=torch.tensor([1.0, 0.0]), guidance=1)
    assert "Atelier: the prompt came without a mask" in caplog.text  # with any sampler


@pytest.mark.parametrize("steps", [1, 2, 5, 64])
def test_schedule_ends_at_zero_and_falls(steps):
    sigmas = mochi.schedule(None, steps, ())
    assert len(sigmas) == steps + 1 and sigmas[0] == 1 and sigmas[-1] == pytest.approx(0, abs=1e-6)
    assert (sigmas.diff() < 0).all()


def test_known_first_frame_is_kept(case):
    """Mochi was trained on text alone, so ComfyUI re-noises known frames to each step's level."""
    known = case.folder.vae.encode(case.images(1))
    made = case.folder.sampled(placing.place(case.empty(), known, start=0, strength=1.0), seed=8)
    assert torch.allclose(made[:, :, :1], known, atol=1e-5)
    assert not torch.allclose(made[:, :, 1:], case.folder.sampled(case.empty(), seed=8)[:, :, 1:], atol=1e-3)


def test_encoding_equals_the_reference(case):
    clip = case.images(13)
    vae = case.pipe.vae
    mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
    theirs = (vae.encode(clip.movedim(-1, 0)[None] * 2 - 1).latent_dist.mode() - mean) / std
    assert relative(case.folder.vae.encode(clip), theirs) <= 1e-5


def test_published_network_maps_key_for_key():
    original = genmo_network()
    config = mochi._network_config(shapes(original))
    with torch.device("meta"):
        expected = MochiTransformer3DModel(**config).state_dict()
    assert config["num_layers"] == 48
    assert shapes(layouts.network_state(dict(original))) == shapes(expected)


def test_original_network_maps_as_diffusers_maps_it():
    """Value for value, with every matrix shrunk to a few rows."""
    generator = torch.Generator().manual_seed(0)
    original = {key: torch.randn(12, 2, generator=generator) for key in genmo_network()}
    theirs = convert_mochi_transformer_checkpoint_to_diffusers(dict(original))
    ours = layouts.network_state(dict(original))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_published_autoencoder_maps_key_for_key():
    original = tiny_mochi.core_autoencoder()
    mapped = layouts.vae_state(original)
    with torch.device("meta"):
        expected = AutoencoderKLMochi().state_dict()
        read = AutoencoderKLMochi(**autoencoder.vae_config(shapes(mapped))).state_dict()
    assert shapes(mapped) == shapes(expected) == shapes(read)


@pytest.mark.parametrize("prefix", [tiny_mochi.PREFIX, ""], ids=["checkpoint", "diffusion model"])
def test_original_file_gives_the_same_network(tmp_path, prefix):
    path = tiny_mochi.network_file(tmp_path / "mochi.safetensors", prefix)
    written = path.read_bytes()
    state, expected = (
        load.load_model(open_model(path)).model.diffusion_model.state_dict(),
        tiny_mochi.network().state_dict(),
    )
    assert state.keys() == expected.keys() and all(torch.equal(state[key], expected[key]) for key in state)
    assert path.read_bytes() == written  # weights are swapped in memory


@pytest.mark.parametrize("padding", [0, 3])
def test_text_behind_the_prompt_changes_nothing(case, padding):
    network, generator = case.folder.model.model.diffusion_model, torch.Generator().manual_seed(4)
    x, text = torch.randn(2, 12, 2, 4, 4, generator=generator), torch.randn(2, 8, tiny.TEXT_WIDTH, generator=generator)
    mask = (torch.arange(8) < torch.tensor([[0], [8 - padding]])).long()
    time = torch.full((2,), 500.0)
    whole = -case.pipe.transformer(x, text, 1000 - time, mask.bool(), return_dict=False)[0]
    assert relative(network(x, time, text, attention_mask=mask), whole) <= 1e-5
    assert torch.isfinite(network(x, time, text, attention_mask=torch.zeros_like(mask))).all()


def test_float8_file_computes_wider(tmp_path):
    path = tiny_mochi.network_file(tmp_path / "mochi_fp8.safetensors", dtype=torch.float8_e4m3fn)
    network = load.load_model(open_model(path), "float8_e4m3fn").model.diffusion_model
    assert network.transformer_blocks[0].ff.net[0].proj.weight.dtype == torch.float8_e4m3fn
    x, text = torch.randn(1, 12, 2, 4, 4), torch.randn(1, 8, tiny.TEXT_WIDTH)
    whole = load.load_model(open_model(tiny_mochi.network_file(tmp_path / "mochi.safetensors"))).model.diffusion_model
    assert 0 < relative(network(x, torch.tensor([500.0]), text), whole(x, torch.tensor([500.0]), text)) < 0.2


def test_autoencoder_from_its_two_original_files(tmp_path):
    model = tiny_mochi.network_file(tmp_path / "mochi.safetensors")
    encoder, decoder = tiny_mochi.halves(tmp_path / "vae")
    core, _ = tiny_mochi.core_halves()
    # One frame: ComfyUI's own encoder attends to later frames, and its decoder begins a clip differently.
    clip = torch.rand(1, 48, 64, 3, generator=torch.Generator().manual_seed(3))
    for chosen in (encoder, decoder):
        vae = load.load_vae(open_model(model), chosen=chosen)
        statistics = vae.first_stage_model.autoencoder._statistics(clip)
        theirs = (core(clip.movedim(-1, 0)[None] * 2 - 1).mode() - statistics[0]) / statistics[1]
        assert relative(vae.encode(clip), theirs) <= 1e-5
        assert decode(vae, theirs).shape == clip.shape
    encoder.unlink()
    vae = load.load_vae(open_model(model), lambda: [decoder])
    with pytest.raises(CheckpointError, match="only the decoder"):
        vae.encode(clip)
    latents = torch.randn(1, 12, 3, 6, 8, generator=torch.Generator().manual_seed(4))
    cut = torch.cat(list(scenes_apart(vae, latents, [1])))
    assert torch.equal(cut[1:], decode(vae, latents[:, :, [1, 1, 2]])[1:]), "no picture before a later scene"


def test_file_that_holds_everything(tmp_path):
    """As ComfyUI's repackaged checkpoint: network, autoencoder and text encoder under prefixes."""
    path = tiny_mochi.everything(tmp_path / "mochi_preview.safetensors")
    assert load.load_vae(open_model(path)).latent_channels == 12
    ((embeds, _),), _ = encode_text(load.load_clip(open_model(path)), PROMPT)
    assert embeds.shape == (1, 256, tiny.TEXT_WIDTH)
    assert load.load_model(open_model(path)).model.variant.name == "Mochi 1"


def test_other_autoencoders_are_passed_over(tmp_path):
    path = tiny.single_file(tmp_path / "ltx.safetensors")
    assert autoencoder.build_autoencoder(open_component(path, "VAE", ("vae.", "")), None) is None
    assert mochi.recognise(open_checkpoint(path)) is None
    assert autoencoder.build_autoencoder(Component("VAE", (), {"blocks.0.0.weight": (1,)}), None) is None


def test_latent_that_splits_a_token_is_refused(case):
    odd = {"samples": torch.zeros(1, 12, 2, 5, 8)}
    with pytest.raises(ValueError, match="multiples of 16"):
        case.folder.sampled(odd, seed=0)
