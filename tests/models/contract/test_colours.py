"""Preview colours of families without published ones: fitted with the autoencoder, and close to decoded clips."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import tiny_cogvideox
import tiny_pyramid
import torch
from atelier.models.bridge.pairing import pair
from atelier.models.bridge.vae import encode, vae_grid
from atelier.models.contract.colours import CHARTS, Colours, as_small, false_colours, fitted_colours, moving_leaves
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from atelier.models.weights.checkpoint import open_checkpoint
from pocket.world import draw_scenes, render
from shipped_pocket import CHANNELS, SIDE

POCKET = Path(__file__).parents[3] / "models" / "pocket"


def left_over(colours: Colours, latents: torch.Tensor, clips: torch.Tensor) -> float:
    """The share of the clips' variance that the factors do not explain; latents [N, C, T, h, w], [N, F, H, W, 3]."""
    wanted = torch.stack([as_small(clip, latents.shape[2:]) for clip in clips]) * 2 - 1
    made = latents.movedim(1, -1) @ torch.tensor(colours.factors) + torch.tensor(colours.bias)
    return ((made - wanted).var() / wanted.var()).item()


def test_they_fit_clips_that_the_fit_never_saw():
    """On the trained autoencoder that ships, they are nearly as good as factors fitted to its own kind of clips."""
    vae, rng = load.load_vae(open_model(POCKET)), random.Random(5)
    clips = (render(draw_scenes(6, rng), rng, width=SIDE, height=SIDE) + 1).movedim(1, -1) / 2
    latents = encode(vae, clips)
    made = left_over(fitted_colours(vae.encode, vae_grid(vae)), latents, clips)
    own = open_checkpoint(POCKET).recipe["preview"]
    assert left_over(Colours(**own), latents, clips) < made < 0.15
    assert left_over(false_colours(CHANNELS), latents, clips) > 1


def test_the_charts_are_colourful_and_move():
    clips = torch.stack([moving_leaves(9, 64, 96, seed=number) for number in range(CHARTS)])
    assert clips.shape == (CHARTS, 9, 64, 96, 3) and 0 <= clips.min() and clips.max() <= 1
    assert clips.flatten(0, 3).std(0).min() > 0.2 and clips.diff(dim=1).abs().mean(dim=(1, 2, 3, 4)).min() > 0.001


def test_small_is_the_mean_of_what_a_latent_stands_for():
    clip = torch.arange(9.0)[:, None, None, None].expand(9, 4, 4, 3)
    assert as_small(clip, (3, 2, 2))[:, 0, 0, 0].tolist() == [0.0, 2.5, 6.5]
    assert as_small(clip[:1], (1, 2, 2)).shape == (1, 2, 2, 3)


@pytest.fixture(params=["CogVideoX", "Pyramid Flow"])
def loaded(request, tmp_path):
    """MODEL and VAE of a family without published colours, from the loader."""
    if request.param == "CogVideoX":
        path = tiny_cogvideox.folder(tmp_path / "cogvideox", "5B")
    else:
        path = tiny_pyramid.folder(tmp_path / "pyramid", "miniflux")
    return load.load_model(open_model(path), "float32"), load.load_vae(open_model(path))


def test_they_are_found_when_a_preview_first_asks(loaded, monkeypatch):
    model, vae = loaded
    asked, encode = [], vae.encode
    monkeypatch.setattr(vae, "encode", lambda clip: asked.append(len(clip)) or encode(clip))
    shown = pair(model, vae).model.latent_format
    assert not asked
    factors, bias = shown.latent_rgb_factors, shown.latent_rgb_factors_bias
    assert len(factors) == shown.latent_channels and len(bias) == 3
    once = len(asked)
    assert once > 0 and shown.colours.factors == factors and len(asked) == once
    clip = moving_leaves(vae_grid(vae).frames(3), 128, 128, seed=99)
    latents = encode(clip)
    assert left_over(shown.colours, latents, clip[None]) < left_over(false_colours(16), latents, clip[None])
    factory, arguments = model.cached_patcher_init
    assert factory(*arguments).model.latent_format is shown, "a rebuilt MODEL knows them too"


def test_without_an_encoder_sampling_goes_on_in_false_colours(loaded, monkeypatch, caplog):
    model, vae = loaded

    def encode(_):
        raise ValueError("This VAE has no encoder.")

    monkeypatch.setattr(vae, "encode", encode)
    shown = pair(model, vae).model.latent_format
    assert shown.colours == false_colours(16)
    assert "false colours: This VAE has no encoder." in caplog.text


def test_where_they_are_known_nothing_is_encoded(monkeypatch):
    model, vae = load.load_model(open_model(POCKET), "float32"), load.load_vae(open_model(POCKET))
    monkeypatch.setattr(vae, "encode", None)
    shown = pair(model, vae).model.latent_format
    own = open_checkpoint(POCKET).recipe["preview"]
    assert shown.latent_rgb_factors == own["factors"]
