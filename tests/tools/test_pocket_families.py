"""The pocket CogVideoX and pocket Mochi: solved encoders, training that resumes, sampling as their pipelines do."""

import json
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import torch
from diffusers.models.attention_processor import MochiAttnProcessor2_0
from pocket import shared_text
from pocket.cogvideox import autoencoder as cogvideox_vae
from pocket.cogvideox import export as cogvideox_export
from pocket.cogvideox import transformer as cogvideox_net
from pocket.mochi import autoencoder as mochi_vae
from pocket.mochi import export as mochi_export
from pocket.mochi import transformer as mochi_net
from pocket.model import load
from pocket.score import psnr, table
from pocket.world import clips

ONE_STEP = 1e-4  # minutes of training, after which it stops at the end of its step


class Family(NamedTuple):
    vae: ModuleType
    net: ModuleType
    export: ModuleType


FAMILIES = {
    "cogvideox": Family(cogvideox_vae, cogvideox_net, cogvideox_export),
    "mochi": Family(mochi_vae, mochi_net, mochi_export),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def trained(family, tmp_path_factory):
    """A folder in which each part was trained for a step, and the transformer for another after a stop."""
    work = tmp_path_factory.mktemp("pocket")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family.vae, "SEEDS", range(1))
        patch.setattr(family.vae, "CHUNK", 16)
        patch.setattr("pocket.decoders.POOL", 16)
        patch.setattr("pocket.decoders.CHUNK", 16)
        patch.setattr(family.vae, "BATCH", 1)
        patch.setattr(family.net, "SEEDS", range(1))
        patch.setattr("pocket.latents.CHUNK", 4)
        patch.setattr("pocket.denoiser.BATCH", 4)
        family.vae.train(work, ONE_STEP)
        family.net.train(work, ONE_STEP)
        first = torch.load(work / "transformer.pt")
        family.net.train(work, first["elapsed"] / 60 + ONE_STEP)
    return work, first


@pytest.fixture(scope="module")
def exported(family, trained, tmp_path_factory):
    """The model folder of this training. The network's last layer is random, so that it does not predict nothing."""
    work, folder = trained[0], tmp_path_factory.mktemp("model")
    checkpoint = torch.load(work / "transformer.pt")
    weight = checkpoint["mean"]["proj_out.weight"]
    weight.copy_(0.03 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    torch.save(checkpoint, work / "transformer.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pocket.colours.CLIPS", 8)
        family.export.export(work, folder)
    return folder


def test_training_resumes_where_it_stopped(trained):
    work, first = trained
    second = torch.load(work / "transformer.pt")
    assert (first["step"], second["step"]) == (1, 2) and second["elapsed"] > first["elapsed"]
    changed = [key for key, value in second["net"].items() if not torch.equal(value, first["net"][key])]
    assert "proj_out.weight" in changed and all(value.isfinite().all() for value in second["mean"].values())


def test_the_published_layers_compute_the_solved_code(family, trained):
    video = clips(3, 2, frames=family.vae.FRAMES).video
    vae = load_vae(family, trained[0])
    latents = family.vae.encode(vae, video)
    assert latents.mean().abs() < 0.3 and 0.5 < latents.std() < 1.5
    told = torch.cat([latents.movedim(1, -1).flatten(0, -2), torch.ones(latents[:, 0].numel(), 1)], 1)
    pixels = family.vae.blocks_of(video)
    way_back = torch.linalg.lstsq(told, pixels).solution
    error = (told @ way_back - pixels).pow(2).mean()
    assert 10 * torch.log10(4 / error) > 26, "the pixels of a block follow from its numbers"


def test_mochis_decoder_begins_with_the_linear_way_back():
    vae = mochi_vae.build(clips(16, 1, frames=19).video)
    video = clips(3, 2, frames=19).video
    assert psnr(mochi_vae.decode(vae, mochi_vae.encode(vae, video)), video) > 27


def test_mochis_attention_for_a_batch_is_diffusers():
    torch.manual_seed(0)
    net = mochi_net.build()
    torch.nn.init.normal_(net.proj_out.weight, std=0.1)
    text = mochi_net.embed(*shared_text.load(), ["a red circle", "a small blue square moving left", ""])
    x, sigma = torch.randn(3, 12, 2, 8, 8), torch.tensor([0.3, 0.5, 0.9])
    ours = mochi_net.velocity(net, x, sigma, text)
    for block in net.transformer_blocks:
        block.attn1.processor = MochiAttnProcessor2_0()
    assert torch.allclose(ours, mochi_net.velocity(net, x, sigma, text), atol=1e-4)


def test_a_folder_is_the_pipelines_and_its_text_encoder_the_pockets(family, exported):
    model = load(exported)
    prompts = ["a red circle moving left", "A big blue square slowly rises, white background."]
    ours = model.sample(prompts, 3.0, 3, seed=11)
    pipeline = model.kind.from_pretrained(exported, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    arguments = {"width": 64, "height": 64, "num_frames": family.vae.FRAMES, "num_inference_steps": 3}
    if family is FAMILIES["cogvideox"]:
        arguments["max_sequence_length"] = cogvideox_net.TOKENS
    made = pipeline(
        prompts[1], guidance_scale=3.0, generator=torch.Generator().manual_seed(12), output_type="pt", **arguments
    ).frames[0]
    difference = (ours[1].movedim(1, 0) / 2 + 0.5 - made).abs()
    assert difference.mean() < 5e-4 and difference.max() < 1e-2
    files = [path for name in ("text_encoder", "tokenizer") for path in (shared_text.POCKET / name).iterdir()]
    for path in files:
        assert (exported / path.relative_to(shared_text.POCKET)).read_bytes() == path.read_bytes(), path
    assert sum(path.stat().st_size for path in exported.rglob("*") if path.is_file()) < 10_000_000


def test_known_frames_stay_and_the_others_do_not(family, exported):
    model = load(exported)
    begun = clips(1, 5, frames=model.begun).video
    known = model.encode(begun)
    made = model.sample(["a red circle"], 3.0, 2, known=known)
    alone = model.decode(known)
    assert made.shape == (1, 3, family.vae.FRAMES, 64, 64)
    assert psnr(made[:, :, : model.begun], alone) > 25


def load_vae(family: Family, work: Path):
    kind = {"cogvideox": "AutoencoderKLCogVideoX", "mochi": "AutoencoderKLMochi"}
    name = next(name for name, known in FAMILIES.items() if known is family)
    return getattr(family.vae, kind[name]).from_pretrained(work / "vae")


def test_the_card_says_what_was_measured_and_the_text_encoder_is_stored_once():
    models = shared_text.POCKET.parent
    for folder in ("pocket_mochi", "pocket_sound", "pocket_cogvideox"):
        released = json.loads((models / folder / "scores.json").read_text())
        assert table(released) in (models / folder / "README.md").read_text()
    for folder, number in (("pocket_mochi", ""), ("pocket_cogvideox", ""), ("pocket_pyramid", "_2")):
        for name in ("text_encoder", "tokenizer"):
            for path in (shared_text.POCKET / name).iterdir():
                assert (models / folder / f"{name}{number}" / path.name).read_bytes() == path.read_bytes(), path
