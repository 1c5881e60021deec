"""The causal VAE against recordings of the authors' code: whole, in chunks, in tiles; and memory."""

from __future__ import annotations

import copy

import pytest
import torch
from atelier.models.families.pyramid_flow.causal_vae import STATISTICS, CausalVideoVAE, denormalised, normalised
from atelier.models.streaming.passes import pieces
from pyramid_vae import decode, encode

TOLERANCE = 2e-5


def largest_difference(a, b):
    assert a.shape == b.shape
    return (a - b).abs().max().item()


def test_published_checkpoint_fits_key_for_key(published_keys):
    with torch.device("meta"):
        ours = CausalVideoVAE().state_dict()
    assert {key: tuple(weight.shape) for key, weight in ours.items()} == published_keys("causal_video_vae")


@pytest.mark.parametrize("frames", [1, 9, 17])
def test_whole_clips_equal_the_recorded(frames, vae, golden):
    record = golden("vae")
    assert largest_difference(encode(vae, record[f"x_{frames}"]), record[f"moments_{frames}"]) <= TOLERANCE
    assert largest_difference(decode(vae, record[f"z_{frames}"]), record[f"decoded_{frames}"]) <= TOLERANCE


def test_chunks_equal_the_recorded(vae, golden):
    record, long = golden("vae"), golden("vae_tiled_long")
    moments, pixels = encode(vae, record["x_17"], window=8), decode(vae, record["z_17"], window=1)
    assert largest_difference(moments, record["moments_17_chunk_w8"]) <= TOLERANCE
    assert largest_difference(pixels, record["decoded_17_chunk_w1"]) <= TOLERANCE
    moments = encode(vae, long["long.x_33"], window=16)
    assert largest_difference(moments, long["long.moments_33_chunk_w16"]) <= TOLERANCE
    for window in (1, 3):
        pixels = decode(vae, long["long.z_33"], window=window)
        assert largest_difference(pixels, long[f"long.decoded_33_chunk_w{window}"]) <= TOLERANCE


def test_tiles_equal_the_recorded(vae, golden):
    record = golden("vae_tiled_long")
    moments = encode(vae, record["tiled.x"], tile=32)
    pixels = decode(vae, record["tiled.z"], window=1, tile=32)
    assert largest_difference(moments, record["tiled.moments"]) <= TOLERANCE
    assert largest_difference(pixels, record["tiled.decoded"]) <= TOLERANCE


def test_norms_have_the_recorded_epsilons(vae, golden):
    record = golden("vae")
    probes = [name.removesuffix(".in") for name in record.tensors if name.startswith("probe.") and name.endswith(".in")]
    assert len(probes) == 3
    for probe in probes:
        layer, x = vae.get_submodule(probe.removeprefix("probe.")), record[f"{probe}.in"]
        if x.ndim == 5:
            x = x.transpose(1, 2).flatten(0, 1)
        made = layer(x)
        if record[f"{probe}.out"].ndim == 5:
            made = made.unflatten(0, (-1, record[f"{probe}.out"].shape[2])).transpose(1, 2)
        assert largest_difference(made, record[f"{probe}.out"]) <= TOLERANCE


def test_what_is_kept_between_chunks_does_not_grow(vae):
    """241 frames: after each chunk the decoder keeps as many bytes as after the second one."""
    held, past = [], {}
    for chunk in torch.zeros(1, 16, 31, 1, 1).split(pieces(2, 1, 31), dim=2):
        vae.decoder(vae.post_quant_conv(chunk, past), past)
        held.append(sum(tensor.untyped_storage().nbytes() for tensor in past.values()))
    assert len(held) == 30 and len(set(held)) == 1


@pytest.mark.parametrize("variant", STATISTICS)
def test_normalising_back_and_forth_leaves_the_callers_latents_alone(variant):
    latents = torch.randn(2, 16, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    before = latents.clone()
    again = denormalised(normalised(latents, STATISTICS[variant]), STATISTICS[variant])
    assert torch.equal(latents, before)
    assert largest_difference(again, latents) <= 1e-6


def test_decoding_leaves_the_callers_latents_alone(vae):
    latents = torch.randn(1, 16, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    before = latents.clone()
    first, second = decode(vae, latents, window=1, tile=32), decode(vae, latents, window=1, tile=32)
    assert torch.equal(latents, before) and torch.equal(first, second)


def test_bfloat16_stays_near(vae, golden):
    record, short = golden("vae"), copy.deepcopy(vae).to(torch.bfloat16)
    made = decode(short, record["z_9"].bfloat16(), window=1).float()
    assert (made - record["decoded_9"]).norm() <= 0.05 * record["decoded_9"].norm()
