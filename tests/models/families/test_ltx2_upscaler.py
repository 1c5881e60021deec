"""LTX-2's latent upscalers against LTX2LatentUpsamplePipeline, and its second stage against LTX2Pipeline."""

from __future__ import annotations

from dataclasses import replace

import case_ltx2
import pytest
import tiny_ltx2
import tiny_upscaler
import torch
from atelier.editing.upscaling import upscaled
from atelier.models.bridge.sampling import sample
from atelier.models.contract.schedule import sigmas_for
from atelier.models.families.ltx2 import family as ltx2
from atelier.models.loading.upscaler import load_upscaler
from atelier.models.timeline.latent import frame_rate_of, mask_of, sound_mask_of, sound_of, video_of, with_mask
from case_ltx2 import FPS, relative
from comfy.nested_tensor import NestedTensor
from diffusers import LTX2LatentUpsamplePipeline, LTX2Pipeline

SIDE = 16384


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> case_ltx2.Made:
    return case_ltx2.made("2.3", tmp_path_factory.mktemp("ltx2"))


def clip(frames: int = 3, seed: int = 3) -> dict:
    generator = torch.Generator().manual_seed(seed)
    video = torch.randn(1, 128, frames, 3, 2, generator=generator)
    sound = torch.randn(1, 8, round((8 * frames - 7) / FPS * 25), 16, generator=generator)
    return {"samples": NestedTensor([video, sound]), "frame_rate": FPS}


def pipelines(made, kind: str, video: torch.Tensor, adain: float = 0.0, tone_map: float = 0.0) -> torch.Tensor:
    """The pipeline takes and gives raw latents."""
    mean, std, *_ = made.statistics()
    pipe = LTX2LatentUpsamplePipeline(vae=made.pipe.vae, latent_upsampler=tiny_upscaler.network(kind))
    settings = dict(adain_factor=adain, tone_map_compression_ratio=tone_map, output_type="latent", return_dict=False)
    (raw,) = pipe(latents=video, latents_normalized=True, height=96, width=64, **settings)
    return (raw - mean) / std


@pytest.mark.parametrize("write", [tiny_upscaler.single_file, tiny_upscaler.folder])
@pytest.mark.parametrize("kind", tiny_upscaler.OF_LTX2)
def test_upscaling_equals_the_pipelines(made, tmp_path, kind, write):
    loaded, latent = load_upscaler(write(tmp_path / "upscaler.safetensors", kind)), clip()
    video, sound = latent["samples"].unbind()
    for adain, tone_map in ((0.0, 0.0), (0.6, 0.6)):
        larger = upscaled(latent, loaded, made.vae, adain, tone_map, SIDE)
        theirs = pipelines(made, kind, video, adain, tone_map)
        size = {"ltx-2 x1.5": (3, 5, 3), "ltx-2 temporal": (5, 3, 2)}.get(kind, (3, 6, 4))
        assert theirs.shape[2:] == size and relative(video_of(larger["samples"]), theirs) <= 1e-6
        longer = kind == "ltx-2 temporal"
        assert frame_rate_of(larger) == FPS * (1 + longer)
        # 33 frames at 48 are half a frame shorter than 17 at 24, and so is their sound.
        assert torch.equal(sound_of(larger["samples"]), sound[:, :, : 17 if longer else 18])


def test_masks_of_both_streams_go_along(made, tmp_path):
    latent = clip()
    holes = torch.ones(1, 1, 3, 3, 2)
    holes[:, :, 0], holes[:, :, 2, 2, 1] = 0.0, 0.4
    silent = sound_mask_of(latent)
    silent[:, :, :7] = 0
    latent = with_mask(latent, holes, silent)
    scaled, timed = (load_upscaler(tiny_upscaler.folder(tmp_path / k, f"ltx-2 {k}")) for k in ("x1.5", "temporal"))
    larger = upscaled(latent, scaled, made.vae, 0, 0, SIDE)
    assert mask_of(larger).shape == (1, 1, 3, 5, 3) and not mask_of(larger)[:, :, 0].any()
    assert mask_of(larger)[0, 0, 2, -1].tolist() == pytest.approx([1, 1, 0.4])
    assert torch.equal(sound_mask_of(larger), silent)
    longer = upscaled(latent, timed, made.vae, 0, 0, SIDE)
    assert mask_of(longer)[0, 0, :, 2, 1].tolist() == pytest.approx([0, 1, 1, 0.4, 0.4])
    assert torch.equal(sound_mask_of(longer), silent[:, :, :17])


def test_the_second_stage_equals_the_pipelines(made, tmp_path):
    """A small clip, the upscaler, and the levels 0.909375, 0.725 and 0.421875 over both streams, without guidance."""
    loaded = load_upscaler(tiny_upscaler.single_file(tmp_path / "up.safetensors", "ltx-2 x2"))
    small = {**made.shot(), "samples": NestedTensor(list(made.sampled(made.shot())))}
    larger = upscaled(small, loaded, made.vae, 0.0, 0.0, SIDE)
    between = pipelines(made, "ltx-2 x2", video_of(small["samples"]))
    sigmas = torch.tensor([*made.opened.variant.second_pass.sigmas, 0.0])
    positive = made.conditioning(tiny_ltx2.PROMPT, larger)
    result = sample(made.model, larger, positive, positive, seed=7, sigmas=sigmas, guidance=1.0)
    generator = torch.manual_seed(7)
    start = [
        sigmas[0] * torch.randn(stream.shape, generator=generator) + (1 - sigmas[0]) * stream
        for stream in (between, sound_of(small["samples"]))
    ]
    theirs = made.reference(LTX2Pipeline, *start, sigmas=sigmas, guidance_scale=1.0, audio_guidance_scale=1.0)
    pairs = list(zip(result["samples"].unbind(), theirs, strict=True))
    assert [relative(*pair) < 1e-5 for pair in pairs] == [True, True]
    assert relative(pairs[0][0], between) > 0.01


def test_three_steps_of_a_distilled_model_are_the_second_stage(made):
    """Sample Video with 3 steps and denoise 0.38."""
    variant = replace(made.opened.variant, scheduler={"sigmas": ltx2.DISTILLED_SIGMAS})
    sigmas = sigmas_for(made.opened.family, variant, 3, 0.38, (1, 128, 3, 6, 4))
    assert sigmas.tolist() == pytest.approx([0.909375, 0.725, 0.421875, 0.0])
