"""Pyramid Flow inside ComfyUI: KSampler runs it like any other model, and gives what its own sampler gives."""

from __future__ import annotations

import json

import pytest
import torch
from atelier.models import bridge, knowns
from atelier.models.files import open_checkpoint
from atelier.models.pyramid_flow import family as pyramid_flow

import nodes

STEPS, GUIDANCE, SEED = 2, 5.0, 5


@pytest.fixture(scope="module")
def model(tmp_path_factory, network):
    path = tmp_path_factory.mktemp("pyramid") / "flow_384p"
    network("flux").save_pretrained(path / "transformer")
    (path / "model_index.json").write_text(json.dumps({}))
    found, family = open_checkpoint(path), pyramid_flow.FAMILIES[0]
    variant = family.recognise(found)
    net = family.network(variant)
    bridge.load_weights(net, family.network_state(found.network.state_dict()), torch.float32, torch.float32)
    return bridge.make_model(family, variant, net, torch.float32, (None, ()))


@pytest.fixture(scope="module")
def record(golden):
    return golden("flux_generate_t2v_temp3")


def conditioning(record, prompt):
    options = {"pooled_output": record[f"{prompt}_pooled"], "attention_mask": record[f"{prompt}_mask"]}
    return [[record[f"{prompt}_embeds"], options]]


def sampled(model, record, latent):
    texts = conditioning(record, "prompt"), conditioning(record, "negative")
    (made,) = nodes.KSampler().sample(model, SEED, STEPS, GUIDANCE, "euler", "simple", *texts, latent, 1.0)
    return made["samples"]


def expected(model, record, latent):
    network = model.model.diffusion_model
    text, mask, pooled = (
        torch.cat([record[f"negative_{name}"], record[f"prompt_{name}"]]) for name in ("embeds", "mask", "pooled")
    )

    def velocity(x, timestep, guidance, options):
        times = torch.full((2,), timestep)
        both = network(torch.cat([x, x]), times, text, mask, pooled, transformer_options=options)
        negative, positive = both.chunk(2)
        return negative + guidance * (positive - negative)

    noise = torch.randn(latent["samples"].shape, generator=torch.manual_seed(SEED))
    return pyramid_flow.sample_shot(
        model.model.variant,
        velocity,
        noise,
        latent["samples"],
        latent.get("noise_mask"),
        steps=STEPS,
        guidance=GUIDANCE,
        seed=SEED,
        callback=lambda progress: None,
    )


def test_text_to_video_in_ksampler(model, record):
    latent = {"samples": torch.zeros(1, 16, 3, 8, 16)}
    assert (sampled(model, record, latent) - expected(model, record, latent)).abs().max() <= 1e-3  # of about 25


def test_image_to_video_in_ksampler(model, record):
    empty = {"samples": torch.zeros(1, 16, 3, 8, 16)}
    latent = knowns.place(empty, record["latents"][:, :, :1], start=0, strength=1.0)
    made = sampled(model, record, latent)
    assert (made - expected(model, record, latent)).abs().max() <= 1e-3
    assert torch.equal(made[:, :, :1], latent["samples"][:, :, :1])
