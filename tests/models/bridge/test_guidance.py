"""Video Guidance: STG, rescaling and CFG-Zero* on every family, the step that a sampler is at, what stands in front."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.sample
import comfy.samplers
import patches
import pytest
import tiny
import tiny_cogvideox
import tiny_mochi
import tiny_pyramid
import torch
from atelier.models.bridge.sampling import empty_latent, sample, warnings
from atelier.models.bridge.wrappers import guidance as wrapper
from atelier.models.bridge.wrappers.guidance import (
    ONE_CALL,
    own_guidance,
    published,
    with_dynamic_guidance,
    with_published_guidance,
    with_video_guidance,
)
from atelier.models.contract.grid import SoundGrid
from atelier.models.contract.guidance import StreamGuidance, StreamScale
from atelier.models.families.ltx_video.versions import GUIDANCE_2B, GUIDANCE_13B, SECOND_PASS_13B, SECOND_PASS_DISTILLED
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from reference import relative

MODELS = {
    "ltx": lambda path: tiny.folder(path, "0.9.5"),
    "mochi": tiny_mochi.folder,
    "cogvideox 2B": lambda path: tiny_cogvideox.folder(path, "2B"),
    "cogvideox 1.5 5B": lambda path: tiny_cogvideox.folder(path, "1.5 5B"),
    "pyramid miniflux": lambda path: tiny_pyramid.folder(path, "miniflux"),
    "pyramid sd3": lambda path: tiny_pyramid.folder(path, "sd3"),
}
OFF = dict(guidance="", stg_scale="0", stg_blocks="", rescale="0", cfg_zero_star=False, zero_init_steps=0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """``model("ltx")``: that family's tiny MODEL, loaded once."""
    made: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in made:
            path = MODELS[name](tmp_path_factory.mktemp("guidance") / "model")
            made[name] = load.load_model(open_model(path), "float32")
        return made[name]

    return get


def guided(model: Any, **values: Any) -> Any:
    return with_video_guidance(model, own_guidance(model, **OFF | values))


def prompts(variant: Any) -> list:
    generator = torch.Generator().manual_seed(1)
    pooled = sum(tiny_pyramid.CLIPS[name]["width"] for name in variant.text.pooled)
    texts = []
    for length in (9, 5):
        options = {"attention_mask": (torch.arange(variant.text.tokens) < length).long()[None]}
        if pooled:
            options["pooled_output"] = torch.randn(1, pooled, generator=generator)
        words = torch.randn(1, variant.text.tokens, variant.text.channels, generator=generator)
        texts.append([[words, options]])
    return texts


def sampled(model: Any, guidance: float = 3.0, steps: int = 1) -> torch.Tensor:
    inner = model.model
    shape = inner.variant.grid.latent_shape(64, 64, inner.variant.grid.frames(2))
    sigmas = inner.family.schedule(inner.variant, steps, shape)
    latent = empty_latent(shape, 8.0)
    return sample(model, latent, *prompts(inner.variant), seed=3, sigmas=sigmas, guidance=guidance)["samples"]


def denoised(model: Any, guidance: float = 3.0) -> torch.Tensor:
    """What the first step of a clip is denoised to: a step from CogVideoX's highest sigma would round it."""
    inner = model.model
    shape = inner.variant.grid.latent_shape(64, 64, inner.variant.grid.frames(2))
    first = comfy.samplers.KSAMPLER(lambda predict, x, sigmas, extra_args, **_: predict(x, sigmas[:1], **extra_args))
    drawn = torch.randn(shape, generator=torch.manual_seed(3))
    sigmas, texts = inner.family.schedule(inner.variant, 1, shape), prompts(inner.variant)
    return comfy.sample.sample_custom(model, drawn, guidance, first, sigmas, *texts, torch.zeros(shape), seed=3)


# ------------------------------------------------------------------------------------------------ every family


@pytest.mark.parametrize("name", ["ltx", "mochi", "cogvideox 2B", "cogvideox 1.5 5B"])
def test_one_step_is_what_its_three_predictions_make(model, name):
    """With the prompt, without it, and without the attention of a block."""
    model = model(name)
    wanted, both = denoised(model, 1.0), denoised(model)
    perturbed = denoised(patches.values_passed_on(0)(model), 1.0)
    assert relative(perturbed, wanted) > 1e-4
    expected = both + 2.5 * (wanted - perturbed)
    assert relative(denoised(guided(model, stg_scale="2.5", stg_blocks="0")), expected) <= 1e-5
    assert relative(denoised(guided(model, guidance="3", stg_scale="2.5", stg_blocks="0"), 7.0), expected) <= 1e-5

    # Where no prediction at all leads: nowhere, from x; to nothing where pure noise holds nothing of the clip.
    drawn = torch.randn(wanted.shape, generator=torch.manual_seed(3))
    zero = torch.zeros_like(drawn) if model.model.family.levels else drawn
    predicted, to_prompt = zero - expected, zero - wanted
    factor = 0.7 * to_prompt.std() / predicted.std() + 0.3
    rescaled = denoised(guided(model, stg_scale="2.5", stg_blocks="0", rescale="0.7"))
    assert relative(rescaled, zero - predicted * factor) <= 1e-5

    unwanted = zero - (3 * wanted - both) / 2
    fitted = unwanted * (to_prompt * unwanted).sum() / (unwanted**2).sum()
    assert relative(denoised(guided(model, cfg_zero_star=True)), zero - fitted - 3 * (to_prompt - fitted)) <= 1e-5


@pytest.mark.parametrize("name", ["pyramid miniflux", "pyramid sd3"])
def test_a_family_with_its_own_sampler_takes_constant_guidance(model, name):
    model = model(name)
    plain = sampled(model, 5.0)
    assert relative(sampled(guided(model, guidance="5"), 2.0), plain) <= 1e-6  # the first frame's is still stronger
    assert relative(sampled(guided(model, stg_scale="2", stg_blocks="0"), 5.0), plain) > 1e-4
    for changing in (dict(guidance="1, 5"), dict(stg_scale="0: 1, 1: 2"), dict(zero_init_steps=1)):
        with pytest.raises(ValueError, match="cannot change over the steps. Write one number"):
            guided(model, **changing)


def test_blocks_and_numbers_that_are_none_are_named(model):
    for wrong, words in {
        "stg_blocks": ("7", "block 7, but this model has 2"),
        "guidance": ("a", "guidance 'a' is not a number"),
        "rescale": ("1.5", "rescale has 1.5, which is not between 0 and 1"),
    }.items():
        with pytest.raises(ValueError, match=words[1]):
            guided(model("ltx"), **{wrong: words[0]})


# ------------------------------------------------------------------------------------------------ by step


def noted(model: Any, notes: list) -> Any:
    """Notes (guidance scale, sigma) of every prediction."""

    def note(args: dict[str, Any]) -> torch.Tensor:
        notes.append((args["cond_scale"], float(args["sigma"][0])))
        return args["denoised"]

    model = model.clone()
    model.set_model_sampler_post_cfg_function(note)
    return model


@pytest.mark.parametrize("sampler", comfy.samplers.KSAMPLER_NAMES)
def test_every_sampler_gets_the_guidance_of_its_step(model, sampler):
    notes: list[tuple[float, float]] = []
    model = noted(guided(model("ltx"), guidance="2, 3, 4, 5"), notes)
    sigmas = torch.tensor([1.0, 0.9, 0.6, 0.2, 0.0])
    latent = torch.zeros(model.model.variant.grid.latent_shape(32, 32, 9))
    start, texts = torch.ones_like(latent), prompts(model.model.variant)
    made = comfy.sample.sample_custom(
        model, start, 9.0, comfy.samplers.sampler_object(sampler), sigmas, *texts, latent, disable_pbar=True, seed=1
    )
    assert made.isfinite().all() or sampler == "dpm_adaptive"
    if f"sample_{sampler}" in ONE_CALL:
        assert [cfg for cfg, _ in notes] == [2, 3, 4, 5]
    for cfg, sigma in notes:
        step = sum(level >= sigma * (1 - 1e-4) for level in sigmas[:-1].tolist())
        assert cfg == 1 + max(1, step), (cfg, sigma)


def test_zero_init_predicts_zeros_without_the_network(model):
    notes: list = []
    made = sampled(noted(guided(model("ltx"), zero_init_steps=2), notes), steps=4)
    assert len(notes) == 2 and made.isfinite().all()
    assert not sampled(guided(model("ltx"), zero_init_steps=1)).any()


def test_a_guider_without_a_negative_prompt_keeps_its_scale(model, caplog):
    model = model("ltx")
    inner = guided(model, guidance="4").clone()
    guider = comfy.samplers.CFGGuider(inner)
    positive, _ = prompts(model.model.variant)
    guider.inner_set_conds({"positive": positive})
    latent = torch.zeros(model.model.variant.grid.latent_shape(64, 64, 9))
    start = torch.randn(latent.shape, generator=torch.manual_seed(3))
    made = guider.sample(start, latent, comfy.samplers.sampler_object("euler"), torch.tensor([1.0, 0.0]), seed=3)
    assert relative(made, sampled(model, 1.0)) <= 1e-6
    assert "no negative prompt" in caplog.text


# ------------------------------------------------------------------------------------------------ one after the other


def scales(model: Any, guidance: float, steps: int = 4) -> list[float]:
    notes: list[tuple[float, float]] = []
    sampled(noted(model, notes), guidance, steps)
    return [cfg for cfg, _ in notes]


def test_the_last_node_counts_and_leaves_out_what_it_does_not_set(model):
    ltx, cogvideox = model("ltx"), model("cogvideox 2B")
    assert scales(guided(guided(ltx, guidance="2"), guidance="3, 4"), 9.0) == [3, 3, 4, 4]
    assert scales(guided(ltx, stg_scale="1", stg_blocks="0"), 9.0) == [9, 9, 9, 9]
    dynamic = scales(with_dynamic_guidance(cogvideox), 6.0)
    assert len(set(dynamic)) == 4 and scales(guided(with_dynamic_guidance(cogvideox), rescale="0.5"), 6.0) == dynamic
    assert scales(guided(with_dynamic_guidance(cogvideox), guidance="2"), 6.0) == [2, 2, 2, 2]
    once = guided(ltx, stg_scale="2.5", stg_blocks="0")
    assert relative(sampled(guided(once, stg_scale="2.5", stg_blocks="0")), sampled(once)) <= 1e-6


def test_what_is_left_to_the_sampler_is_published_where_it_has_none(model, monkeypatch):
    ltx = model("ltx")
    monkeypatch.setattr(ltx.model, "variant", replace(ltx.model.variant, guidance=GUIDANCE_13B))
    lists = [1, 8, 1, 1]  # at 1, 0.9875, 0.975 and 0.73
    assert scales(ltx, 0.0) == lists and scales(ltx, 4.0) == [4] * 4
    assert scales(guided(ltx, rescale="0.5"), 0.0) == lists
    assert scales(guided(ltx, guidance="2"), 0.0) == [2] * 4
    assert scales(with_published_guidance(guided(ltx, guidance="2")), 7.0) == [2] * 4


def test_a_guidance_that_has_no_effect_is_said(model):
    ltx = model("ltx")
    latent, (positive, _) = (
        empty_latent(ltx.model.variant.grid.latent_shape(64, 64, 9), 8.0),
        prompts(ltx.model.variant),
    )
    assert warnings(guided(ltx, guidance="2"), latent, positive, 7.0) == [
        "guidance 7 is not used: Video Guidance sets it"
    ]
    assert warnings(guided(ltx, guidance="2"), latent, positive, 0.0) == []
    assert warnings(guided(ltx, rescale="1"), latent, positive, 7.0) == []
    cogvideox = model("cogvideox 2B")
    latent = empty_latent(cogvideox.model.variant.grid.latent_shape(64, 64, 9), 8.0)
    positive, _ = prompts(cogvideox.model.variant)
    assert warnings(with_dynamic_guidance(cogvideox), latent, positive, 7.0) == []


# ------------------------------------------------------------------------------------------------ as published


def test_what_is_published_and_what_of_it_this_network_lacks(model, monkeypatch):
    ltx = model("ltx")
    guidance, (remark,) = published(ltx)  # 2 blocks of 28
    assert [level.cfg for level in guidance.levels] == [3] and not guidance.levels[0].stg
    assert remark == "without STG: it names block 19, this model has 2 blocks"
    monkeypatch.setattr(
        ltx.model.diffusion_model, "transformer_blocks", torch.nn.ModuleList([torch.nn.Identity()] * 48)
    )
    assert published(ltx) == (GUIDANCE_2B, [])
    assert GUIDANCE_2B.summary() == ["guidance 3", "STG 1", "rescale 0.7", "STG without the attention of blocks 19"]
    assert GUIDANCE_13B.summary() == [
        "guidance 1, 1, 6, 8, 6, 1, 1",
        "STG 0, 0, 4, 4, 4, 2, 1",
        "rescale 0, 0, 0.5, 0.5, 0, 0, 0",
        "STG without the attention of blocks 22, 35, 39; 28; 28; 28; 28",
        "from sigma 1, 0.996, 0.9933, 0.985, 0.9767, 0.9008, 0.618",
        "CFG-Zero*",
    ]
    monkeypatch.setattr(ltx.model, "variant", replace(ltx.model.variant, guidance=None))
    assert published(ltx)[0] is None
    nothing, (remark,) = published(model("mochi"))
    assert nothing is None and "one guidance, 6" in remark and "nothing is changed" in remark


def test_the_second_pass_has_a_recipe_of_its_own(model, monkeypatch):
    ltx = model("ltx")
    nothing, (remark,) = published(ltx, second=True)
    assert nothing is None and "without a second pass" in remark
    monkeypatch.setattr(wrapper, "_blocks", lambda model: 48)
    for again, lines in (
        (SECOND_PASS_13B, ["guidance 1", "STG 1", "STG without the attention of blocks 27", "CFG-Zero*"]),
        (SECOND_PASS_DISTILLED, ["guidance 1"]),
    ):
        monkeypatch.setattr(ltx.model, "variant", replace(ltx.model.variant, second_pass=again))
        found, remarks = published(ltx, second=True)
        assert (found.summary(), remarks) == (lines, [])


def test_a_model_with_sound_keeps_its_authors_guidance(model, monkeypatch):
    """Picture and sound have scales of their own, which Sample Video applies: this node would mix them."""
    ltx = model("ltx")
    streams = StreamGuidance(StreamScale(3.0), StreamScale(7.0))
    monkeypatch.setattr(ltx.model, "variant", replace(ltx.model.variant, guidance=streams, sound=SoundGrid(8, 16)))
    nothing, (remark,) = published(ltx)
    assert nothing is None and "Sample Video applies its authors' recipe" in remark
    with pytest.raises(ValueError, match="guides picture and sound apart.*Remove Video Guidance"):
        guided(ltx, guidance="4")
