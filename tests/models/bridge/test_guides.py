"""Guides: ComfyUI's LTXVAddGuide on our LTX means what it means on core's own with the same weights."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import pytest
import tiny
import tiny_mochi
import torch
from atelier.models.bridge.guide_tokens import append_guides
from atelier.models.bridge.video_model import GUIDES
from atelier.models.contract.guides import Guide
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from atelier.models.timeline.spans import SPAN
from benchmarks import step
from comfy import sample as comfy_sample
from comfy_extras.nodes_lt import LTXVAddGuide, LTXVCropGuides
from reference import relative

SMALL = {"num_layers": 2, "num_attention_heads": 4, "cross_attention_dim": 256}
LATENT = (1, 128, 4, 2, 3)
"""25 frames of 96 x 64 pixels."""
SIGMAS = torch.tensor([1.0, 0.7, 0.0])


@pytest.fixture(scope="module", params=[("v0.9.1", False), ("v0.9.5", True)], ids=["0.9.1", "0.9.5"])
def models(request):
    """Our MODEL and core's, of the same weights. From 0.9.5 on, time is counted in frames (causal)."""
    version, causal = request.param
    with pytest.MonkeyPatch.context() as small:
        for name, value in SMALL.items():
            small.setitem(step.NETWORK, name, value)
        config = {"_class_name": "LTXVideoTransformer3DModel", **step.NETWORK}
        ours, state = step.our_model(step.Subject("", "", config, None, file=f"ltx-video-2b-{version}"))
        small.setitem(step.NETWORK, "causal_temporal_positioning", causal)
        yield ours, step.core_ltx(state)


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return load.load_vae(open_model(tiny.folder(tmp_path_factory.mktemp("guides") / "ltx")))


def texts() -> list[list]:
    generator, mask = torch.Generator().manual_seed(2), (torch.arange(16) < 9).long()[None]
    shape = (1, 16, step.TEXT_WIDTH)
    return [[[torch.randn(shape, generator=generator), {"attention_mask": mask, "frame_rate": 24.0}]] for _ in range(2)]


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 64, 96, 3, generator=torch.Generator().manual_seed(seed))


def guided(vae: Any, *guides: tuple[int, int, float]) -> tuple[list, list, dict]:
    """Prompts and LATENT with guides (how many pictures, frame_idx, strength), by core's node."""
    positive, negative, latent = *texts(), {"samples": torch.zeros(LATENT)}
    for number, (count, frame, strength) in enumerate(guides):
        made = LTXVAddGuide.execute(positive, negative, vae, latent, images(count, number), frame, strength)
        positive, negative, latent = made.result
    return positive, negative, latent


def sampled(model: Any, positive: list, negative: list, latent: dict, **others: Any) -> torch.Tensor:
    """The clip as core's nodes sample it, without the guides at its end, which have other noise than the clip."""
    samples = latent["samples"]
    batch, channels, frames, *size = samples.shape
    noise = torch.randn(frames, batch, channels, *size, generator=torch.Generator().manual_seed(1)).movedim(0, 2)
    made = comfy_sample.sample_custom(
        model,
        noise,
        3.0,
        comfy.samplers.sampler_object("euler"),
        SIGMAS,
        positive,
        negative,
        samples,
        noise_mask=latent.get("noise_mask"),
        disable_pbar=True,
        seed=5,
        **others,
    )
    return LTXVCropGuides.execute(positive, negative, {**latent, "samples": made}).result[2]["samples"]


CASES = {
    "first frame": [(1, 0, 1.0)],
    "frame 8": [(1, 8, 1.0)],
    "frame 16": [(1, 16, 1.0)],
    "last frame": [(1, -1, 1.0)],
    "half strength": [(1, 8, 0.5)],
    "no strength": [(1, 8, 0.0)],
    "a clip": [(9, 8, 0.8)],
    "a clip longer than what is appended": [(17, 0, 1.0)],
    "three of them": [(1, 0, 1.0), (1, 12, 0.6), (9, -9, 0.9)],
}


@pytest.mark.parametrize("name", CASES)
def test_guides_mean_what_they_mean_for_cores_ltx(models, vae, name):
    ours, core = (sampled(model, *guided(vae, *CASES[name])) for model in models)
    assert ours.shape == core.shape == LATENT
    assert relative(ours, core) <= 1e-5


def test_each_place_gives_another_clip(models, vae):
    clips = [sampled(models[0], *guided(vae, *CASES[name])) for name in list(CASES)[:5]]
    assert all(relative(a, b) > 1e-3 for n, a in enumerate(clips) for b in clips[:n])


# ------------------------------------------------------------------------------------------------ this pack's own


def still(vae: Any, frame: int, **others: Any) -> Guide:
    return Guide(vae.encode(images(1)), frame, **others)


def with_guides(*guides: Guide) -> tuple[list, list, dict]:
    positive, negative = ([[text, {**options, GUIDES: guides}] for text, options in side] for side in texts())
    return positive, negative, {"samples": torch.zeros(LATENT)}


def test_our_guides_are_cores(models, vae):
    """At full strength a guide has no noise, so core's node and our guides give the same result."""
    for frame in (0, 8, 24):
        ours = sampled(models[0], *with_guides(still(vae, frame)))
        assert relative(ours, sampled(models[0], *guided(vae, (1, frame, 1.0)))) <= 1e-6


def test_our_guides_go_with_cores(models, vae):
    positive, negative, latent = guided(vae, (1, 0, 1.0))
    both = [[[text, {**options, GUIDES: (still(vae, 24),)}] for text, options in side] for side in (positive, negative)]
    expected = sampled(models[0], *with_guides(still(vae, 0), still(vae, 24)))
    assert relative(sampled(models[0], *both, latent), expected) <= 1e-6


def test_a_weaker_guide_is_seen_less(models, vae):
    plain = sampled(models[0], *texts(), {"samples": torch.zeros(LATENT)})
    apart = [relative(sampled(models[0], *with_guides(still(vae, 8, strength=s))), plain) for s in (1.0, 0.5)]
    assert apart[0] != apart[1] and min(apart) > 1e-3


def test_a_smaller_guide_is_as_many_tokens_as_it_has(models):
    """It is spread over the clip's grid. Tokens between its own are not read, as if they did not exist."""
    network, small = models[0].model.diffusion_model, torch.randn(1, 128, 1, 1, 2)
    grid, clip = network.grid, torch.randn(1, 128, 2, 2, 4)
    spread = append_guides([Guide(small, 9, scale=2)], grid, clip)
    assert spread.read.tolist() == [0, 2]
    assert spread.places[0, :, spread.read].tolist() == [[9, 9], [0, 0], [0, 64]]
    call = {"timestep": torch.tensor([700.0]), "context": torch.randn(1, 8, step.TEXT_WIDTH)}
    x = torch.cat([clip, spread.latents], dim=2)
    out = network(x, **call, guide_places=spread.places, guide_read=spread.read[None])
    x[:, :, 2:] += (spread.mask < 0).float()
    assert torch.equal(out, network(x, **call, guide_places=spread.places, guide_read=spread.read[None]))
    assert out[:, :, 2:].flatten(2)[..., [1, 3, 4, 5, 6, 7]].eq(0).all()
    weightless = torch.zeros(1, 8)
    unseen = network(x, **call, guide_places=spread.places, guide_read=spread.read[None], guide_weights=weightless)
    assert relative(unseen[:, :, :2], network(clip, **call)) <= 1e-5 < relative(out[:, :, :2], unseen[:, :, :2])


def test_weights_are_a_mask_of_all_tokens_by_all():
    from atelier.models.bridge.guide_tokens import weighed_attention

    attend = torch.nn.functional.scaled_dot_product_attention
    query, key, value = torch.randn(3, 1, 2, 7, 4).unbind()
    weights, dense = torch.tensor([[1.0, 0.3]]), torch.zeros(7, 7)
    dense[:5, 5:] = weights.log()
    dense[5:, :5] = weights.log().T
    out = weighed_attention(weights, 7, torch.float32)(
        lambda q, k, v, mask: attend(q, k, v, mask).transpose(1, 2).flatten(2), query, key, value, None
    )
    assert relative(out, attend(query, key, value, dense).transpose(1, 2).flatten(2)) <= 1e-6


def test_guides_and_prompts_over_time(models, vae):
    """Each window reads the guides in its own frames, at the same places in time as in the whole clip."""
    positive, negative, latent = with_guides(still(vae, 0), still(vae, 16))
    spans = [[positive[0][0], {**positive[0][1], SPAN: span}] for span in ((0.0, 0.5), (0.5, 2.0))]
    windowed = sampled(models[0], spans, negative, latent)
    assert windowed.shape == LATENT and windowed.isfinite().all()
    plain = [[[text, {**options, GUIDES: ()}] for text, options in side] for side in (spans, negative)]
    assert relative(windowed, sampled(models[0], *plain, latent)) > 1e-3


def test_previews_have_the_clips_frames_and_core_its_own(models, vae):
    positive, negative, latent = guided(vae, (1, 8, 1.0))
    seen = []
    sampled(models[0], positive, negative, latent, callback=lambda i, x0, x, n: seen.append((x0.shape[2], x.shape[2])))
    assert seen == [(5, 5), (5, 5)]


def test_what_cannot_be_guided_says_why(models, vae, tmp_path):
    positive, negative, latent = guided(vae, (1, 8, 1.0))
    larger = {"samples": torch.zeros(1, 128, 5, 3, 3)}
    with pytest.raises(ValueError, match="have 6 tokens: 0.67 latent frames of this latent"):
        sampled(models[0], positive, negative, larger)
    with pytest.raises(ValueError, match=r"A guide has latents \[128, 1, 2\].*Expected: \[128, 2, 3\]"):
        sampled(models[0], *with_guides(Guide(torch.zeros(1, 128, 1, 1, 2))))
    mochi = load.load_model(open_model(tiny_mochi.folder(tmp_path / "mochi")))
    with pytest.raises(ValueError, match="Mochi 1 does not read guides.*Place Frames"):
        sampled(mochi, positive, negative, {"samples": torch.zeros(1, 12, 3, 4, 4)})
