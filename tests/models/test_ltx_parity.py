"""LTX Video against diffusers' pipelines: the same tiny random weights, noise and prompt must give the same clip."""

from __future__ import annotations

import pytest
import reference
import tiny
import torch
from atelier.models import ltx_video
from atelier.models.files import open_checkpoint
from reference import HEIGHT, PROMPT, WIDTH, conditioning, relative


@pytest.fixture(scope="module", params=list(tiny.VERSIONS))
def loaded(request, tmp_path_factory):
    return reference.load(tmp_path_factory.mktemp("diffusers") / "ltx", request.param)


def test_text_to_video(loaded):
    latents, pixels = reference.text_to_video(loaded)
    assert latents <= 1e-5
    assert pixels <= 1e-4


def test_image_to_video(loaded):
    latents, pixels = reference.image_to_video(loaded)
    assert latents <= 1e-5
    assert pixels <= 1e-4


def test_encoding_an_image_equals_the_pipelines(loaded):
    image = torch.rand(1, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(2))
    vae, pipe = loaded.vae, loaded.pipe
    ours = vae.encode(image)
    theirs = pipe.vae.encode(image.movedim(-1, 1)[:, :, None] * 2 - 1).latent_dist.mode()
    theirs = pipe._normalize_latents(theirs, pipe.vae.latents_mean, pipe.vae.latents_std)
    assert relative(ours, theirs) <= 1e-5


@pytest.mark.parametrize("text", ["", PROMPT, "a " * 500, "🎬 звезда ★ naïve"])
def test_text_equals_the_pipelines(loaded, text):
    ((embeds, options),) = conditioning(loaded.clip, text)
    theirs, mask, _, _ = loaded.pipe.encode_prompt(text, do_classifier_free_guidance=False)
    assert torch.equal(options["attention_mask"].bool(), mask)
    assert relative(embeds, theirs) <= 1e-5


def test_schedule_follows_the_folders_scheduler(tmp_path):
    path = tiny.folder(tmp_path / "ltx")
    variant = ltx_video.recognise(open_checkpoint(path))
    short, long = (ltx_video.schedule(variant, 8, (1, 128, t, 16, 24)) for t in (2, 12))
    assert short.shape == (9,) and short[0] == 1 and short[-1] == 0
    assert short[-2] == pytest.approx(0.1) and long[3] > short[3]
