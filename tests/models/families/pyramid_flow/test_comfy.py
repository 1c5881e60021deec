"""Pyramid Flow inside ComfyUI: KSampler runs it like any other model, with the result of its own sampler."""

from __future__ import annotations

import json

import nodes
import pytest
import torch
from atelier.models.bridge import sampling
from atelier.models.bridge.patcher import make_model
from atelier.models.bridge.weights import load_weights
from atelier.models.bridge.wrappers import known_frames
from atelier.models.families.pyramid_flow import family as pyramid_flow
from atelier.models.families.pyramid_flow import shot
from atelier.models.families.pyramid_flow.known_frames import BACKWARD
from atelier.models.timeline import placing
from atelier.models.timeline.spans import CUT, SPAN
from atelier.models.weights.checkpoint import open_checkpoint
from comfy_extras import nodes_easycache

STEPS, GUIDANCE, SEED = 2, 5.0, 5
SPANS = (0.0, 0.5), (0.5, 9.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory, network):
    path = tmp_path_factory.mktemp("pyramid") / "flow_384p"
    network("flux").save_pretrained(path / "transformer")
    (path / "model_index.json").write_text(json.dumps({}))
    found, family = open_checkpoint(path), pyramid_flow.FAMILIES[0]
    variant = family.recognise(found)
    net = family.network(variant)
    load_weights(net, family.network_state(found.network.state_dict()), torch.float32, torch.float32)
    return make_model(family, variant, net, torch.float32, (None, ()))


@pytest.fixture(scope="module")
def record(golden):
    return golden("flux_generate_t2v_temp3")


def conditioning(record, prompt, **options):
    options |= {"pooled_output": record[f"{prompt}_pooled"], "attention_mask": record[f"{prompt}_mask"]}
    return [[record[f"{prompt}_embeds"], options]]


def sampled(model, record, latent, positive=None, negative=None, steps=STEPS):
    texts = positive or conditioning(record, "prompt"), negative or conditioning(record, "negative")
    (made,) = nodes.KSampler().sample(model, SEED, steps, GUIDANCE, "euler", "simple", *texts, latent, 1.0)
    return made["samples"]


def expected(model, record, latent):
    network = model.model.diffusion_model
    text, mask, pooled = (
        torch.cat([record[f"negative_{name}"], record[f"prompt_{name}"]]) for name in ("embeds", "mask", "pooled")
    )

    def prepare(frame, guidance, options):
        def velocity(x, timestep):
            times = torch.full((2,), timestep)
            both = network(torch.cat([x, x]), times, text, attention_mask=mask, y=pooled, transformer_options=options)
            negative, positive = both.chunk(2)
            return negative + guidance * (positive - negative)

        return velocity

    noise = torch.randn(latent["samples"].shape, generator=torch.manual_seed(SEED))
    return shot.sample_shot(
        model.model.variant,
        prepare,
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
    latent = placing.place(empty, record["latents"][:, :, :1], start=0, strength=1.0)
    made = sampled(model, record, latent)
    assert (made - expected(model, record, latent)).abs().max() <= 1e-3
    assert torch.equal(made[:, :, :1], latent["samples"][:, :, :1])


def test_sides_that_are_no_multiples_of_64(model, record):
    with pytest.raises(ValueError, match="18 x 8 latent pixels.*multiples of 64 pixels"):
        sampled(model, record, {"samples": torch.zeros(1, 16, 3, 8, 18)})


@pytest.mark.parametrize("changed", ["positive", "negative"])
def test_prompts_change_at_a_latent_frame(model, record, changed):
    """At 24 frames per second and 8 frames per latent frame, the third latent frame lasts from 9/24 s to 17/24 s."""
    latent = {"samples": torch.zeros(1, 16, 4, 8, 16)}
    first, second = ("prompt", "negative") if changed == "positive" else ("negative", "prompt")
    alone = sampled(model, record, latent)
    turn = 0.5
    texts = conditioning(record, first, **{SPAN: (0.0, turn)}) + conditioning(record, second, **{SPAN: (turn, 2.0)})
    made = sampled(model, record, latent, **{changed: texts})
    assert torch.equal(made[:, :, :2], alone[:, :, :2])
    assert not any(torch.equal(made[:, :, frame], alone[:, :, frame]) for frame in (2, 3))
    late = conditioning(record, first, **{SPAN: (0.0, 9.0)}) + conditioning(record, second, **{SPAN: (9.0, 10.0)})
    assert torch.equal(sampled(model, record, latent, **{changed: late}), alone)


def test_behind_a_cut_there_is_no_history(model, record):
    latent, turn = {"samples": torch.zeros(1, 16, 4, 8, 16)}, 0.5

    def made(first, cut):
        texts = conditioning(record, first, **{SPAN: (0.0, turn)})
        texts += conditioning(record, "negative", **{SPAN: (turn, 2.0), CUT: cut})
        return sampled(model, record, latent, positive=texts)[:, :, 2:]

    assert torch.equal(made("prompt", cut=True), made("negative", cut=True))
    assert not torch.equal(made("prompt", cut=False), made("negative", cut=False))


@pytest.mark.parametrize("rate,turned", [(24.0, [2]), (6.0, [1, 2])])
def test_the_clips_own_frame_rate_says_when_prompts_change(model, record, rate, turned):
    latent = {"samples": torch.zeros(1, 16, 3, 8, 16)}
    plain = conditioning(record, "prompt", frame_rate=rate)
    negative = conditioning(record, "negative", frame_rate=rate)
    texts = [[text, {**options, SPAN: span}] for (text, options), span in zip(plain + negative, SPANS, strict=True)]
    alone, made = (sampled(model, record, latent, positive, negative) for positive in (plain, texts))
    assert [frame for frame in range(3) if not torch.equal(made[:, :, frame], alone[:, :, frame])] == turned


def kept_last(record) -> dict:
    """A shot of four latent frames, the last of which is known."""
    empty = {"samples": torch.zeros(1, 16, 4, 8, 16), "frame_rate": 24.0}
    return placing.place(empty, record["latents"][:, :, :1], start=3, strength=1.0)


def test_what_of_a_mask_is_unmet_is_among_the_warnings_of_sample_video(model, record):
    texts, name = conditioning(record, "prompt"), model.model.variant.name
    (warning,) = sampling.warnings(model, kept_last(record), texts)
    assert warning == f"{name} {BACKWARD}"
    latent = kept_last(record)
    latent["noise_mask"][..., :8] = 0
    assert [BACKWARD in " ".join(each.split()) for each in sampling.warnings(model, latent, texts)] == [False, True]
    latent.pop("noise_mask")
    assert sampling.warnings(model, latent, texts) == []


@pytest.mark.parametrize("cut", [True, False])
def test_nothing_needs_to_lead_up_to_a_cut(model, record, cut):
    """The known frame is the first of the scene behind a cut at 17/24 s, and its last."""
    texts = conditioning(record, "prompt", **{SPAN: (0.0, 0.8)})
    texts += conditioning(record, "negative", **{SPAN: (0.8, 9.0), CUT: cut})
    assert bool(sampling.warnings(model, kept_last(record), texts)) == (not cut)


def test_what_of_a_mask_is_unmet_is_said_once_under_any_sampler(model, record, monkeypatch, caplog):
    """KSampler says it while it samples, once for all windows; behind Sample Video, the run is silent."""
    said = []
    monkeypatch.setattr(known_frames, "tell_running_node", said.append)
    texts = conditioning(record, "prompt", **{SPAN: (0.0, 0.3)})
    texts += conditioning(record, "negative", **{SPAN: (0.3, 9.0), CUT: True})
    sampled(model, record, kept_last(record), positive=texts, steps=1)
    (text,) = said
    assert text.startswith("Atelier: ") and BACKWARD in " ".join(text.split())
    given = dict(seed=SEED, sigmas=torch.tensor([1.0, 0.0]), guidance=GUIDANCE)
    sampling.sample(model, kept_last(record), texts, conditioning(record, "negative"), **given)
    assert len(said) == 1 and "looks back only" not in caplog.text


@pytest.mark.parametrize("node", ["EasyCacheNode", "LazyCacheNode"])
def test_caches_of_other_nodes_begin_anew_with_each_size(model, record, node):
    """With a threshold of 0 they change nothing; with a high one they skip calls of the network."""
    latent = {"samples": torch.zeros(1, 16, 2, 16, 16)}
    calls = []
    remove = model.model.diffusion_model.proj_out.register_forward_hook(lambda *call: calls.append(1))
    try:
        plain, count = sampled(model, record, latent, steps=6), len(calls)
        for threshold in (0.0, 3.0):
            calls.clear()
            cached = getattr(nodes_easycache, node).execute(model, threshold, 0.0, 1.0, False).result[0]
            made = sampled(cached, record, latent, steps=6)
            assert torch.isfinite(made).all()
            assert torch.equal(made, plain) == (threshold == 0.0)
            assert (len(calls) < count) == (threshold > 0.0)
    finally:
        remove.remove()
