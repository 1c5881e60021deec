"""LTX Video against diffusers' pipelines: the same tiny random weights, noise and prompt must give the same clip."""

from __future__ import annotations

import pytest
import tiny
import torch
from atelier.models import bridge, checkpoint, knowns, ltx_video
from atelier.models.files import open_checkpoint
from diffusers import LTXImageToVideoPipeline

WIDTH, HEIGHT, FRAMES, STEPS, GUIDANCE, FPS = 96, 64, 17, 6, 3.0, 24
PROMPT, NEGATIVE = "a red circle moving left", "blurry"


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


@pytest.fixture(scope="module", params=["0.9.0", "0.9.1", "0.9.5"])
def loaded(request, tmp_path_factory):
    """A diffusers folder of one VAE generation, loaded by us and as the pipeline it was saved from."""
    path = tiny.folder(tmp_path_factory.mktemp("diffusers") / "ltx", request.param)
    pipe = tiny.pipeline(request.param)
    pipe.set_progress_bar_config(disable=True)
    return checkpoint.load_model(path), checkpoint.load_clip(path), checkpoint.load_vae(path), pipe


def conditioning(clip, text):
    encoded, _ = bridge.encode_text(clip, text)
    return bridge.with_frame_rate(encoded, {"frame_rate": FPS})


def sampled(model, clip, latent, seed):
    variant = model.model.variant
    sigmas = model.model.family.schedule(variant, STEPS, tuple(latent["samples"].shape))
    texts = conditioning(clip, PROMPT), conditioning(clip, NEGATIVE)
    return bridge.sample(model, latent, *texts, seed=seed, sigmas=sigmas, guidance=GUIDANCE)


def reference(pipe, clip, noise, **kwargs):
    """The pipeline's latents and frames for our noise. Text comes from us: its own parity is tested below."""
    texts = {}
    for name, text in (("prompt", PROMPT), ("negative_prompt", NEGATIVE)):
        ((embeds, options),) = conditioning(clip, text)
        texts |= {f"{name}_embeds": embeds, f"{name}_attention_mask": options["attention_mask"].bool()}
    common = dict(
        texts,
        height=HEIGHT,
        width=WIDTH,
        num_frames=FRAMES,
        frame_rate=FPS,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        decode_timestep=ltx_video.DECODE_TIMESTEP,
        decode_noise_scale=ltx_video.DECODE_NOISE,
        **kwargs,
    )
    tokens = pipe._pack_latents(noise)
    latents = pipe(**common, latents=tokens.clone(), output_type="latent").frames
    generator = torch.Generator().manual_seed(ltx_video.DECODE_SEED)
    pixels = pipe(**common, latents=tokens.clone(), generator=generator, output_type="pt").frames
    return pipe._unpack_latents(latents, *noise.shape[2:]), pixels[0].movedim(1, -1)


def test_text_to_video(loaded):
    model, clip, vae, pipe = loaded
    latent = bridge.empty_latent(model.model.variant.grid.latent_shape(WIDTH, HEIGHT, FRAMES), FPS)
    made = sampled(model, clip, latent, seed=7)
    noise = torch.randn(latent["samples"].shape, generator=torch.manual_seed(7))
    latents, pixels = reference(pipe, clip, noise)
    assert relative(made["samples"], latents) <= 1e-5
    assert relative(bridge.decode(vae, made["samples"]), pixels) <= 1e-4


def test_image_to_video(loaded):
    model, clip, vae, pipe = loaded
    image = torch.rand(1, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(1))
    latent = bridge.empty_latent(model.model.variant.grid.latent_shape(WIDTH, HEIGHT, FRAMES), FPS)
    latent = knowns.place(latent, vae.encode(image), start=0, strength=1.0)
    made = sampled(model, clip, latent, seed=8)
    noise = torch.randn(latent["samples"].shape, generator=torch.manual_seed(8))
    noise[:, :, :1] = latent["samples"][:, :, :1]  # the pipeline is given its starting latents, image included
    image_pipe = LTXImageToVideoPipeline(**pipe.components)
    image_pipe.set_progress_bar_config(disable=True)
    latents, pixels = reference(image_pipe, clip, noise, image=image.movedim(-1, 1))
    assert relative(made["samples"], latents) <= 1e-5
    assert relative(bridge.decode(vae, made["samples"]), pixels) <= 1e-4


def test_encoding_an_image_equals_the_pipelines(loaded):
    _, _, vae, pipe = loaded
    image = torch.rand(1, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(2))
    ours = vae.encode(image)
    theirs = pipe.vae.encode(image.movedim(-1, 1)[:, :, None] * 2 - 1).latent_dist.mode()
    theirs = pipe._normalize_latents(theirs, pipe.vae.latents_mean, pipe.vae.latents_std)
    assert relative(ours, theirs) <= 1e-5


@pytest.mark.parametrize("text", ["", PROMPT, "a " * 500, "🎬 звезда ★ naïve"])
def test_text_equals_the_pipelines(loaded, text):
    _, clip, _, pipe = loaded
    ((embeds, options),) = conditioning(clip, text)
    theirs, mask, _, _ = pipe.encode_prompt(text, do_classifier_free_guidance=False)
    assert torch.equal(options["attention_mask"].bool(), mask)
    assert relative(embeds, theirs) <= 1e-5


def test_schedule_follows_the_folders_scheduler(tmp_path):
    path = tiny.folder(tmp_path / "ltx")
    variant = ltx_video.recognise(open_checkpoint(path))
    short, long = (ltx_video.schedule(variant, 8, (1, 128, t, 16, 24)) for t in (2, 12))
    assert short.shape == (9,) and short[0] == 1 and short[-1] == 0
    assert short[-2] == pytest.approx(0.1) and long[3] > short[3]
