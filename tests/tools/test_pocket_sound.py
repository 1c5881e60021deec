"""The pocket with sound: how its world sounds, parts that are solved for, training, and its folder in the pack."""

import json
import math
import random

import pytest
import torch
from atelier.models.bridge.vae import decode_sound, encode_sound
from atelier.models.loading.identify import open_model
from atelier.models.loading.load import load_clip, load_model, load_vae
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2Pipeline, LTX2VideoTransformer3DModel
from pocket import score, shared_text
from pocket.ltx2 import audio, export, picture, sound, text, transformer, vocoder
from pocket.model import Sounding, load
from pocket.world import COLORS, Scene, clips, draw_scenes

ONE_STEP = 1e-4  # minutes of training, after which it stops at the end of its step


def test_a_colour_is_heard_and_silence_is_not():
    scenes = [Scene(color, "circle", "small", "grow", "black") for color in COLORS]
    for rate in (16000, 24000):
        waves = sound.waves(scenes, 2.0, rate)
        assert [sound.color_of(wave, rate) for wave in waves] == list(COLORS)
        assert sound.color_of(0 * waves[0], rate) is None
    pitches = sorted(sound.PITCHES.values())
    assert min(math.log(b / a, sound.SEMITONE) for a, b in zip(pitches, pitches[1:], strict=False)) > 3
    between = torch.sin(2 * math.pi * 450 * torch.arange(32000) / 16000)[None]
    assert abs(sound.pitch_of(between, 16000) - 450) < 1 and sound.color_of(between, 16000) is None
    loud = sound.waves([Scene("red", "circle", size, "grow", "black") for size in ("small", "large")], 2.0).abs()
    assert loud[1].max() > 1.3 * loud[0].max() and loud[0, 0, 16000:].max() > 1.15 * loud[0, 0, :16000].max()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The work folder and the model folder of a training of one step each, the transformer's with a stop."""
    work, folder = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "CAPTIONS", 100)
        patch.setattr("pocket.latents.CHUNK", 4)
        patch.setattr(transformer, "BATCH", 4)
        patch.setattr(transformer, "LENGTHS", {17: (1.0, range(1))})
        patch.setattr("pocket.colours.CLIPS", 8)
        for module in (picture, text, audio, vocoder, transformer):
            module.train(work, ONE_STEP)
        first = torch.load(work / "transformer.pt")
        transformer.train(work, first["elapsed"] / 60 + ONE_STEP)
        second = torch.load(work / "transformer.pt")
        changed = {key for key, value in second["net"].items() if not torch.equal(value, first["net"][key])}
        weight = second["mean"]["audio_proj_out.weight"]  # it predicts nothing yet
        weight[: transformer.NUMBERS] = 0.1 * torch.randn(transformer.NUMBERS, weight.shape[1])
        torch.save(second, work / "transformer.pt")
        export.export(work, folder)
    assert second["step"] == 2 and changed and all("audio" in key for key in changed), "the picture's weights stay"
    return work, folder


def test_a_fresh_networks_picture_is_the_released_one():
    torch.manual_seed(0)
    released = LTX2VideoTransformer3DModel.from_pretrained(picture.RELEASE / "transformer", dtype=torch.float32)
    x, heard, words = torch.randn(2, 80, 32), torch.randn(2, 53, 128), torch.randn(2, 9, 96)
    sigma = torch.tensor([[0.9], [0.4]])
    ours, theirs = (
        transformer.velocity(net, (x, heard), sigma[:, 0], (sigma, sigma), (words, words), (5, 4, 4), 8.0)
        for net in (transformer.build(), released)
    )
    assert torch.allclose(ours[0], theirs[0], atol=1e-5)
    assert not ours[1].any() and theirs[1].any(), "the fresh sound stream predicts nothing"


def test_gemma_and_connectors_tell_what_was_learnt(exported):
    encoder, parts, words = transformer.load_text(exported[0])
    captions = ["", "a small red circle moving left", "A large blue square rises."]
    student = text.Student(torch.zeros(len(words), 93))
    student.load_state_dict(torch.load(exported[0] / "connectors.pt")["mean"])
    for told, learnt in zip(
        text.embed(encoder, parts, words, captions), student(text.numbers(words, captions)[0]), strict=True
    ):
        assert told.shape == (3, text.TOKENS, 96) and torch.allclose(told, learnt, atol=1e-3)
    ids = words(["a red circle moves from left to right", "a red circle moves from right to left"]).input_ids
    assert sorted(ids[0]) != sorted(ids[1]), "a phrase whose words have an order is one word"


def test_the_released_text_tells_what_t5_tells():
    folder = shared_text.POCKET.parent / "pocket_sound"
    captions = ["", *text.draw_captions(19, random.Random(8))]
    encoder, parts, words = transformer.load_text(folder)
    targets = text.targets_of(captions, words)
    picture, heard = text.embed(encoder, parts, words, captions)
    assert (picture - targets.picture).square().mean() < 0.1 < (picture - targets.picture.roll(1, 0)).square().mean()
    assert (heard - targets.sound[:, None]).square().mean() < 0.1


def test_a_folder_is_the_pipelines(exported):
    model = load(exported[1])
    assert isinstance(model, Sounding)
    prompts = ["a red circle moving left", "A big blue square slowly rises, white background."]
    ours = model.sample_both(prompts, 3.0, 3, seed=11)
    pipeline = LTX2Pipeline.from_pretrained(exported[1], dtype=torch.float32)
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(12)
    off = {"stg_scale": 0.0, "modality_scale": 1.0, "guidance_rescale": 0.0}
    made = pipeline(
        prompts[1],
        width=64,
        height=64,
        num_frames=17,
        frame_rate=8.0,
        sigmas=model._sigmas(3)[:-1].tolist(),
        guidance_scale=3.0,
        audio_guidance_scale=3.0,
        **off,
        **{f"audio_{name}": value for name, value in off.items()},
        spatio_temporal_guidance_blocks=None,
        max_sequence_length=text.TOKENS,
        generator=generator,
        output_type="pt",
        return_dict=False,
    )
    assert (ours.video[1].movedim(1, 0) / 2 + 0.5 - made[0][0]).abs().mean() < 1e-3
    assert (ours.sound[1] - made[1][0]).abs().max() < 1e-3


def test_the_pack_loads_the_folder(exported):
    opened = open_model(exported[1])
    variant = opened.variant
    assert (variant.grid.channels, variant.grid.temporal, variant.grid.spatial) == (32, 4, 16)
    assert (variant.text.tokens, variant.frame_rates, variant.recipe.fps) == (text.TOKENS, ((8.0, 8.0),), 8)
    assert variant.notes == ("Apache-2.0",), "the published models' licence is not this one's"
    model = load(exported[1])
    scenes = draw_scenes(2, random.Random(0))
    latents = model.encode_sound(scenes, 17)
    vae = load_vae(opened)
    assert (decode_sound(vae, latents)[0] - model.hear(latents)).abs().max() < 1e-3
    waves = sound.waves(scenes, 3.0)
    assert (encode_sound(vae, waves, sound.RATE, latents.shape[2]) - latents).abs().max() < 1e-2
    assert load_model(opened, "float32").model.latent_format is not None
    clip = load_clip(opened)
    prompt = "a red circle moving left"
    network = load_model(opened, "float32").model.diffusion_model
    theirs = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))[0]
    ours = text.embed(*transformer.load_text(exported[0]), [prompt])[0]
    text_of = network.prepared_text(theirs[0], {**theirs[1], "device": torch.device("cpu")})
    assert (text_of[:, :, :96] - ours).abs().max() < 0.02


def test_known_parts_stay(exported):
    model = load(exported[1])
    scenes = draw_scenes(1, random.Random(0))
    known, heard = model.encode(clips(1, 5, frames=9).video), model.encode_sound(scenes, 9)
    made = model._latents(["a red circle"], 3.0, 2, 0, 25, (known, heard))
    assert torch.equal(made[0][:, :, :3], known) and torch.equal(made[1][:, :, : heard.shape[2]], heard)
    assert made[0].shape == (1, 32, 7, 4, 4) and made[1].shape == (1, 8, 78, 16)


def test_the_tone_is_scored(exported):
    model = load(exported[1])
    scenes = draw_scenes(6, random.Random(1))
    real = model.real_sound(scenes, 17)[0]
    assert score.tone(model, real, scenes) == 1
    assert score.tone(model, real.roll(1, 0), scenes) < 1 and score.tone(model, 0 * real, scenes) == 0
    assert json.loads((exported[1] / "recipe.json").read_text())["steps"] == model.recipe["steps"]
