"""LTX Video's parts against its authors' code, per published variant; whole clips are compared in test_parity.py."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import comfy.sd
import comfy.text_encoders.lt
import published
import pytest
import reference
import tiny
import torch
from atelier.models.bridge.text_encoder import encode_text, t5_config
from atelier.models.bridge.wrappers.guidance import published as guidance_of_authors
from atelier.models.bridge.wrappers.guidance import with_video_guidance
from atelier.models.families.ltx_video import family as ltx_video
from atelier.models.weights.checkpoint import open_checkpoint
from diffusers.pipelines.ltx.pipeline_ltx_condition import linear_quadratic_schedule
from reference import PROMPT, relative
from safetensors.torch import save_file


@pytest.fixture(scope="module", params=["ltx-2b-0.9.0", "ltx-2b-0.9.1", "ltx-2b-0.9.5"])
def case(request, tmp_path_factory):
    return reference.LTX(request.param, tmp_path_factory.mktemp("diffusers"))


def test_encoding_an_image_equals_the_pipelines(case):
    image, pipe = case.images(1), case.pipe
    ours = case.folder.vae.encode(image)
    theirs = pipe.vae.encode(image.movedim(-1, 1)[:, :, None] * 2 - 1).latent_dist.mode()
    theirs = pipe._normalize_latents(theirs, pipe.vae.latents_mean, pipe.vae.latents_std)
    assert relative(ours, theirs) <= 1e-5


def as_its_authors_encode(case, text):
    """pipeline_ltx_video.py of github.com/Lightricks/LTX-Video: T5 gets the mask, which LTXPipeline does not pass."""
    tokens = case.published["text"]["max_tokens"]
    words = case.pipe.tokenizer(text, padding="max_length", max_length=tokens, truncation=True, return_tensors="pt")
    return case.pipe.text_encoder(words.input_ids, attention_mask=words.attention_mask)[0], words.attention_mask


@pytest.mark.parametrize("text", ["", PROMPT, "a " * 500, "🎬 звезда ★ naïve"])
def test_text_equals_its_authors(case, text):
    ((embeds, options),) = case.folder.conditioning(text)
    theirs, mask = as_its_authors_encode(case, text)
    assert torch.equal(options["attention_mask"], mask)
    assert relative(embeds, theirs) <= 1e-5
    if case.late:
        theirs, mask, _, _ = case.pipe.encode_prompt(text, do_classifier_free_guidance=False)
        assert torch.equal(options["attention_mask"].bool(), mask) and relative(embeds, theirs) <= 1e-5


def test_a_kept_clip_loader_gives_the_same_text(case):
    """ComfyUI's own CLIP of type ltxv gives the same text where the network reads it."""
    weights = tiny.t5().state_dict()
    config = t5_config({key: tuple(weight.shape) for key, weight in weights.items()})
    clip = comfy.sd.CLIP(
        SimpleNamespace(
            params={}, clip=comfy.text_encoders.lt.ltxv_te(), tokenizer=comfy.text_encoders.lt.LTXVT5Tokenizer
        ),
        model_options={"t5xxl_model_config": config},
        parameters=1,
    )
    clip.load_sd(weights)
    ((theirs, asked),), _ = encode_text(clip, PROMPT)
    ((ours, options),) = case.folder.conditioning(PROMPT)
    read = int(options["attention_mask"].sum())
    assert int(asked["attention_mask"].sum()) == read
    assert relative(ours[:, :read], theirs[:, :read]) <= 1e-4


@pytest.mark.parametrize("count", [1, 0])
def test_a_prompt_of_one_token_too_many_is_cut_and_said(case, count):
    tokens = case.published["text"]["max_tokens"]
    words = " ".join(["the"] * (tokens - 1 + count))  # a token each, and one that ends them
    assert len(case.pipe.tokenizer(words).input_ids) == tokens + count
    ((embeds, _),), unread = encode_text(case.folder.clip, words)
    assert embeds.shape[1] == tokens and unread == count


def published_guidance(recipe):
    """A sigma -> what its authors do there: constant, or by the list of levels."""
    levels = recipe.get("guidance_timesteps", [0.0])
    names = ("guidance_scale", "stg_scale", "rescaling_scale")
    columns = [listed(recipe[name]) for name in names]
    blocks = recipe["skip_block_list"]
    columns.append(blocks if isinstance(blocks[0], list) else [blocks])

    def at(sigma):
        passed = [number for number, level in enumerate(levels) if level <= sigma + 1e-6]
        number = passed[0] if passed else len(levels) - 1
        return reference.Guided(*(column[number] for column in columns), recipe.get("cfg_star_rescale", False))

    return at


def test_guidance_of_13b_is_its_authors_at_each_level(tmp_path):
    """Sample Video without a guidance of its own, against the authors' list and CFG-Zero*."""
    case = reference.LTX("ltx-13b-0.9.8-dev", tmp_path)
    told = published_guidance(case.published["recipe"])
    theirs, _ = case.walked(reference.T2V, lambda sigma: replace(told(sigma), stg=0.0))
    by_level = replace(case.folder, guidance=0.0)
    assert relative(case.made(by_level, reference.T2V), theirs) <= case.latents
    assert relative(case.made(case.folder, reference.T2V), theirs) > 100 * case.latents


@pytest.mark.parametrize("variant", ["ltx-2b-0.9.5", "ltx-13b-0.9.8-dev"])
def test_video_guidance_as_published_is_its_authors(tmp_path, monkeypatch, variant):
    """From text and from an image, with as many blocks as published, at levels of all kinds."""
    facts = published.config(variant)
    monkeypatch.setitem(tiny.NETWORK, "num_layers", facts["transformer"]["num_layers"])
    case = reference.LTX(variant, tmp_path)
    case.steps = 8 if case.large else 3
    guidance, remarks = guidance_of_authors(case.folder.model)
    guided = replace(case.folder, model=with_video_guidance(case.folder.model, guidance), guidance=0.0)
    assert not remarks
    task = reference.I2V if case.large else reference.T2V
    theirs, _ = case.walked(task, published_guidance(facts["recipe"]))
    assert relative(case.made(guided, task), theirs) <= case.latents
    plain = replace(case.folder, guidance=0.0)
    assert relative(case.made(plain, task), theirs) > 100 * case.latents


@pytest.mark.parametrize("variant", published.LTX)
def test_a_variant_is_run_as_published(tmp_path, variant):
    """Positions, schedule, tokens and recipe, from the file that its authors publish."""
    facts = published.config(variant)
    case = reference.LTX(variant, tmp_path)
    with case.tiny_sizes():
        told = ltx_video.recognise(open_checkpoint(case.write_file(tmp_path / facts["file"], "original keys")))
    graph, script, late = facts["comfy_workflow"], facts["recipe"], facts["causal_temporal_positioning"]
    size = graph or script
    assert told.name.startswith(f"LTX Video {facts['size']} {variant.split('-')[2]}") and not told.notes
    assert told.network["causal_temporal_positioning"] == late
    assert (told.text.tokens, told.text.encoder_sees_padding) == (facts["text"]["max_tokens"], False)
    recipe = told.recipe
    assert (recipe.width, recipe.height, recipe.frames) == (
        size["width"],
        size["height"],
        size["frames"],
    )
    levels = ltx_video.schedule(told, 40, (1, 128, 13, 16, 24))
    if facts["distilled"]:
        assert levels.tolist() == pytest.approx([*facts["metadata_config"]["allowed_inference_steps"], 0.0])
        assert (recipe.steps, recipe.guidance, told.guidance) == (8, 1.0, None)
    else:
        assert float(levels[20]) == pytest.approx(0.975) if late else float(levels[-2]) == pytest.approx(0.1)
        assert recipe.steps == (script["num_inference_steps"] if late else script["steps"])
        of_levels = told.guidance.levels
        assert [level.cfg for level in of_levels] == listed(script["guidance_scale"])
        assert [level.stg for level in of_levels] == listed(script["stg_scale"])
        # Their pipeline rescales nothing where it is 1 (`do_rescaling`).
        assert [level.rescale or 1 for level in of_levels] == listed(script["rescaling_scale"])
        blocks = script["skip_block_list"]
        assert [list(level.skipped) for level in of_levels] == (blocks if isinstance(blocks[0], list) else [blocks])
    assert told.sampler == ("euler_ancestral" if script.get("stochastic_sampling") else "euler")
    _check_second_pass(told.second_pass, script)


def _check_second_pass(second, script):
    """After the upscaler: levels, guidance and tone map, of those that are published with one."""
    dev = script.get("second_pass")
    if not dev and "second_pass_timesteps" not in script:
        assert second is None
        return
    if dev:
        skipped = dev["skip_initial_inference_steps"]
        expected = linear_quadratic_schedule(dev["num_inference_steps"]).tolist()[skipped:]
        (level,) = second.guidance.levels
        assert [level.cfg] == dev["guidance_scale"] and [level.stg] == dev["stg_scale"]
        assert list(level.skipped) == dev["skip_block_list"] and level.rescale == 0 and second.guidance.zero_star
    else:
        expected = script["second_pass_timesteps"]
        assert second.guidance is None
    assert second.sigmas == pytest.approx(expected)
    assert second.tone_map == script.get("tone_map_compression_ratio", 0)


def listed(value):
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize(
    "name,late,note",
    [
        ("ltx-video-2b-v0.9-Q4.safetensors", False, ""),
        ("ltxv-2b-0.9.6-dev-04-25-Q4.safetensors", True, ""),
        ("my-finetune.safetensors", True, "0.9.5 or later is assumed"),
        ("ltxv-2b-distilled.safetensors", True, "0.9.8 is assumed"),
    ],
)
def test_a_network_alone_is_told_by_its_name_or_what_is_assumed_is_said(tmp_path, name, late, note):
    told = ltx_video.recognise(open_checkpoint(tiny.single_file(tmp_path / name, None, "")))
    assert told.network["causal_temporal_positioning"] == late and told.text.tokens == (256 if late else 128)
    assert any(note in line for line in told.notes) if note else not told.notes


def test_what_a_file_says_goes_before_its_name(tmp_path):
    path = tiny.single_file(tmp_path / "ltxv-2b-0.9.6-dev.safetensors", "0.9.0")
    told = ltx_video.recognise(open_checkpoint(path))
    assert told.name == "LTX Video 2B 0.9.0" and not told.network["causal_temporal_positioning"]
    assert "named 0.9.6" in told.notes[0]


def test_levels_in_metadata_that_are_none(tmp_path):
    config = {"transformer": {"causal_temporal_positioning": True}, "allowed_inference_steps": [0.5, 0.7]}
    weights = {key: weight.contiguous() for key, weight in tiny.core_network().state_dict().items()}
    save_file(weights, tmp_path / "ltx.safetensors", {"config": json.dumps(config)})
    with pytest.raises(ValueError, match="allowed_inference_steps"):
        ltx_video.recognise(open_checkpoint(tmp_path / "ltx.safetensors"))


def test_schedule_follows_the_folders_scheduler(tmp_path):
    path = tiny.folder(tmp_path / "ltx")
    variant = ltx_video.recognise(open_checkpoint(path))
    short, long = (ltx_video.schedule(variant, 8, (1, 128, t, 16, 24)) for t in (2, 12))
    assert short.shape == (9,) and short[0] == 1 and short[-1] == 0
    assert short[-2] == pytest.approx(0.1) and long[3] > short[3]
