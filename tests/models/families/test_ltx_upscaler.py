"""LTX Video's latent upscalers against LTXLatentUpsamplePipeline, and the two-stage recipe against the pipelines."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import comfy.model_management
import pytest
import reference
import tiny
import tiny_upscaler
import torch
from atelier.editing import decoding
from atelier.editing.upscaling import upscaled
from atelier.models.bridge.upscaler import with_statistics_of
from atelier.models.contract.schedule import sigmas_for
from atelier.models.loading.identify import open_model
from atelier.models.loading.load import load_vae
from atelier.models.loading.upscaler import load_upscaler
from atelier.models.timeline.keyframes import apart, with_keyframe
from atelier.models.timeline.latent import CUTS, mask_of
from atelier.models.weights.errors import CheckpointError
from atelier.nodes.upscale import UpscaleVideoLatent
from benchmarks.allocated import Allocated
from diffusers import LTXLatentUpsamplePipeline
from reference import FPS, relative
from safetensors.torch import save_file

SIDE = 16384


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return reference.LTX("ltx-13b-0.9.8-distilled", tmp_path_factory.mktemp("distilled"))


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    return reference.LTX("ltx-13b-0.9.7-dev", tmp_path_factory.mktemp("dev"))


def clip(frames: int = 3) -> torch.Tensor:
    return torch.randn(2, 128, frames, 2, 3, generator=torch.Generator().manual_seed(3))


def pipelines(case, kind: str, latents: torch.Tensor, adain: float, tone_map: float) -> torch.Tensor:
    pipe = LTXLatentUpsamplePipeline(vae=case.pipe.vae, latent_upsampler=tiny_upscaler.network(kind))
    settings = dict(adain_factor=adain, tone_map_compression_ratio=tone_map, output_type="latent")
    return pipe(latents=latents, height=64, width=96, **settings).frames


@pytest.mark.parametrize("write", [tiny_upscaler.single_file, tiny_upscaler.folder])
@pytest.mark.parametrize("kind", tiny_upscaler.KINDS)
def test_upscaling_equals_the_pipelines(case, tmp_path, kind, write):
    loaded, latent = load_upscaler(write(tmp_path / "upscaler", kind)), {"samples": clip(), "frame_rate": FPS}
    for adain, tone_map in ((0.0, 0.0), (1.0, 0.0), (0.6, 0.6)):
        made = upscaled(latent, loaded, case.folder.vae, adain, tone_map, SIDE)
        theirs = pipelines(case, kind, latent["samples"], adain, tone_map)
        assert made["samples"].shape == theirs.shape and relative(made["samples"], theirs) <= 1e-6
        temporal = tiny_upscaler.KINDS[kind]["temporal_upsample"]
        assert theirs.shape[2] == (5 if temporal else 3) and made["frame_rate"] == FPS * (1 + temporal)


def test_cores_upscaler_node_and_cores_vae(case, tmp_path):
    """Core's LTXVLatentUpsampler with our model and VAE, and our node with core's VAE."""
    upscaler = load_upscaler(tiny_upscaler.single_file(tmp_path / "up.safetensors", "spatial"))
    comfy.model_management.load_models_gpu([upscaler], memory_required=1.0)
    statistics = case.folder.vae.first_stage_model.per_channel_statistics
    raw = statistics.un_normalize(clip().to(upscaler.load_device, upscaler.model_dtype()))
    cores = statistics.normalize(upscaler.model(raw))
    theirs = pipelines(case, "spatial", clip(), 0.0, 0.0)
    assert relative(cores, theirs) <= 1e-6
    core_vae = SimpleNamespace(first_stage_model=tiny.core_autoencoder("0.9.5"), upscale_ratio=(None, 32, 32))
    made = upscaled({"samples": clip()}, upscaler, core_vae, 0.0, 0.0, SIDE)["samples"]
    assert relative(made, theirs) <= 1e-6


def test_what_the_latent_carries_goes_along(case, tmp_path):
    mask = torch.ones(2, 1, 3, 2, 3)
    mask[:, :, 0], mask[:, :, 2, 0, 0] = 0.0, 0.4
    latent = {"samples": clip(), "noise_mask": mask, CUTS: [1, 2], "frame_rate": 12.0, "batch_index": [4, 5]}
    larger = upscaled(
        latent, load_upscaler(tiny_upscaler.folder(tmp_path / "s", "spatial")), case.folder.vae, 1, 0, SIDE
    )
    assert torch.equal(mask_of(larger)[:, :, :, ::2, 1::2], mask) and larger[CUTS] == [1, 2]
    longer = upscaled(
        latent, load_upscaler(tiny_upscaler.folder(tmp_path / "t", "temporal")), case.folder.vae, 1, 0, SIDE
    )
    assert mask_of(longer)[0, 0, :, 0, 0].tolist() == pytest.approx([0, 1, 1, 0.4, 0.4])
    assert longer[CUTS] == [1, 3] and longer["frame_rate"] == 24.0 and longer["batch_index"] == [4, 5]


def test_keyframes_go_along(case, tmp_path):
    samples = clip(4)[:1]
    latent = {"samples": samples, "frame_rate": 24.0}
    picture = torch.randn(1, 128, 1, 2, 3, generator=torch.Generator().manual_seed(4))
    latent = with_keyframe(latent, latent, picture, 3, start=2, frame=12)
    for kind, frame, size in (("spatial", 12, (4, 6)), ("temporal", 24, (2, 3))):
        upscaler = load_upscaler(tiny_upscaler.folder(tmp_path / kind, kind))
        larger = upscaled(latent, upscaler, case.folder.vae, 1, 0, SIDE)
        without, (beside,) = apart(larger, case.grid)
        assert beside.frame == frame and beside.latents.shape == (1, 128, 1, *size)
        assert torch.equal(without["samples"], larger["samples"])


@pytest.mark.parametrize(
    "kind,latent,largest,words",
    [
        ("temporal", {"samples": clip(1)}, SIDE, "single frame"),
        ("spatial", {"samples": clip()[:, :12]}, SIDE, "12 channels"),
        ("spatial", {"samples": clip()}, 128, "192 pixels"),
        ("spatial", {"samples": clip()[:, :, 0]}, SIDE, "video latent"),
    ],
)
def test_what_cannot_be_upscaled_is_said(case, tmp_path, kind, latent, largest, words):
    upscaler = load_upscaler(tiny_upscaler.single_file(tmp_path / "up.safetensors", kind))
    with pytest.raises(ValueError, match=words):
        upscaled(latent, upscaler, case.folder.vae, 1.0, 0.0, largest)


def test_the_latents_of_older_versions_are_named(tmp_path):
    upscaler = load_upscaler(tiny_upscaler.single_file(tmp_path / "up.safetensors", "spatial"))
    old = load_vae(open_model(tiny.folder(tmp_path / "ltx", "0.9.1")))
    with pytest.raises(ValueError, match="VAE of LTX Video 0.9.5 or later"):
        upscaled({"samples": clip()}, upscaler, old, 1.0, 0.0, SIDE)


def test_other_models_upscalers_are_named(case, tmp_path):
    ltx2 = load_upscaler(tiny_upscaler.single_file(tmp_path / "ltx-2.safetensors", "ltx-2 temporal"))
    with pytest.raises(ValueError, match="reads latents of LTX-2, but the VAE is one of LTX Video"):
        upscaled({"samples": clip()}, ltx2, case.folder.vae, 1.0, 0.0, SIDE)
    save_file({"blocks.0.block.0.conv.weight": torch.zeros(1)}, tmp_path / "hunyuan.safetensors")
    with pytest.raises(CheckpointError, match="not an upscaler of LTX-2 or LTX Video"):
        load_upscaler(tmp_path / "hunyuan.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="no .safetensors"):
        load_upscaler(tmp_path / "empty")
    with pytest.raises(ValueError, match="not one of LTX Video"):
        upscaled({"samples": clip()}, object(), case.folder.vae, 1.0, 0.0, SIDE)


def test_two_stages_of_dev_equal_the_pipelines_in_a_row(dev, tmp_path):
    """A small clip, the upscaler, and the last 4 of 10 steps: Sample Video with 4 steps and denoise 0.4."""
    check_two_stages(dev, tmp_path, 4, 0.4, dict(num_inference_steps=10, denoise_strength=0.4), 0.0)


def test_two_stages_of_distilled_equal_the_pipelines_in_a_row(case, tmp_path):
    """The levels 0.9094, 0.725 and 0.4219: Sample Video with 3 steps and denoise 0.38."""
    levels = [1000.0, 909.4, 725.0, 421.9]
    check_two_stages(case, tmp_path, 3, 0.38, dict(timesteps=levels, denoise_strength=0.999), 0.6)


def test_the_node_gives_what_the_models_authors_publish(case, dev, tmp_path):
    """Tone map, steps and denoise of the second pass, which Sample Video turns into the published levels."""
    upscaler = load_upscaler(tiny_upscaler.single_file(tmp_path / "up.safetensors", "spatial"))
    UpscaleVideoLatent.GET_SCHEMA()
    for each, count, tone_map in ((case, 3, 0.6), (dev, 13, 0.0)):
        latent, vae, model = {"samples": clip(), "frame_rate": 24.0}, each.folder.vae, each.folder.model
        larger, steps, denoise = UpscaleVideoLatent.execute(latent, upscaler, vae, -1.0, -1.0, model).args
        assert torch.equal(larger["samples"], upscaled(latent, upscaler, vae, 1.0, tone_map, SIDE)["samples"])
        inner = model.model
        sigmas = sigmas_for(inner.family, inner.variant, steps, denoise, tuple(larger["samples"].shape))
        assert steps == count and sigmas[:-1].tolist() == pytest.approx(inner.variant.second_pass.sigmas)
        alone = UpscaleVideoLatent.execute(latent, upscaler, vae, 1.0, 0.0).args
        assert "connect the MODEL" in alone[1].message and alone[1] is alone[2]
        with pytest.raises(ValueError, match="A value of -1"):
            UpscaleVideoLatent.execute(latent, upscaler, vae, 1.0, -1.0)


def check_two_stages(case, root, steps: int, denoise: float, theirs: dict, tone_map: float) -> None:
    upscaler = load_upscaler(tiny_upscaler.single_file(root / "up.safetensors", "spatial"))
    small = {"samples": case.made(case.folder, reference.T2V), "frame_rate": float(FPS)}
    larger = upscaled(small, upscaler, case.folder.vae, 1.0, tone_map, SIDE)
    second = replace(case.folder, steps=round(steps / denoise))
    made = second.sampled(larger, seed=5, denoise=denoise)
    first, _ = case.answer(reference.T2V)
    between = pipelines(case, "spatial", first, 1.0, tone_map)
    width, height, _ = case.size
    inputs = case.common() | dict(width=2 * width, height=2 * height, latents=between) | theirs
    answer = case.pipe(
        **inputs,
        **case.texts(),
        generator=torch.Generator().manual_seed(5),
        image_cond_noise_scale=0.0,
        frame_rate=FPS,
        output_type="latent",
    ).frames
    assert made.shape == answer.shape and relative(made, answer) <= 1e-5
    assert relative(made, between) > 0.01


def test_an_upscaled_clip_decodes_in_the_memory_of_a_plain_one(case, tmp_path):
    upscaler = load_upscaler(tiny_upscaler.single_file(tmp_path / "up.safetensors", "spatial"))
    vae = case.folder.vae
    larger = upscaled({"samples": clip(), "frame_rate": FPS}, upscaler, vae, 1.0, 0.6, SIDE)
    plain = {"samples": torch.randn(larger["samples"].shape), "frame_rate": FPS}

    def peak(latent: dict) -> int:
        given = [*vae.first_stage_model.parameters(), *vae.first_stage_model.buffers(), latent["samples"]]
        with Allocated(given) as allocated:
            assert sum(len(frames) for frames in decoding.frames(vae, latent)) > 0
        return allocated.peak

    assert peak(larger) <= peak(plain)


def test_a_channel_without_any_deviation_gets_the_mean():
    source = torch.randn(1, 2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    flat = with_statistics_of(torch.full((1, 2, 5, 8, 8), 0.3), source, 1.0)
    assert relative(flat.mean((2, 3, 4)), source.mean((2, 3, 4))) < 1e-5
