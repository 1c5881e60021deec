"""LTX Video's parts against those of diffusers' pipelines; whole clips are compared in test_parity.py."""

from __future__ import annotations

import pytest
import reference
import tiny
import torch
from atelier.models.families.ltx_video import family as ltx_video
from atelier.models.weights.checkpoint import open_checkpoint
from reference import PROMPT, relative


@pytest.fixture(scope="module", params=list(tiny.VERSIONS))
def case(request, tmp_path_factory):
    return reference.LTX(request.param, tmp_path_factory.mktemp("diffusers"))


def test_encoding_an_image_equals_the_pipelines(case):
    image, pipe = case.images(1), case.pipe
    ours = case.folder.vae.encode(image)
    theirs = pipe.vae.encode(image.movedim(-1, 1)[:, :, None] * 2 - 1).latent_dist.mode()
    theirs = pipe._normalize_latents(theirs, pipe.vae.latents_mean, pipe.vae.latents_std)
    assert relative(ours, theirs) <= 1e-5


@pytest.mark.parametrize("text", ["", PROMPT, "a " * 500, "🎬 звезда ★ naïve"])
def test_text_equals_the_pipelines(case, text):
    ((embeds, options),) = case.folder.conditioning(text)
    theirs, mask, _, _ = case.pipe.encode_prompt(text, do_classifier_free_guidance=False)
    assert torch.equal(options["attention_mask"].bool(), mask)
    assert relative(embeds, theirs) <= 1e-5


def test_schedule_follows_the_folders_scheduler(tmp_path):
    path = tiny.folder(tmp_path / "ltx")
    variant = ltx_video.recognise(open_checkpoint(path))
    short, long = (ltx_video.schedule(variant, 8, (1, 128, t, 16, 24)) for t in (2, 12))
    assert short.shape == (9,) and short[0] == 1 and short[-1] == 0
    assert short[-2] == pytest.approx(0.1) and long[3] > short[3]
