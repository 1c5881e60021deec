"""The pocket LTX's parts: a solved encoder, pictures beside a clip as LTXConditionPipeline puts them, training."""

import random
from itertools import count

import pytest
import torch
from diffusers import LTXConditionPipeline
from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition
from PIL import Image
from pocket import autoencoder, export, shared_text, transformer
from pocket.model import load
from pocket.score import psnr
from pocket.world import Turn, clips, draw_scenes, swing
from safetensors.torch import load_file

ONE_STEP = 1e-4  # minutes of training, after which it stops at the end of its step
SIZE = {"width": autoencoder.SIDE, "height": autoencoder.SIDE}


@pytest.fixture(scope="module")
def solved():
    return autoencoder.build(clips(32, 1, **SIZE).video)


def test_the_mean_colours_of_8_x_8_pixels_follow_from_the_solved_code(solved):
    video = clips(4, 2, **SIZE).video
    latents = autoencoder.encode(solved, video)
    assert latents.shape == (4, autoencoder.NUMBERS, 5, 4, 4) and latents.mean().abs() < 0.3
    way_back = torch.linalg.lstsq(*told_and_means(solved, clips(16, 3, **SIZE).video)).solution
    told, means = told_and_means(solved, video)
    assert (told @ way_back - means).pow(2).mean().sqrt() < 0.03


def told_and_means(vae, video):
    """Latents with a 1 behind [N, NUMBERS + 1], and the mean colours that they stand for."""
    told = autoencoder.encode(vae, video)[:, :, 1:].movedim(1, -1).flatten(0, -2)
    return torch.cat([told, torch.ones(len(told), 1)], 1), autoencoder.means_of(video)


def test_the_decoder_finds_the_mean_colours_by_its_solved_layers(solved):
    video, seen = clips(2, 4, **SIZE).video, []
    hook = solved.decoder.up_blocks[-1].resnets[0].register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    autoencoder.decode(solved, autoencoder.encode(solved, video))
    hook.remove()
    means = torch.nn.functional.avg_pool3d(video, (1, autoencoder.PATCH, autoencoder.PATCH))
    assert (seen[0][:, :3] - means).pow(2).mean().sqrt() < 0.05


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which each part was trained for a step, and the transformer for another after a stop."""
    work = tmp_path_factory.mktemp("pocket")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoencoder, "SEEDS", range(1))
        patch.setattr(autoencoder, "CHUNK", 16)
        patch.setattr(autoencoder, "POOL", 16)
        patch.setattr(autoencoder, "BATCH", 2)
        patch.setattr(transformer, "BATCH", 4)
        few = [transformer.Bucket(1.0, 64), transformer.Bucket(1.0, 64, swinging=True, frames=25)]
        patch.setattr(transformer, "BUCKETS", few)
        autoencoder.train(work, 0)
        before = load_file(work / "vae" / "diffusion_pytorch_model.safetensors")
        autoencoder.train(work, ONE_STEP)
        transformer.train(work, ONE_STEP)
        first = torch.load(work / "transformer.pt")
        transformer.train(work, first["elapsed"] / 60 + ONE_STEP)
    return work, before, first


def test_only_the_decoders_finest_layers_are_trained(trained):
    work, before, _ = trained
    after = load_file(work / "vae" / "diffusion_pytorch_model.safetensors")
    changed = {".".join(key.split(".")[:4]) for key, value in after.items() if not torch.equal(value, before[key])}
    assert changed and changed <= {
        "decoder.up_blocks.1.resnets",
        "decoder.conv_out.conv.weight",
        "decoder.conv_out.conv.bias",
    }


def test_training_resumes_where_it_stopped(trained):
    work, _, first = trained
    second = torch.load(work / "transformer.pt")
    assert (first["step"], second["step"]) == (1, 2) and second["elapsed"] > first["elapsed"]
    assert any(not torch.equal(value, first["net"][key]) for key, value in second["net"].items())


def test_a_folder_is_the_pipelines_and_its_text_encoder_the_shared_one(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("pocket.colours.CLIPS", 8)
    export.export(trained[0], tmp_path)
    model = load(tmp_path)
    assert isinstance(model.pipeline, LTXConditionPipeline)
    assert model.sample(["a red circle"], 2.0, 2).shape == (1, 3, 17, autoencoder.SIDE, autoencoder.SIDE)
    for path in (shared_text.POCKET / "text_encoder").iterdir():
        assert (tmp_path / "text_encoder" / path.name).read_bytes() == path.read_bytes(), path


@pytest.mark.parametrize("frame", [4, 8, 16])
def test_a_picture_beside_the_clip_stands_where_the_pipeline_puts_it(frame):
    """The tokens, levels and places of a training step are those of LTXConditionPipeline's first step."""
    model = load(shared_text.POCKET)
    pipeline, pixels = model.pipeline, clips(1, 6, frames=1, **SIZE).video[0, :, 0]
    picture = Image.fromarray(((pixels.movedim(0, 2) + 1) * 127.5).round().byte().numpy())
    asked = {}

    def listen(module, args, kwargs):
        asked.update({name: kwargs[name] for name in ("hidden_states", "timestep", "video_coords")})
        raise InterruptedError

    hook = pipeline.transformer.register_forward_pre_hook(listen, with_kwargs=True)
    with pytest.raises(InterruptedError):
        pipeline(
            conditions=[LTXVideoCondition(image=picture, frame_index=frame)],
            prompt="a red circle",
            num_frames=17,
            frame_rate=8,
            image_cond_noise_scale=0.0,
            guidance_scale=1.0,
            **SIZE,
        )
    hook.remove()
    beside, clip = asked["video_coords"].split([16, 80], 2)
    assert torch.allclose(clip, transformer.places(transformer.begins(torch.arange(5))[None], (4, 4), 8.0))
    assert torch.allclose(beside, transformer.places(torch.tensor([[frame]]), (4, 4), 8.0))
    assert not asked["timestep"][:, :16].any() and asked["timestep"][:, 16:].all()
    given = autoencoder.encode(pipeline.vae, pixels[None, :, None])
    assert torch.allclose(asked["hidden_states"][:, :16], transformer.pack(given), atol=0.2), (
        "a posterior is drawn from"
    )


def test_every_kind_of_step_has_a_loss_that_reaches_all_weights():
    torch.manual_seed(0)
    net, rng = transformer.build(), random.Random(0)
    torch.nn.init.normal_(net.proj_out.weight, std=0.1)
    latents, text = torch.randn(2, autoencoder.NUMBERS, 5, 4, 4), (torch.randn(2, 5, 96), torch.ones(2, 5))
    plain = transformer.Batch(latents, ["", ""], 8.0, torch.ones(2, 5), torch.zeros(2, 5))
    known = plain.__class__(**{**vars(plain), "known": torch.tensor([[1.0, 0, 0, 0, 0]] * 2)})
    beside = plain.__class__(**{**vars(plain), "beside": latents[:, :, :1], "at": torch.tensor([[0], [4]])})
    for batch in (plain, known, beside):
        net.zero_grad()
        transformer.loss_of(net, batch, text, torch.ones(autoencoder.NUMBERS)).backward()
        assert not [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()]
    for number in (1, 2):
        drawn = [transformer.draw_places(5, number, rng) for _ in range(200)]
        assert all(len(set(at)) == number and set(at) <= set(range(5)) for at in drawn)
        assert any(0 in at for at in drawn) and any(4 in at for at in drawn) and any(2 in at for at in drawn)


def test_a_plain_picture_beside_a_clip_stands_in_it_at_its_frame(solved):
    foreign, drawn = transformer.plain(solved, 8), draw_scenes(64, random.Random(1))
    empty = torch.zeros(64, autoencoder.NUMBERS, 5, 4, 4)
    cached = transformer.Latents(transformer.Bucket(1.0, 64), empty, empty, drawn, [None] * 64)
    batches = [transformer.draw_batch([cached], random.Random(seed), foreign) for seed in range(200)]
    seen = set()
    for batch in (batch for batch in batches if batch.beside is not None):
        for clip, beside, at in zip(batch.latents, batch.beside, batch.at, strict=True):
            (given,) = beside.flatten(2).any((0, 2)).nonzero().flatten().tolist() or (None,)
            held = clip.movedim(1, 0).flatten(1).any(1).nonzero().flatten().tolist()
            assert held == ([] if given is None else [int(transformer.latent_frame_of(at[given]))])
            seen |= {int(at[given])} if held else set()
    assert seen == set(range(17)), "any frame"


def test_what_is_given_of_a_swing_are_its_ends_and_what_is_made_is_the_way_back():
    rng, seen = random.Random(3), count()
    for scene in draw_scenes(200, rng):
        turn = swing(scene, rng, 25)
        if turn is None:
            assert scene.motion in ("still", "grow")
            continue
        assert isinstance(turn, Turn) and turn.scene.motion != scene.motion and next(seen) >= 0
        known = transformer.ends_of(turn, 7)
        hidden = [int(frame) for frame in (known == 0).nonzero()]
        assert known[0] == known[-1] == 1 and hidden == list(range(hidden[0], hidden[-1] + 1))
        assert transformer.begins(torch.tensor(hidden[0])) == turn.frame
        assert transformer.begins(torch.tensor(hidden[-1] + 1)) == turn.back
    assert next(seen) > 50


def test_the_error_of_what_is_seen_most_weighs_most(solved):
    weights = transformer.visibility(solved)
    assert weights.mean().item() == pytest.approx(1, abs=1e-5) and weights.argmax() == 0, "the brightness"
    video = clips(4, 5, **SIZE).video
    latents = autoencoder.encode(solved, video)

    def seen(number):
        moved = latents.clone()
        moved[:, number] += 0.5
        return psnr(autoencoder.decode(solved, moved), autoencoder.decode(solved, latents))

    assert seen(0) < seen(autoencoder.NUMBERS - 1) - 10, "dB: as much of another number, and all is darker"
