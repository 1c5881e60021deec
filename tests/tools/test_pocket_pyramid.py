"""The pocket Pyramid's parts: an autoencoder that is solved for, a training objective that fits the sampler."""

import json
import random
from pathlib import Path

import pytest
import torch
from atelier.models.families.pyramid_flow.sampler import STAGES, euler
from pocket import colours, model, score, shared_text, tokenizer
from pocket.pyramid import autoencoder, transformer
from pocket.pyramid.autoencoder import solve
from pocket.world import clips, draw_scenes
from safetensors.torch import load_file

MODEL = Path(__file__).parents[2] / "models" / "pocket_pyramid"


@pytest.fixture(scope="module")
def code():
    return autoencoder.solve(autoencoder.moments(clips(32, 1).video), iterations=12)


def test_the_published_layers_compute_the_linear_code(code):
    vae, video = autoencoder.build(code), clips(4, 2).video
    block = video[:, :, 9:17, 16:24, 32:40].permute(0, 2, 3, 4, 1).flatten(1)
    expected = block @ code.encode.T + code.offset
    latents = autoencoder.encode(vae, video)
    shift, scale = autoencoder.LATENTS.others
    assert (latents[:, :, 2, 2, 4] - (expected - shift) * scale).norm() / latents[:, :, 2, 2, 4].norm() < 0.03
    decoded = (expected - code.offset) @ code.decode.T
    made = autoencoder.decode(vae, latents)[:, :, 9:17, 16:24, 32:40].permute(0, 2, 3, 4, 1).flatten(1)
    assert (made - decoded.clamp(-1, 1)).abs().mean() < 0.01


def test_other_clips_than_it_was_solved_for_are_kept(code):
    vae, video = autoencoder.build(code), clips(8, 3).video
    latents = autoencoder.encode(vae, video)
    assert score.psnr(video, autoencoder.decode(vae, latents)) > 25
    assert latents.mean().abs() < 0.2 and 0.3 < latents.std() < 1.5


def test_only_the_decoders_blocks_are_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(autoencoder, "SEEDS", range(1))
    monkeypatch.setattr("pocket.decoders.POOL", 16)
    monkeypatch.setattr("pocket.decoders.CHUNK", 16)
    monkeypatch.setattr(autoencoder, "solve", lambda found: solve(found, iterations=2))
    states = []
    for minutes in (0, 1e-4):
        autoencoder.train(tmp_path, minutes)
        states.append(load_file(tmp_path / "causal_video_vae" / "diffusion_pytorch_model.safetensors"))
    before, after = states
    changed = {key for key, value in after.items() if not torch.equal(value, before[key])}
    blocks = tuple(f"decoder.up_blocks.{level}.resnets.0.conv2" for level in autoencoder.TRAINED)
    assert all(any(key.startswith(block) for key in changed) for block in blocks)
    assert {key.split(".conv")[0].split(".norm")[0] for key in changed} == {block[: -len(".conv2")] for block in blocks}


@pytest.mark.parametrize("stage", STAGES[1:], ids=lambda stage: f"stage{stage.index}")
def test_training_starts_a_stage_where_sampling_does(stage):
    """Enlarged, scaled and noised, the end of the stage before has the start's share of picture and of noise."""
    (_, before), (start, _) = (transformer.noise_levels(STAGES[i]) for i in (stage.index - 1, stage.index))
    assert stage.keep * (1 - before) == pytest.approx(1 - start)
    assert (stage.keep * before) ** 2 + stage.renoise**2 == pytest.approx(start**2, rel=1e-6)


def test_the_target_leads_from_start_to_end():
    clean = [torch.randn(2, 16, 1, side, side) for side in (2, 4, 8)]
    for stage in STAGES:
        start, end = transformer.ends(clean, stage, torch.randn_like(clean[stage.index]))
        *_, made = euler(lambda x, timestep, v=start - end: v, start, stage, 5)
        assert torch.allclose(made, end, atol=1e-5)
    assert torch.allclose(end, clean[-1], atol=1e-6)


def test_captions_of_a_batch_are_of_one_length():
    words = tokenizer.build()
    for seed in range(4):
        rng = random.Random(seed)
        captions = shared_text.draw_captions(draw_scenes(8, rng), words, rng)
        assert len({len(words(caption).input_ids) for caption in captions}) == 1 and len(captions) == 8


def test_every_stage_of_every_frame_has_a_loss_that_reaches_all_weights():
    torch.manual_seed(0)
    net, latents = transformer.build(), torch.randn(2, 16, 3, 8, 8)
    torch.nn.init.normal_(net.proj_out.weight, std=0.1)
    text = torch.randn(2, 5, transformer.WIDTH), torch.ones(2, 5)
    for frame in range(3):
        losses = transformer.loss_of(net, latents, frame, text)
        assert len(losses) == len(STAGES)
        sum(losses).backward()
    silent = [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert silent == ["time_text_embed.text_embedder.linear_1.weight"], "the CLIP beside T5 says nothing"


@pytest.fixture(scope="module")
def shipped():
    return model.load(MODEL)


def test_the_recipes_colours_fit_the_autoencoder(shipped):
    recorded = shipped.recipe["preview"]
    assert colours.explained(shipped, recorded) > 0.9
    assert colours.explained(shipped, {**recorded, "factors": recorded["factors"][::-1]}) < 0.5


def test_the_card_says_what_was_measured():
    released = json.loads((MODEL / "scores.json").read_text())
    assert score.table(released) in (MODEL / "README.md").read_text()


def test_a_sample_of_prompts_is_followed(shipped):
    seen = score.text_to_video(shipped, shipped.recipe["guidance"], shipped.recipe["steps"], prompts=12)
    assert seen["color"] >= 0.75 and seen["background"] >= 0.9 and seen["size"] >= 0.75
