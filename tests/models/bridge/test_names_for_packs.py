"""Names that other packs look for on VAEs and latent formats, and that mean the same on ours."""

from __future__ import annotations

from copy import copy

import comfy.latent_formats
import pytest
import tiny
import tiny_cogvideox
import tiny_mochi
import tiny_pyramid
import torch
from atelier.models.bridge.vae import decode
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from latent_preview import Latent2RGBPreviewer
from reference import relative


def opened(path):
    return open_model(path)


def noisier(vae, timestep: float, scale: float):
    """Set the noise as Lightricks' Set VAE Decoder Noise does: on a copy of the VAE that shares its first stage."""
    vae = copy(vae)
    vae.first_stage_model.decode_timestep = timestep
    vae.first_stage_model.decode_noise_scale = scale
    return vae


def latents(vae) -> torch.Tensor:
    grid = vae.first_stage_model.autoencoder.grid
    return torch.randn(1, grid.channels, 2, 2, 2, generator=torch.Generator().manual_seed(1))


def test_decode_noise_that_a_pack_sets(tmp_path):
    vae = load.load_vae(opened(tiny.folder(tmp_path / "ltx", "0.9.1")))
    samples = latents(vae)
    plain = decode(vae, samples)
    assert relative(decode(noisier(vae, 0.05, 0.025), samples), plain) == 0
    assert relative(decode(noisier(vae, 0.05, 0.5), samples), plain) > 1e-3
    assert relative(decode(noisier(vae, 0.5, 0.025), samples), plain) > 1e-5


@pytest.mark.parametrize("write", [lambda path: tiny.folder(path, "0.9.0"), tiny_mochi.folder])
def test_decode_noise_where_none_is_taken_is_said(tmp_path, caplog, write):
    vae = load.load_vae(opened(write(tmp_path / "model")))
    samples = latents(vae)
    plain = decode(vae, samples)
    assert relative(decode(noisier(vae, 0.5, 0.5), samples), plain) == 0
    assert sum("decodes without noise" in record.getMessage() for record in caplog.records) == 2


def test_statistics_of_ltx_latents_are_cores(tmp_path):
    vae = load.load_vae(opened(tiny.single_file(tmp_path / "ltx.safetensors"))).first_stage_model
    core, samples = tiny.core_autoencoder("0.9.1").per_channel_statistics, torch.randn(1, 128, 2, 3, 4)
    for name in ("normalize", "un_normalize"):
        assert relative(getattr(vae.per_channel_statistics, name)(samples), getattr(core, name)(samples)) <= 1e-6
    for name in ("mean-of-means", "std-of-means"):
        assert torch.equal(vae.per_channel_statistics.get_buffer(name), core.get_buffer(name))


def test_other_vaes_have_no_such_statistics(tmp_path):
    assert not hasattr(
        load.load_vae(opened(tiny_mochi.folder(tmp_path / "m"))).first_stage_model, "per_channel_statistics"
    )


LATENTS = {
    "LTXV": lambda path: tiny.folder(path),
    "Mochi": lambda path: tiny_mochi.folder(path),
    "CogVideoX": lambda path: tiny_cogvideox.folder(path, "2B"),
    "PyramidFlow": lambda path: tiny_pyramid.folder(path, "sd3"),
}


@pytest.mark.parametrize("name", LATENTS)
def test_latents_say_which_models_they_are_and_show_every_frame(tmp_path, name):
    shown = load.load_model(opened(LATENTS[name](tmp_path / "model"))).model.latent_format
    assert type(shown).__name__ == name or type(shown).__name__.startswith("Pyramid") and name == "PyramidFlow"
    clip = torch.randn(1, shown.latent_channels, 3, 2, 2)
    assert shown.latent_rgb_factors_reshape(clip).shape == clip.shape
    previewer = Latent2RGBPreviewer(
        shown.latent_rgb_factors, shown.latent_rgb_factors_bias, shown.latent_rgb_factors_reshape
    )
    first = previewer.decode_latent_to_preview(clip).tobytes()
    shown.preview_frame = 2
    second = previewer.decode_latent_to_preview(clip)
    assert first == previewer.decode_latent_to_preview(clip.flip(2)).tobytes() != second.tobytes()
    assert comfy.latent_formats.LatentFormat in type(shown).__mro__
