"""IC-LoRA control of LTX Video: a reference clip beside the whole shot, against core's LTXV on the same weights."""

from __future__ import annotations

from types import SimpleNamespace

import comfy.samplers
import pytest
import tiny
import torch
from atelier.models.bridge.control import control, control_notes, reference_scale
from atelier.models.bridge.sampling import sample, warnings, with_guides
from atelier.models.bridge.video_model import GUIDES, IN_CONTEXT
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from benchmarks import step
from comfy import sample as comfy_sample
from comfy_extras.nodes_lt import LTXVAddGuide, LTXVCropGuides
from reference import relative

SIZES = {"num_layers": 2, "num_attention_heads": 4, "cross_attention_dim": 256, "causal_temporal_positioning": True}
SHAPE = (1, 128, 4, 2, 4)
"""25 frames of 128 x 64 pixels."""
SIGMAS = torch.tensor([1.0, 0.7, 0.0])


@pytest.fixture(scope="module")
def models():
    """Our MODEL and core's, of the same weights."""
    with pytest.MonkeyPatch.context() as small:
        for name, value in SIZES.items():
            small.setitem(step.NETWORK, name, value)
        own = {name: value for name, value in step.NETWORK.items() if name != "causal_temporal_positioning"}
        config = {"_class_name": "LTXVideoTransformer3DModel", **own}
        ours, state = step.our_model(step.Subject("", "", config, None, file="ltxv-2b-0.9.5"))
        yield ours, step.core_ltx(state)


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return load.load_vae(open_model(tiny.folder(tmp_path_factory.mktemp("control") / "ltx", "0.9.5")))


def texts() -> list[list]:
    generator, mask = torch.Generator().manual_seed(2), (torch.arange(16) < 9).long()[None]
    shape = (1, 16, step.TEXT_WIDTH)
    return [[[torch.randn(shape, generator=generator), {"attention_mask": mask, "frame_rate": 24.0}]] for _ in range(2)]


def images(count: int, width: int = 128, height: int = 64) -> torch.Tensor:
    pixels = torch.randint(256, (count, height, width, 3), generator=torch.Generator().manual_seed(3))
    return pixels.float() / 255


def empty() -> dict:
    return {"samples": torch.zeros(SHAPE), "frame_rate": 24.0}


def sampled(model, positive, negative, latent, mask=None) -> torch.Tensor:
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    lacking = latent.shape[2] - noise.shape[2]
    noise = torch.cat([noise, torch.zeros_like(latent[:, :, :lacking])], dim=2)
    euler = comfy.samplers.sampler_object("euler")
    inputs = dict(noise_mask=mask, disable_pbar=True, seed=5)
    return comfy_sample.sample_custom(model, noise, 3.0, euler, SIGMAS, positive, negative, latent, **inputs)


def test_a_reference_over_the_whole_shot_is_what_cores_ltx_reads(models, vae):
    ours, core = models
    entry = control(vae, images(25), empty())
    (guide,) = entry[GUIDES]
    made = sampled(ours, *(with_guides(text, entry) for text in texts()), empty()["samples"])
    positive, negative = texts()
    mask = torch.ones(1, 1, *SHAPE[2:])
    scales = (8, 32, 32)
    given = LTXVAddGuide.append_keyframe(positive, negative, 0, empty()["samples"], mask, guide.latents, 1.0, scales)
    positive, negative, latent, mask = given
    theirs = sampled(core, positive, negative, latent, mask)
    theirs = LTXVCropGuides.execute(positive, negative, {"samples": theirs, "noise_mask": mask}).result[2]["samples"]
    assert made.shape == theirs.shape == SHAPE and relative(made, theirs) <= 1e-5
    assert relative(made, sampled(ours, *texts(), empty()["samples"])) > 1e-3


@pytest.mark.skipif(not hasattr(LTXVAddGuide, "dilate_latent"), reason="ComfyUI 0.33 and later have smaller references")
def test_a_smaller_reference_is_what_newer_cores_ltx_reads(models, vae):
    """Core's LTXVAddGuide with the parameters that it reads in an IC-LoRA's metadata, on the same weights."""
    ours, core = models
    guided = ours.clone()
    guided.set_attachments(IN_CONTEXT, 2)
    entry = control(vae, images(25, 64, 32), empty(), scale=reference_scale(guided))
    made = sampled(guided, *(with_guides(text, entry) for text in texts()), empty()["samples"])
    clip = SimpleNamespace(encode=lambda _: entry[GUIDES][0].latents, downscale_index_formula=(8, 32, 32))
    scale = {"reference_downscale_factor": 2}
    given = LTXVAddGuide.execute(*texts(), clip, empty(), images(25, 64, 32), 0, 1.0, iclora_parameters=scale).result
    theirs = sampled(core, *given[:2], given[2]["samples"], given[2]["noise_mask"])
    theirs = LTXVCropGuides.execute(*given[:2], {**given[2], "samples": theirs}).result[2]["samples"]
    assert made.shape == theirs.shape == SHAPE and relative(made, theirs) <= 1e-4
    assert relative(made, sampled(ours, *texts(), empty()["samples"])) > 1e-3
    ours_with_theirs = sampled(ours, *given[:2], given[2]["samples"], given[2]["noise_mask"])[:, :, : SHAPE[2]]
    assert relative(ours_with_theirs, theirs) <= 1e-4


def test_a_smaller_reference(models, vae):
    """As an IC-LoRA with a scale in its metadata asks for: every second token of each side is read."""
    model = models[0].clone()
    model.set_attachments(IN_CONTEXT, 2)
    entry = control(vae, images(25, 64, 32), empty(), scale=reference_scale(model))
    assert entry[GUIDES][0].latents.shape[3:] == (1, 2)
    positive, negative = (with_guides(text, entry) for text in texts())
    assert warnings(model, empty(), positive) == []
    made = sample(model, empty(), positive, negative, seed=1, sigmas=SIGMAS, guidance=3.0)["samples"]
    assert made.shape == SHAPE and made.isfinite().all()
    large = control(vae, images(25), empty())
    with pytest.raises(ValueError, match="2 times smaller than the shot"):
        sample(model, empty(), *(with_guides(text, large) for text in texts()), seed=1, sigmas=SIGMAS)
    with pytest.raises(ValueError, match="multiples of 96 pixels"):
        control(vae, images(25), empty(), scale=3)


def test_what_is_missing_is_said(models, vae):
    with pytest.raises(ValueError, match="ic-lora-depth-control"):
        reference_scale(models[0])
    entry = control(vae, images(9), empty())
    (warning,) = warnings(models[0], empty(), with_guides(texts()[0], entry))
    assert "without an IC-LoRA" in warning
    grid = models[0].model.variant.grid
    (note,) = control_notes(entry, images(9), empty(), 1.0, grid, (128, 64))
    assert "9 frames" in note and "the last one is repeated" in note
    assert control_notes(entry, images(25), empty(), 0.5, grid, (640, 320)) == []
    for size, said in (((320, 64), "its sides are"), ((64, 64), "its top and bottom are")):
        (note,) = control_notes(entry, images(25), empty(), 1.0, grid, size)
        assert said in note and "the shot 128 x 64" in note
